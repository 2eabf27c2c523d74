//! An event and what is known about it: the words that every other part shares.
//!
//! A [`Stream`] is one CSPR.cloud path. The bytes of one message become [`Facts`] (what routes match and what
//! consumers read in headers) and an [`Identity`] (what deduplication and order go by). Both are pure functions of
//! the bytes, so they can be computed again at any time, and are: only the bytes are stored.

mod account;
mod canonical;
mod decode;
mod id;
mod identity;
mod stream;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use account::{AccountError, account_hash};
pub(crate) use canonical::members;
pub(crate) use decode::{Decoded, Malformed, decode, facts, from_base64};
pub(crate) use id::EventId;
pub(crate) use identity::{Identity, Key, LaneKey, token_lane};
#[expect(unreachable_pub, reason = "`config` is public and names it")]
pub use stream::Stream;

use crate::clock::Timestamp;

/// The Casper network that an event comes from; part of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    Mainnet,
    Testnet,
}

impl Network {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
        }
    }

    /// Where CSPR.cloud streams it.
    pub const fn streaming_address(self) -> &'static str {
        match self {
            Self::Mainnet => "wss://streaming.cspr.cloud",
            Self::Testnet => "wss://streaming.testnet.cspr.cloud",
        }
    }

    /// Where CSPR.cloud answers questions about it.
    pub const fn rest_address(self) -> &'static str {
        match self {
            Self::Mainnet => "https://api.cspr.cloud",
            Self::Testnet => "https://api.testnet.cspr.cloud",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an event came to the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    #[default]
    Stream,
    /// REST told it after a gap.
    Repair,
    /// REST told it, since an operator wanted a sink to have it.
    Backfill,
}

impl Origin {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Repair => "repair",
            Self::Backfill => "backfill",
        }
    }

    /// Whether everybody who wants such an event was offered it. One that was asked for on behalf of one sink must not
    /// keep the others from getting it later, so it does not count as known.
    pub(crate) fn is_for_all(self) -> bool {
        self != Self::Backfill
    }

    /// The number under which the store writes it down; never reused.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Stream => 0,
            Self::Repair => 1,
            Self::Backfill => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Stream, Self::Repair, Self::Backfill].into_iter().find(|origin| origin.code() == code)
    }
}

/// What an NFT action did; `nft_action_id` of CSPR.cloud, 1 to 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ActionKind {
    Mint,
    Burn,
    Approve,
    Transfer,
    MetadataUpdate,
    Revoke,
}

impl ActionKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Mint, Self::Burn, Self::Approve, Self::Transfer, Self::MetadataUpdate, Self::Revoke];

    /// The name in routes.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Burn => "burn",
            Self::Approve => "approve",
            Self::Transfer => "transfer",
            Self::MetadataUpdate => "metadata_update",
            Self::Revoke => "revoke",
        }
    }
}

/// What an owner may be, in routes, by CSPR.cloud's number.
pub(crate) const OWNER_TYPES: [&str; 2] = ["account", "contract"];

/// The standards of tokens, in routes, by CSPR.cloud's number less one.
pub(crate) const TOKEN_STANDARDS: [&str; 3] = ["cep47", "cep78", "cep95"];

/// What a message says about itself. Hashes are lower-case hex without a prefix; every field a stream or a message
/// lacks is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The envelope's `action`: `created`, `updated`, `emitted`.
    pub action: Box<str>,
    /// The envelope's `timestamp`, as written.
    pub timestamp: Option<Box<str>>,
    pub contract_package: Option<Box<str>>,
    pub token_id: Option<Box<str>>,
    pub deploy_hash: Option<Box<str>>,
    /// The present owner; for an action the side that received, or else the one that gave.
    pub owner: Option<Box<str>>,
    /// 0 account, 1 contract.
    pub owner_type: Option<u8>,
    pub from: Option<Box<str>>,
    pub to: Option<Box<str>>,
    pub kind: Option<ActionKind>,
    pub token_standard: Option<u64>,
    pub is_burned: Option<bool>,
}

impl Facts {
    pub(crate) fn owner_type_name(&self) -> Option<&'static str> {
        OWNER_TYPES.get(usize::from(self.owner_type?)).copied()
    }

    pub(crate) fn token_standard_name(&self) -> Option<&'static str> {
        let number = usize::try_from(self.token_standard?).ok()?;
        TOKEN_STANDARDS.get(number.checked_sub(1)?).copied()
    }
}

/// The place of an event in one store: `<epoch>-<number>`, fixed-width hex, so text order is sequence order.
/// The epoch is the store's birth, or the repair of its log, so that what comes after either continues upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sequence {
    /// Milliseconds since 1970 at which the store was created.
    pub epoch: u64,
    pub number: u64,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{:016x}", self.epoch, self.number)
    }
}

/// An accepted event, as sinks see it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub id: EventId,
    pub sequence: Sequence,
    pub network: Network,
    pub stream: Stream,
    pub origin: Origin,
    pub accepted_at: Timestamp,
    pub facts: Facts,
    /// The message, byte for byte as CSPR.cloud sent it.
    pub body: Bytes,
}

/// One event for one sink, about to be attempted.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub event: Arc<Event>,
    /// Names of the matched routes that name this sink, in the order of the file.
    pub routes: Arc<[Arc<str>]>,
    /// 1 for the first attempt.
    pub attempt: u32,
    pub occasion: Occasion,
}

/// Why a delivery is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    Live,
    /// An operator asked for it again.
    Replay,
    /// An operator tries the sink with an event that never was.
    Test,
}
