//! What REST lists of those that routes name.

use std::collections::HashSet;

use super::found::PAGES_MAX;
use super::scope::Scope;
use crate::source::rest::{Action, ActionsOf, Rest, RestError};

/// Actions since a moment.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Each once, those of one package or owner with the newest first.
    pub(super) actions: Vec<Action>,
    /// There were more pages than are read; the oldest are missing.
    pub(super) is_cut: bool,
}

impl Listing {
    /// All actions since then.
    pub(super) async fn read(rest: &Rest, scope: &Scope, since_ms: u64) -> Result<Self, RestError> {
        let packages = scope.packages.iter().cloned().map(ActionsOf::Package);
        let owners = scope.owners.iter().cloned().map(ActionsOf::Owner);
        let mut listing = Self::default();
        for of in packages.chain(owners) {
            listing.add(rest, &of, since_ms).await?;
        }
        // Pages shift, and one action may be about a named package and a named owner.
        let mut met = HashSet::new();
        listing.actions.retain(|action| met.insert(action.raw.get().to_owned()));
        Ok(listing)
    }

    async fn add(&mut self, rest: &Rest, of: &ActionsOf, since_ms: u64) -> Result<(), RestError> {
        for page in 1..=PAGES_MAX {
            let listed = rest.actions(of, page).await?;
            let is_past = listed.rows.last().is_some_and(|action| action.is_before(since_ms));
            self.actions.extend(listed.rows.into_iter().filter(|action| !action.is_before(since_ms)));
            if listed.is_last || is_past {
                return Ok(());
            }
        }
        self.is_cut = true;
        Ok(())
    }
}
