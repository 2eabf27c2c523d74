//! What a walk over all owners of a package means beside what was known.
//!
//! Whom the walk met has what it says. Whom it did not meet may have moved from one page to another meanwhile, so
//! nobody is taken for gone: he is asked for. Whoever was asked for while the walk went on is left out, for the walk may
//! have met him before that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::compare::{Change, Seen};
use crate::store::{Due, Holding};

/// A walk that has come to its end.
pub(super) struct Findings {
    /// By owner.
    pub(super) met: HashMap<Arc<str>, Seen>,
    /// What was known, read after the walk.
    pub(super) known: Vec<Holding>,
    /// Owners who were asked for since it began, or are being asked for.
    pub(super) asked: HashSet<Arc<str>>,
    /// Ripe dues for which it stands.
    pub(super) held: Vec<Due>,
}

/// A changed holding, and the due that waited for it, if one did.
pub(super) type Found = (Arc<str>, Change, Option<Due>);

/// What follows from a walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) changes: Vec<Found>,
    /// Held dues that were answered, and whether by a change.
    pub(super) answered: Vec<(Due, bool)>,
    /// Held dues that were not.
    pub(super) unanswered: Vec<Due>,
    /// Known owners, of whom there is no due, who were not met.
    pub(super) missed: Vec<Arc<str>>,
}

impl Findings {
    pub(super) fn judge(self) -> Outcome {
        let Self { met, known, asked, held } = self;
        let known: HashMap<Arc<str>, Holding> =
            known.into_iter().map(|holding| (Arc::clone(&holding.owner), holding)).collect();
        let held: HashMap<Arc<str>, Due> = held.into_iter().map(|due| (Arc::clone(&due.owner), due)).collect();
        let mut outcome = Outcome::default();
        for (owner, seen) in met.iter().filter(|(owner, _)| !asked.contains(*owner)) {
            let due = held.get(owner);
            let change = Change::between(known.get(owner), *seen);
            outcome.answered.extend(due.map(|due| (due.clone(), change.is_some())));
            outcome.changes.extend(change.map(|change| (Arc::clone(owner), change, due.cloned())));
        }
        let is_unmet = |owner: &&Arc<str>| !met.contains_key(*owner);
        outcome.missed.extend(
            known
                .keys()
                .filter(is_unmet)
                .filter(|owner| !asked.contains(*owner) && !held.contains_key(*owner))
                .cloned(),
        );
        let is_open = |due: &&Due| asked.contains(&due.owner) || !met.contains_key(&due.owner);
        outcome.unanswered.extend(held.values().filter(is_open).cloned());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::store::Cause;

    fn due(owner: &str) -> Due {
        let cause = Some(Arc::new(Cause { event: EventId([1; 16]), deploy_hash: None, token_id: None }));
        Due { package: "p".into(), owner: owner.into(), number: 1, looks: 0, cause }
    }

    /// Owners with the number of tokens that was known and the number that was met; 0 for none.
    fn judge(owners: &[(&str, u64, u64)], asked: &[&str], held: &[&str]) -> Outcome {
        let holding = |owner: &str, tokens| Holding {
            package: "p".into(),
            owner: owner.into(),
            owner_type: Some(0),
            tokens,
            revision: 0,
        };
        let met = owners.iter().filter(|(_, _, met)| *met > 0);
        let known = owners.iter().filter(|(_, known, _)| *known > 0);
        let findings = Findings {
            met: met
                .map(|(owner, _, tokens)| ((*owner).into(), Seen { owner_type: Some(0), tokens: *tokens }))
                .collect(),
            known: known.map(|(owner, tokens, _)| holding(owner, *tokens)).collect(),
            asked: asked.iter().map(|owner| (*owner).into()).collect(),
            held: held.iter().map(|owner| due(owner)).collect(),
        };
        findings.judge()
    }

    #[test]
    fn what_was_met_counts_and_whom_it_did_not_meet_is_asked_for() {
        let outcome = judge(&[("same", 2, 2), ("more", 2, 3), ("new", 0, 1), ("unmet", 4, 0)], &[], &[]);
        let mut told: Vec<(&str, &str)> =
            outcome.changes.iter().map(|(owner, change, _)| (&**owner, change.action())).collect();
        told.sort_unstable();
        assert_eq!(told, [("more", "updated"), ("new", "created")]);
        assert_eq!(outcome.missed, ["unmet".into()]);
        assert!(outcome.answered.is_empty() && outcome.unanswered.is_empty());
    }

    #[test]
    fn whoever_was_asked_for_meanwhile_is_left_out() {
        let outcome = judge(&[("met", 2, 3), ("unmet", 4, 0)], &["met", "unmet"], &["met"]);
        assert!(outcome.changes.is_empty() && outcome.missed.is_empty() && outcome.answered.is_empty());
        assert_eq!(outcome.unanswered, [due("met")]);
    }

    #[test]
    fn dues_for_which_it_stands_are_answered_if_their_owners_were_met() {
        let outcome = judge(&[("same", 2, 2), ("more", 2, 3), ("unmet", 4, 0)], &[], &["same", "more", "unmet"]);
        let mut answered: Vec<(&str, bool)> =
            outcome.answered.iter().map(|(due, has_changed)| (&*due.owner, *has_changed)).collect();
        answered.sort_unstable();
        assert_eq!(answered, [("more", true), ("same", false)]);
        assert_eq!(outcome.changes[0].2, Some(due("more")), "the action behind it is told");
        assert_eq!(outcome.unanswered, [due("unmet")]);
        assert!(outcome.missed.is_empty());
    }
}
