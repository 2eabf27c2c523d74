//! Tokens, and what was done with them: the same entities as on the streams, kept as they were written.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Listing, Rest, RestError, answer};

/// Whose actions are asked for; hashes without prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ActionsOf {
    Package(String),
    /// On either side.
    Owner(String),
    Token {
        package: String,
        id: String,
    },
}

/// Something that was done with a token.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) deploy_hash: Option<String>,
    pub(crate) contract_package_hash: String,
    pub(crate) token_id: String,
    /// Whose it is after that: the side that received, or else the one that gave.
    pub(crate) owner_hash: Option<String>,
    pub(crate) nft_action_id: u64,
    /// As written.
    pub(crate) timestamp: String,
    /// The entity, as written.
    pub(crate) raw: Box<RawValue>,
}

#[derive(Deserialize)]
struct Fields {
    deploy_hash: Option<String>,
    contract_package_hash: String,
    /// A text, or a number.
    token_id: Value,
    from_hash: Option<String>,
    to_hash: Option<String>,
    nft_action_id: u64,
    timestamp: String,
}

#[derive(Deserialize)]
struct Single {
    data: Box<RawValue>,
}

impl Rest {
    /// One page of actions, the newest first; pages count from 1, and shift when something is done meanwhile.
    pub(crate) async fn actions(&self, of: &ActionsOf, page: u64) -> Result<Listing<Action>, RestError> {
        let path = match of {
            ActionsOf::Package(package) => vec!["contract-packages", package, "nft-token-actions"],
            ActionsOf::Owner(owner) => vec!["accounts", owner, "nft-token-actions"],
            ActionsOf::Token { package, id } => {
                vec!["contract-packages", package, "nft-tokens", id, "nft-token-actions"]
            }
        };
        self.listing(&path, ("timestamp", "DESC"), page).await?.read()
    }

    /// A token as it is now, as written; `None` if there is no such token.
    pub(crate) async fn token(&self, package: &str, id: &str) -> Result<Option<Box<RawValue>>, RestError> {
        match self.fetch_at::<Single>(&["contract-packages", package, "nft-tokens", id], &[]).await {
            Ok(Single { data }) => Ok(Some(data)),
            Err(RestError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn fetch_at<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, RestError> {
        // An address has no place for these two, which mean a directory there.
        if path.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(RestError::NotFound);
        }
        self.fetch(&self.address(path, query)?).await
    }
}

impl Action {
    pub(super) fn read(raw: Box<RawValue>) -> Result<Self, RestError> {
        let fields: Fields = answer::parsed(raw.get().as_bytes())?;
        let token_id = match fields.token_id {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let owner_hash = fields.to_hash.or(fields.from_hash);
        let Fields { deploy_hash, contract_package_hash, nft_action_id, timestamp, .. } = fields;
        Ok(Self { deploy_hash, contract_package_hash, token_id, owner_hash, nft_action_id, timestamp, raw })
    }
}
