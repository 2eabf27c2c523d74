//! One token: what REST lists of it, whether it has to be read, and its present state as a message.

use std::collections::BTreeMap;

use super::{Setup, message};
use crate::clock::Timestamp;
use crate::event::{Identity, Stream, decode};
use crate::lifecycle::kill_point;
use crate::source::rest::{Action, ActionsOf, RestError};
use crate::store::{Candidate, Fate, Knowledge, Repaired, ToldOf};

/// Reads of a token that changes meanwhile.
const READS_MAX: u32 = 4;
/// A token that was minted, or whose metadata was changed, may change once more without an action: when its metadata
/// outside the chain arrives.
const DRIFTING: [u64; 2] = [MINT, METADATA];
const MINT: u64 = 1;
const METADATA: u64 = 5;

/// Package and id.
pub(super) type Key = (String, String);

/// What a walk has listed of a token.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// The last change.
    pub(super) newest: Action,
    /// Changes at the moment of that one.
    at_once: usize,
    was_minted: bool,
    may_drift: bool,
}

/// When a token was read for the last time, and what its last change was then.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) newest: String,
}

/// What became of a token's present state.
pub(super) struct Read {
    /// `None`: there is no such token, or no route wants it.
    pub(super) fate: Option<Fate>,
    /// The last change.
    pub(super) newest: Action,
}

/// The tokens that were changed; `actions` as they are listed.
pub(super) fn listed(actions: Vec<Action>) -> BTreeMap<Key, Listed> {
    let mut by_token: BTreeMap<Key, Vec<Action>> = BTreeMap::new();
    for action in actions.into_iter().filter(Action::changes) {
        by_token.entry((action.contract_package_hash.clone(), action.token_id.clone())).or_default().push(action);
    }
    by_token.into_iter().filter_map(|(key, actions)| Some((key, Listed::of(&actions)?))).collect()
}

impl Listed {
    fn of(actions: &[Action]) -> Option<Self> {
        // They are in the order of the listing, the newest first.
        let newest = actions.iter().rev().max_by(|a, b| a.timestamp.cmp(&b.timestamp))?.clone();
        Some(Self {
            at_once: actions.iter().filter(|action| action.timestamp == newest.timestamp).count(),
            was_minted: actions.iter().any(|action| action.nft_action_id == MINT),
            may_drift: actions.iter().any(|action| DRIFTING.contains(&action.nft_action_id)),
            newest,
        })
    }

    /// Whether the stream has told all of it: its last change, if nothing can have followed without an action.
    pub(super) fn was_told(&self, told: &ToldOf) -> bool {
        self.is_last_told(told) && !self.may_drift
    }

    /// Whether what the stream told last came of the last change.
    pub(super) fn is_last_told(&self, told: &ToldOf) -> bool {
        let is_last = self.newest.deploy_hash.is_some() && self.newest.deploy_hash.as_deref() == told.deploy.as_deref();
        is_last && self.at_once == 1
    }

    /// The action of a message about the token as it is: `created` if nobody was told of its creation.
    pub(super) fn word(&self, told: &ToldOf) -> &'static str {
        if self.was_minted && !told.is_created { "created" } else { "updated" }
    }

    /// Whether an earlier look has seen all of it; `since` as in [`super::rounds::Round::since`].
    pub(super) fn was_read(&self, mark: &Mark, since: Timestamp) -> bool {
        mark.newest == self.newest.raw.get() && (!self.may_drift || mark.at >= since)
    }
}

/// Reads a token and hands its present state over, `created` if nobody was told of its creation. REST may not know yet
/// of events later than `after`.
pub(super) async fn read(
    setup: &Setup,
    key: &Key,
    listed: &Listed,
    told: &ToldOf,
    after: u64,
) -> Result<Read, super::Trouble> {
    let (package, id) = key;
    let word = listed.word(told);
    let of = ActionsOf::Token { package: package.clone(), id: id.clone() };
    let mut newest = listed.newest.clone();
    for _ in 0..READS_MAX {
        let began = setup.store.newest();
        let Some(token) = setup.rest.token(package, id).await? else { return Ok(Read { fate: None, newest }) };
        // The state lies between two looks at what was done: if they agree, it is what the last change has left.
        let actions = setup.rest.actions(&of, 1).await?.rows;
        let Some(last) = actions.iter().find(|action| action.changes()) else { return Ok(Read { fate: None, newest }) };
        if last.raw.get() == newest.raw.get() {
            let Some(candidate) = candidate(setup, token.get(), word, &actions, (after, began))? else {
                return Ok(Read { fate: None, newest });
            };
            let fate = setup.store.accept_repaired(vec![candidate]).await?.first().copied();
            if fate == Some(Fate::Accepted) {
                kill_point("repair-accepted");
            }
            return Ok(Read { fate, newest });
        }
        newest = last.clone();
    }
    Ok(Read { fate: Some(Fate::Behind), newest })
}

/// `None` if no route wants it. `after` and `began` as in [`Knowledge`].
fn candidate(
    setup: &Setup,
    token: &str,
    word: &str,
    actions: &[Action],
    (after, began): (u64, u64),
) -> Result<Option<Candidate>, RestError> {
    let Some(latest) = actions.iter().find(|action| action.changes()) else { return Ok(None) };
    let deploy = latest.deploy_hash.as_deref();
    let say = |word: &str, deploy: Option<&str>| message::of_token(token, word, latest, deploy);
    let identity = |text: &str| -> Result<Identity, RestError> {
        let decoded = decode(setup.intake.network, Stream::NftTokens, text.as_bytes());
        decoded.map(|decoded| decoded.identity).map_err(|malformed| RestError::Unusable(malformed.reason))
    };
    let same = if word == "created" { vec![] } else { vec![say("created", deploy), say("updated", None)] };
    let same = same.iter().map(|text| identity(text)).collect::<Result<_, _>>()?;
    let states = actions.iter().map(|action| say("updated", action.deploy_hash.as_deref()));
    let states = states.chain([say(word, deploy), say("updated", None)]);
    let states = states.map(|text| identity(&text)).collect::<Result<_, _>>()?;
    let repaired = Repaired::new(Knowledge { same, states, after, began });
    Ok(setup.intake.repaired(Stream::NftTokens, say(word, deploy).as_bytes(), repaired))
}
