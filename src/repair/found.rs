//! What a round of repairs has come to, and what is left, in words.

use std::collections::BTreeMap;

use super::rounds::{Due, Round};
use super::scope::Scope;
use crate::clock::Timestamp;
use crate::store::{Gap, GapState, Sent};

/// Actions of a longer span are too many to be read: 250 each.
pub(super) const PAGES_MAX: u64 = 1_000;

/// A gap is written down as ended up to a second after the stream was back, it may begin some seconds too early, and
/// clocks differ.
const END_MS: u64 = 3_000;

/// What a round has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Events that were accepted, by gap.
    returned: BTreeMap<u64, u64>,
    /// Events that the stream told later, although they were sent in a gap; by gap.
    brought: BTreeMap<u64, u64>,
    /// Tokens of which REST does not know what the stream has told.
    pub(super) behind: usize,
    /// Tokens that REST describes in a way that nobody understands.
    pub(super) unreadable: u64,
    pub(super) too_many: bool,
}

impl Found {
    pub(super) fn credit(&mut self, gap: u64) {
        *self.returned.entry(gap).or_default() += 1;
    }

    pub(super) fn of(&self, gap: u64) -> u64 {
        self.returned.get(&gap).copied().unwrap_or_default()
    }

    /// Takes account of events of tokens that changed. One that was sent while nobody listened and came all the same
    /// was kept for us.
    pub(super) fn note_brought<'s>(&mut self, round: &Round, sent: impl Iterator<Item = &'s Sent>) {
        for event in sent {
            let within = |gap: &Gap| {
                let to = gap.to_ms.unwrap_or_default().saturating_sub(END_MS);
                let came_late = event.accepted_ms >= to.max(event.at_ms + END_MS);
                came_late && (gap.from_ms..to).contains(&event.at_ms)
            };
            for Due { gap, .. } in round.0.iter().filter(|due| within(&due.gap)) {
                *self.brought.entry(gap.number).or_default() += 1;
            }
        }
    }

    /// What has become of a gap, and why; `again` is when it is looked at again.
    pub(super) fn outcome(&self, gap: &Gap, scope: &Scope, again: Option<Timestamp>) -> (GapState, Option<String>) {
        let brought = self.brought.get(&gap.number).copied().unwrap_or_default();
        let is_whole = brought > 0 && gap.returned + self.of(gap.number) == 0;
        let note = self.note(if is_whole { &[] } else { &scope.unnamed }, again);
        match (note, is_whole) {
            (Some(note), _) => (GapState::Partial, Some(note)),
            (None, false) => (GapState::Repaired, None),
            (None, true) => {
                let why = format!(
                    "the persistent session brought {brought} event(s) of it, and nothing was missing of what \
                     CSPR.cloud's REST API lists"
                );
                (GapState::Repaired, Some(why))
            }
        }
    }

    /// What is left, if anything is.
    fn note(&self, unnamed: &[String], again: Option<Timestamp>) -> Option<String> {
        let mut left = Vec::new();
        if !unnamed.is_empty() {
            left.push(format!("nothing says whom to ask about for {}", unnamed.join(", ")));
        }
        if self.behind > 0 {
            let again = again.map_or_else(String::new, |at| format!(": it is asked again at {at}"));
            left.push(format!(
                "of {} token(s) CSPR.cloud's REST API did not know what its stream had told{again}",
                self.behind
            ));
        }
        if self.unreadable > 0 {
            left.push(format!("{} token(s) could not be understood", self.unreadable));
        }
        if self.too_many {
            left.push(format!("there were more than {PAGES_MAX} pages of actions"));
        }
        (!left.is_empty()).then(|| left.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Look;
    use super::*;

    #[test]
    fn what_is_left_is_named_with_its_reason() {
        let mut found = Found::default();
        [7, 9, 7].into_iter().for_each(|gap| found.credit(gap));
        assert_eq!((found.of(7), found.of(8), found.note(&[], None)), (2, 0, None));
        let found = Found { behind: 2, unreadable: 1, too_many: true, ..found };
        let note = found.note(&["everything".to_owned()], Some(Timestamp(60_000))).unwrap();
        let expected = "nothing says whom to ask about for everything; of 2 token(s) CSPR.cloud's REST API did not know \
                        what its stream had told: it is asked again at 1970-01-01T00:01:00.000Z; 1 token(s) could not \
                        be understood; there were more than 1000 pages of actions";
        assert_eq!(note, expected);
    }

    #[test]
    fn a_persistent_session_is_believed_when_it_brought_all_that_rest_lists() {
        let gap =
            |returned| Gap { returned, ..super::super::rounds::tests::gap(1, 100, Some(110), GapState::Open, None) };
        let scope = Scope { unnamed: vec!["everything".to_owned()], ..Scope::default() };
        let unproven = (GapState::Partial, "nothing says whom to ask about for everything");
        let proven = "the persistent session brought 1 event(s) of it, and nothing was missing of what CSPR.cloud's \
                      REST API lists";
        // When an event was accepted, when it was sent, and what had come back before.
        for (accepted_ms, at_ms, returned, (state, note)) in [
            (109_500, 105_000, 0, (GapState::Repaired, proven)),
            (109_500, 105_000, 1, unproven),
            // It came when it was sent, or was sent before, or when the stream may have been back.
            (105_100, 105_000, 0, unproven),
            (107_200, 106_900, 0, unproven),
            (109_500, 108_000, 0, unproven),
            (109_500, 99_000, 0, unproven),
        ] {
            let gap = gap(returned);
            let due = Due { gap: gap.clone(), look: Look::First, since: Timestamp(0) };
            let mut found = Found::default();
            found.note_brought(&Round(vec![due]), [Sent { at_ms, accepted_ms }].iter());
            assert_eq!(
                found.outcome(&gap, &scope, None),
                (state, Some(note.to_owned())),
                "{accepted_ms} {at_ms} {returned}"
            );
            found.credit(1);
            assert_eq!(found.outcome(&gap, &scope, None).0, GapState::Partial, "something was missing");
        }
        let gap = gap(0);
        assert_eq!(Found::default().outcome(&gap, &Scope::default(), None), (GapState::Repaired, None));
    }
}
