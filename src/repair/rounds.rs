//! Which gaps are looked at, when, and which of them together: a pure decision.
//!
//! All gaps of a stream that are due are one round, which walks once over what REST lists. A gap is looked at when it
//! has ended and REST had time to settle, and again when REST must have caught up; one that goes on for long, now and
//! then meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::RepairConfig;
use crate::store::{Gap, GapState};

/// A gap that goes on is looked at so often.
pub(super) const MEANWHILE_EVERY: Duration = Duration::from_secs(5 * 60);

/// Why a gap is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    First,
    /// What REST may not have known at the first.
    Second,
    /// It goes on.
    Meanwhile,
}

/// A gap that is to be looked at.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) gap: Gap,
    pub(super) look: Look,
    /// What REST told before this moment is not new enough.
    pub(super) since: Timestamp,
}

/// What is looked at together; never empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Round(pub(super) Vec<Due>);

/// The rounds that are due, by stream.
pub(super) fn due(gaps: &[Gap], now: Timestamp, config: &RepairConfig) -> BTreeMap<String, Round> {
    let mut rounds: BTreeMap<String, Round> = BTreeMap::new();
    for gap in gaps {
        let Some((look, since)) = look(gap, now, config) else { continue };
        rounds.entry(gap.stream.clone()).or_default().0.push(Due { gap: gap.clone(), look, since });
    }
    rounds
}

fn look(gap: &Gap, now: Timestamp, config: &RepairConfig) -> Option<(Look, Timestamp)> {
    let after =
        |ms: u64, wait: Duration| Timestamp(ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    let (look, since) = match (gap.state, gap.to_ms, gap.recheck_ms) {
        (GapState::Open, Some(to), _) => (Look::First, after(to, config.settle)),
        (GapState::Open, None, _) => {
            return (now.since(Timestamp(gap.from_ms)) >= MEANWHILE_EVERY).then_some((Look::Meanwhile, now));
        }
        (GapState::Closed, ..) => return None,
        (_, _, recheck) => (Look::Second, Timestamp(recheck?)),
    };
    (since <= now).then_some((look, since))
}

/// Whether somebody has yet to look at it.
pub(super) fn is_pending(gap: &Gap) -> bool {
    match gap.state {
        GapState::Open => true,
        GapState::Closed => false,
        _ => gap.recheck_ms.is_some(),
    }
}

impl Round {
    /// Only gaps that go on, which can wait.
    pub(super) fn is_meanwhile(&self) -> bool {
        self.0.iter().all(|due| due.look == Look::Meanwhile)
    }

    /// Where the earliest of them began.
    pub(super) fn begin_ms(&self) -> u64 {
        self.0.iter().map(|due| due.gap.from_ms).min().unwrap_or(u64::MAX)
    }

    /// Answers of REST from then on are new enough for all of them.
    pub(super) fn since(&self) -> Timestamp {
        self.0.iter().map(|due| due.since).max().unwrap_or_default()
    }

    /// The gap in which something was missed that happened then, as far as that can be told: streams tell late.
    pub(super) fn gap_of(&self, happened_ms: u64) -> u64 {
        let ends_later = |due: &&Due| due.gap.to_ms.is_none_or(|to| to >= happened_ms);
        self.0.iter().find(ends_later).or(self.0.last()).map_or(0, |due| due.gap.number)
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.0.iter().map(|due| due.gap.number).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::GapCause;

    const CONFIG: RepairConfig =
        RepairConfig { settle: Duration::from_secs(5), recheck: Duration::from_secs(60), audit: None };

    pub(in crate::repair) fn gap(
        number: u64,
        from_s: u64,
        to_s: Option<u64>,
        state: GapState,
        recheck_s: Option<u64>,
    ) -> Gap {
        Gap {
            number,
            stream: if number > 100 { "nft-token-actions" } else { "nft-tokens" }.to_owned(),
            from_ms: from_s * 1000,
            to_ms: to_s.map(|to| to * 1000),
            cause: GapCause::Disconnected,
            detail: None,
            state,
            note: None,
            returned: 0,
            after: 0,
            recheck_ms: recheck_s.map(|at| at * 1000),
        }
    }

    fn looks(gaps: &[Gap], now_s: u64) -> Vec<(u64, Look)> {
        let rounds = due(gaps, Timestamp(now_s * 1000), &CONFIG);
        rounds.values().flat_map(|round| &round.0).map(|due| (due.gap.number, due.look)).collect()
    }

    #[test]
    fn a_gap_is_looked_at_when_rest_has_settled_and_once_more_when_it_must_have_caught_up() {
        let ended = gap(1, 100, Some(110), GapState::Open, None);
        assert_eq!(looks(std::slice::from_ref(&ended), 114), []);
        assert_eq!(looks(&[ended], 115), [(1, Look::First)]);
        let seen = gap(1, 100, Some(110), GapState::Repaired, Some(170));
        assert_eq!(looks(std::slice::from_ref(&seen), 169), []);
        assert_eq!(looks(&[seen], 170), [(1, Look::Second)]);
        for state in [GapState::Repaired, GapState::Partial, GapState::Unrepairable] {
            assert_eq!(looks(&[gap(1, 100, Some(110), state, None)], 1_000), [], "{state:?}");
        }
        assert_eq!(looks(&[gap(1, 100, Some(110), GapState::Closed, Some(170))], 1_000), []);
    }

    #[test]
    fn a_gap_that_goes_on_is_looked_at_only_if_it_is_long() {
        let going_on = gap(1, 100, None, GapState::Open, None);
        assert_eq!(looks(std::slice::from_ref(&going_on), 399), []);
        assert_eq!(looks(&[going_on], 400), [(1, Look::Meanwhile)]);
    }

    #[test]
    fn what_is_due_of_a_stream_is_one_round_from_the_earliest_start_on() {
        let gaps = [
            gap(1, 100, Some(110), GapState::Repaired, Some(170)),
            gap(2, 120, Some(130), GapState::Open, None),
            gap(3, 140, Some(168), GapState::Open, None),
            gap(101, 150, Some(160), GapState::Open, None),
        ];
        let rounds = due(&gaps, Timestamp(171_000), &CONFIG);
        let round = &rounds["nft-tokens"];
        assert_eq!((round.numbers(), rounds["nft-token-actions"].numbers()), (vec![1, 2], vec![101]));
        assert_eq!((round.begin_ms(), round.since()), (100_000, Timestamp(170_000)));
        assert_eq!([90_000, 110_000, 111_000, 500_000].map(|at| round.gap_of(at)), [1, 1, 2, 2]);
    }
}
