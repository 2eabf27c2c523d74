//! Who owns what, as told by the published messages of `nft-tokens` and `nft-token-actions`: the truth behind REST.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::event::Stream;

const BURN: u8 = 2;
const TRANSFER: u8 = 4;
const MINT: u8 = 1;

/// The account; it knows of a message `lag` after that was noted.
#[derive(Debug)]
pub(super) struct Owned {
    lag: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Noted, and not yet known.
    coming: VecDeque<(Instant, Change)>,
    /// By package and token; burned ones are gone.
    owners: BTreeMap<(String, String), Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    hash: String,
    kind: u8,
}

#[derive(Debug)]
struct Change {
    token: (String, String),
    /// `None`: burned.
    owner: Option<Owner>,
}

/// A row of the listing, as the service writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) contract_package_hash: String,
    pub(super) owner_hash: String,
    pub(super) owner_type: u8,
    pub(super) tokens_number: u64,
}

#[derive(Deserialize)]
struct Message {
    data: Data,
}

/// What matters of both entities.
#[derive(Deserialize)]
struct Data {
    contract_package_hash: String,
    token_id: String,
    owner_hash: Option<String>,
    owner_type: Option<u8>,
    #[serde(default)]
    is_burned: bool,
    to_hash: Option<String>,
    to_type: Option<u8>,
    nft_action_id: Option<u8>,
}

impl Owned {
    pub(super) fn new(lag: Duration) -> Self {
        Self { lag, state: Mutex::default() }
    }

    /// Takes account of a published message. One that tells of no token changes nothing.
    pub(super) fn note(&self, stream: Stream, text: &str) {
        if !matches!(stream, Stream::NftTokens | Stream::NftTokenActions) {
            return;
        }
        let Ok(Message { data }) = serde_json::from_str(text) else { return };
        let Some(change) = data.change() else { return };
        let mut state = self.state();
        state.coming.push_back((Instant::now() + self.lag, change));
    }

    /// The rows of a package, of an owner, or of both, the greatest number of tokens first.
    pub(super) fn rows(&self, package: Option<&str>, owner: Option<&str>) -> Vec<Row> {
        let mut counts: BTreeMap<(&str, &Owner), u64> = BTreeMap::new();
        let state = self.state();
        for ((of_package, _), of_owner) in &state.owners {
            let is_wanted = package.is_none_or(|package| package.eq_ignore_ascii_case(of_package))
                && owner.is_none_or(|owner| owner.eq_ignore_ascii_case(&of_owner.hash));
            if is_wanted {
                *counts.entry((of_package, of_owner)).or_default() += 1;
            }
        }
        let mut rows: Vec<Row> = counts
            .into_iter()
            .map(|((package, owner), tokens_number)| Row {
                contract_package_hash: package.to_owned(),
                owner_hash: owner.hash.clone(),
                owner_type: owner.kind,
                tokens_number,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.tokens_number));
        rows
    }

    /// The state, with everything in it that is known by now.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while state.coming.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, change)) = state.coming.pop_front() else { break };
            match change.owner {
                Some(owner) => state.owners.insert(change.token, owner),
                None => state.owners.remove(&change.token),
            };
        }
        state
    }
}

impl Data {
    /// What becomes of the token; `None` for an action that leaves it where it is.
    fn change(self) -> Option<Change> {
        let owner =
            |hash: Option<String>, kind: Option<u8>| Some(Owner { hash: hash?, kind: kind.unwrap_or_default() });
        let owner = match self.nft_action_id {
            None if self.is_burned => None,
            None => Some(owner(self.owner_hash, self.owner_type)?),
            Some(BURN) => None,
            Some(MINT | TRANSFER) => Some(owner(self.to_hash, self.to_type)?),
            Some(_) => return None,
        };
        Some(Change { token: (self.contract_package_hash, self.token_id), owner })
    }
}
