//! What REST knows of a package, in the shape in which the streams tell it: for a backfill.
//!
//! A listing does not say by which deploy a token came to be as it is, so the message about a token names none.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message;
use crate::budget::Purpose;
use crate::clock::Clock;
use crate::event::{Identity, Key, Network, Stream, decode};
use crate::source::rest::{Action, ActionsOf, Listing, Rest, RestError};

/// Nobody says that a token was created just now.
const WORD: &str = "updated";
const CREATED: &str = "created";

/// Asks for it, as the least urgent.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    rest: Rest,
    network: Network,
    clock: Clock,
}

/// A token as it is, or something that was done with one, as a message.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) body: Bytes,
    pub(crate) identity: Identity,
    pub(crate) token_id: String,
}

/// A token that was read alone.
#[derive(Clone, Debug)]
pub(crate) struct Exactly {
    pub(crate) told: Told,
    /// Its present state, in all ways in which a stream would tell it.
    pub(crate) states: Vec<Identity>,
}

/// The data of a message, as written.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Present {
    pub(crate) fn new(rest: &Rest, network: Network, clock: Clock) -> Self {
        Self { rest: rest.at(Purpose::Backfill), network, clock }
    }

    /// A page of what there is of a package: its tokens, or all that was done with them; `None` in place of a row that
    /// cannot be understood.
    pub(crate) async fn page(
        &self,
        package: &str,
        history: bool,
        page: u64,
    ) -> Result<Listing<Option<Told>>, RestError> {
        if history {
            let Listing { rows, total, is_last } = self.rest.history(package, page).await?;
            let rows = rows.iter().map(|action| self.action(action)).collect();
            return Ok(Listing { rows, total, is_last });
        }
        let Listing { rows, total, is_last } = self.rest.tokens(package, page).await?;
        let rows = rows.iter().map(|token| self.token(token.get())).collect();
        Ok(Listing { rows, total, is_last })
    }

    /// One token, and what REST knows of it; `None` if there is no such token.
    pub(crate) async fn exactly(&self, package: &str, id: &str) -> Result<Option<Exactly>, RestError> {
        let of = ActionsOf::Token { package: package.to_owned(), id: id.to_owned() };
        // Before the token, which so is at least as new as the latest of them.
        let actions = self.rest.actions(&of, 1).await?.rows;
        let Some(token) = self.rest.token(package, id).await? else { return Ok(None) };
        let deploys = actions.iter().map(|action| action.deploy_hash.as_deref()).chain([None]);
        let ways = deploys.flat_map(|deploy| [WORD, CREATED].map(|word| (word, deploy)));
        let states = ways.filter_map(|(word, deploy)| self.identity(token.get(), word, deploy)).collect();
        Ok(self.token(token.get()).map(|told| Exactly { told, states }))
    }

    /// What counts of the token that a message of `nft-tokens` is about; of one that is [`Told`] the base key of its
    /// identity. Equal for messages that tell the same, whatever caused them.
    pub(crate) fn state(&self, body: &[u8]) -> Option<Key> {
        let message: Message<'_> = serde_json::from_slice(body).ok()?;
        self.identity(message.data.get(), WORD, None).map(|identity| identity.base)
    }

    fn token(&self, token: &str) -> Option<Told> {
        let body = message::of_token_at(token, WORD, None, &self.clock.now().to_string());
        let decoded = decode(self.network, Stream::NftTokens, body.as_bytes()).ok()?;
        let (identity, token_id) = (decoded.identity, decoded.facts.token_id?.into_string());
        Some(Told { body: body.into(), identity, token_id })
    }

    fn identity(&self, token: &str, word: &str, deploy: Option<&str>) -> Option<Identity> {
        let body = message::of_token_at(token, word, deploy, "");
        decode(self.network, Stream::NftTokens, body.as_bytes()).ok().map(|decoded| decoded.identity)
    }

    fn action(&self, action: &Action) -> Option<Told> {
        let body = message::of_action(action);
        let decoded = decode(self.network, Stream::NftTokenActions, body.as_bytes()).ok()?;
        let (identity, token_id) = (decoded.identity, decoded.facts.token_id?.into_string());
        Some(Told { body: body.into(), identity, token_id })
    }
}
