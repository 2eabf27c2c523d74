//! What is told of deliveries that ended badly: the first ones of a minute each on a line of its own, the rest as one
//! sum when the minute is over. So a million dead letters are some lines, and at level `debug` each has one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Group;
use crate::sink::Failure;

const SPAN: Duration = Duration::from_secs(60);
/// Dead letters of one minute that are told in full.
const LETTERS_MAX: u64 = 5;
/// Lines about expiry in one minute; each is about many deliveries.
const EXPIRIES_MAX: u64 = 1;

/// Those of one kind, at one sink.
#[derive(Debug)]
struct Tally {
    told_max: u64,
    /// When the minute began.
    since: Option<Instant>,
    told: u64,
    /// Not told: how many of each cause.
    rest: BTreeMap<&'static str, u64>,
}

/// Both kinds.
#[derive(Debug)]
pub(super) struct Tallies {
    letters: Tally,
    expired: Tally,
}

impl Default for Tallies {
    fn default() -> Self {
        let tally = |told_max| Tally { told_max, since: None, told: 0, rest: BTreeMap::new() };
        Self { letters: tally(LETTERS_MAX), expired: tally(EXPIRIES_MAX) }
    }
}

impl Tallies {
    /// When there is a sum to tell.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.letters.due_at().into_iter().chain(self.expired.due_at()).min()
    }
}

impl Tally {
    /// Whether these are to be told; otherwise they are summed up.
    fn is_told(&mut self, cause: &'static str, count: u64, now: Instant) -> bool {
        if self.since.is_none_or(|since| since + SPAN <= now) && self.rest.is_empty() {
            (self.since, self.told) = (Some(now), 0);
        }
        let is_told = self.told < self.told_max;
        if is_told {
            self.told += 1;
        } else {
            *self.rest.entry(cause).or_default() += count;
        }
        is_told
    }

    fn due_at(&self) -> Option<Instant> {
        self.since.filter(|_| !self.rest.is_empty()).map(|since| since + SPAN)
    }

    /// The sum, if it is due; at `None` whether it is or not.
    fn due(&mut self, now: Option<Instant>) -> Option<BTreeMap<&'static str, u64>> {
        let due_at = self.due_at()?;
        if now.is_some_and(|now| now < due_at) {
            return None;
        }
        // The next minute begins with a sum, and not with lines of their own.
        self.since = Some(now.unwrap_or(due_at));
        Some(std::mem::take(&mut self.rest))
    }
}

impl Group {
    pub(super) fn tell_dead_letter(&mut self, sequence: u64, attempts: u32, failure: &Failure, now: Instant) {
        let (sink, cause, detail) = (&self.name, failure.cause.as_str(), &failure.detail);
        if self.state.tallies.letters.is_told(cause, 1, now) {
            tracing::warn!(%sink, sequence, attempts, cause, detail, "a delivery was given up: it is a dead letter now");
        } else {
            tracing::debug!(%sink, sequence, attempts, cause, detail, "a delivery was given up: it is a dead letter now");
        }
    }

    pub(super) fn tell_expired(&mut self, expired: u64, now: Instant) {
        let sink = &self.name;
        if self.state.tallies.expired.is_told("expired", expired, now) {
            tracing::warn!(%sink, expired, "the sink's backlog is over backlog.max_bytes: its oldest deliveries expired");
        } else {
            tracing::debug!(%sink, expired, "deliveries expired");
        }
    }

    /// Tells the sums that are due; at `None` all of them.
    pub(super) fn tell_sums(&mut self, now: Option<Instant>) {
        let sink = &self.name;
        if let Some(causes) = self.state.tallies.letters.due(now) {
            let (more, causes) = (causes.values().sum::<u64>(), shown(&causes));
            tracing::warn!(%sink, more, causes, "more deliveries were given up: see `cspr-relay dead-letters list`");
        }
        if let Some(expired) = self.state.tallies.expired.due(now) {
            let more = expired.values().sum::<u64>();
            tracing::warn!(%sink, more, "more of the sink's oldest deliveries expired, its backlog being full");
        }
    }
}

/// As in `refused 12, timeout 3`.
fn shown(causes: &BTreeMap<&'static str, u64>) -> String {
    causes.iter().map(|(cause, count)| format!("{cause} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_minute_are_told_and_the_rest_is_a_sum() {
        let (mut tally, start) = (Tallies::default().letters, Instant::now());
        let second = Duration::from_secs(1);
        let told: Vec<bool> =
            (0..8).map(|n| tally.is_told(if n == 6 { "timeout" } else { "refused" }, 1, start)).collect();
        assert_eq!(told, [true, true, true, true, true, false, false, false]);
        assert_eq!((tally.due(Some(start + SPAN - second)), tally.due_at()), (None, Some(start + SPAN)));
        let sum = tally.due(Some(start + SPAN)).unwrap();
        assert_eq!(shown(&sum), "refused 2, timeout 1");
        assert_eq!(tally.due_at(), None, "nothing is left");
        // As long as it goes on there is a sum a minute, and after a quiet minute it begins anew.
        assert!(!tally.is_told("server", 1, start + SPAN + second));
        assert_eq!(shown(&tally.due(Some(start + SPAN * 2)).unwrap()), "server 1");
        assert!(tally.is_told("server", 1, start + SPAN * 4));
    }

    #[test]
    fn at_the_end_what_is_left_is_told() {
        let (mut tally, start) = (Tallies::default().expired, Instant::now());
        assert!(tally.is_told("expired", 7, start) && !tally.is_told("expired", 5, start));
        assert_eq!(tally.due(None), Some([("expired", 5)].into()));
        assert_eq!(tally.due(None), None);
    }
}
