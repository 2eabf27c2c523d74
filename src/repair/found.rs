//! What a round of repairs has come to, and what is left, in words.

use std::collections::BTreeMap;

use super::scope::Scope;
use crate::clock::Timestamp;

/// Actions of a longer span are too many to be read: 250 each.
pub(super) const PAGES_MAX: u64 = 1_000;

/// What a round has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Events that were accepted, by gap.
    returned: BTreeMap<u64, u64>,
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

    /// What is left, if anything is; `again` is when it is looked at again.
    pub(super) fn note(&self, scope: &Scope, again: Option<Timestamp>) -> Option<String> {
        let mut left = Vec::new();
        if !scope.unnamed.is_empty() {
            left.push(format!("nothing says whom to ask about for {}", scope.unnamed.join(", ")));
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
    use super::*;

    #[test]
    fn what_is_left_is_named_with_its_reason() {
        let mut found = Found::default();
        [7, 9, 7].into_iter().for_each(|gap| found.credit(gap));
        assert_eq!((found.of(7), found.of(8), found.note(&Scope::default(), None)), (2, 0, None));
        let scope = Scope { unnamed: vec!["everything".to_owned()], ..Scope::default() };
        let found = Found { behind: 2, unreadable: 1, too_many: true, ..found };
        let note = found.note(&scope, Some(Timestamp(60_000))).unwrap();
        let expected = "nothing says whom to ask about for everything; of 2 token(s) CSPR.cloud's REST API did not know \
                        what its stream had told: it is asked again at 1970-01-01T00:01:00.000Z; 1 token(s) could not \
                        be understood; there were more than 1000 pages of actions";
        assert_eq!(note, expected);
    }
}
