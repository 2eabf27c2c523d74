//! The table of streams: CSPR.cloud's, and the relay's own. A new one is a row here.

use std::fmt;

/// One path of the streaming API, or a stream of the relay's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stream {
    AccountBalances = 0,
    Blocks = 1,
    Contracts = 2,
    ContractPackages = 3,
    ContractEvents = 4,
    Deploys = 5,
    FtTokenActions = 6,
    NftTokens = 7,
    NftTokenActions = 8,
    Transfers = 9,
    /// Made by the relay itself, of what CSPR.cloud answers when it is asked.
    NftTokenOwnership = 10,
    /// What the relay notices about itself: operational events.
    Relay = 11,
}

/// Where the fields stand that routes and order go by, as JSON Pointers into a message; empty where a stream lacks one.
pub(super) struct Fields {
    pub(super) contract_package: &'static str,
    pub(super) token_id: &'static str,
    pub(super) deploy_hash: &'static [&'static str],
    pub(super) owner: &'static [&'static str],
    pub(super) owner_type: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// What makes up the lane; none: the stream is unordered.
    pub(super) lane: &'static [&'static str],
}

const NONE: Fields = Fields {
    contract_package: "",
    token_id: "",
    deploy_hash: &["/extra/deploy_hash"],
    owner: &[],
    owner_type: "",
    from: "",
    to: "",
    lane: &[],
};

struct Row {
    stream: Stream,
    name: &'static str,
    fields: Fields,
}

const TABLE: [Row; 12] = [
    Row {
        stream: Stream::AccountBalances,
        name: "account-balances",
        fields: Fields { owner: &["/data/account_hash"], lane: &["/data/account_hash"], ..NONE },
    },
    Row { stream: Stream::Blocks, name: "blocks", fields: Fields { deploy_hash: &[], ..NONE } },
    Row {
        stream: Stream::Contracts,
        name: "contracts",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            deploy_hash: &["/extra/deploy_hash", "/data/deploy_hash"],
            lane: &["/data/contract_package_hash"],
            ..NONE
        },
    },
    Row {
        stream: Stream::ContractPackages,
        name: "contract-packages",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            owner: &["/data/owner_hash", "/data/owner_public_key"],
            lane: &["/data/contract_package_hash"],
            ..NONE
        },
    },
    Row {
        stream: Stream::ContractEvents,
        name: "contract-events",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            lane: &["/data/contract_package_hash"],
            ..NONE
        },
    },
    Row {
        stream: Stream::Deploys,
        name: "deploys",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            deploy_hash: &["/data/deploy_hash"],
            owner: &["/data/caller_hash", "/data/caller_public_key"],
            ..NONE
        },
    },
    Row {
        stream: Stream::FtTokenActions,
        name: "ft-token-actions",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            deploy_hash: &["/data/deploy_hash", "/extra/deploy_hash"],
            owner: &["/data/to_hash", "/data/from_hash"],
            from: "/data/from_hash",
            to: "/data/to_hash",
            ..NONE
        },
    },
    Row {
        stream: Stream::NftTokens,
        name: "nft-tokens",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            token_id: "/data/token_id",
            deploy_hash: &["/extra/deploy_hash", "/extra/transaction_hash"],
            owner: &["/data/owner_hash"],
            owner_type: "/data/owner_type",
            lane: &["/data/contract_package_hash", "/data/token_id"],
            ..NONE
        },
    },
    Row {
        stream: Stream::NftTokenActions,
        name: "nft-token-actions",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            token_id: "/data/token_id",
            deploy_hash: &["/data/deploy_hash", "/extra/deploy_hash"],
            owner: &["/extra/owner_hash", "/data/to_hash", "/data/from_hash"],
            owner_type: "/data/to_type",
            from: "/data/from_hash",
            to: "/data/to_hash",
            lane: &["/data/contract_package_hash", "/data/token_id"],
        },
    },
    Row {
        stream: Stream::Transfers,
        name: "transfers",
        fields: Fields {
            deploy_hash: &["/data/deploy_hash", "/extra/deploy_hash"],
            owner: &["/data/to_account_hash", "/data/initiator_account_hash"],
            from: "/data/initiator_account_hash",
            to: "/data/to_account_hash",
            ..NONE
        },
    },
    Row {
        stream: Stream::NftTokenOwnership,
        name: "nft-token-ownership",
        fields: Fields {
            contract_package: "/data/contract_package_hash",
            owner: &["/data/owner_hash"],
            owner_type: "/data/owner_type",
            lane: &["/data/contract_package_hash", "/data/owner_hash"],
            ..NONE
        },
    },
    Row { stream: Stream::Relay, name: "relay", fields: Fields { deploy_hash: &[], ..NONE } },
];

impl Stream {
    /// All streams, in the order of their codes.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.stream)
    }

    /// The name in routes, headers and metrics; the path below the base URL is the same with a slash before it.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.stream)
    }

    /// The number under which the store writes it down; never reused.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::all().find(|stream| stream.code() == code)
    }

    /// Whether messages name a contract package, so that a route may match on it.
    pub fn has_contract_package(self) -> bool {
        !self.fields().contract_package.is_empty()
    }

    pub fn has_token_id(self) -> bool {
        !self.fields().token_id.is_empty()
    }

    pub fn has_owner(self) -> bool {
        !self.fields().owner.is_empty()
    }

    pub fn has_owner_type(self) -> bool {
        !self.fields().owner_type.is_empty()
    }

    /// Whether messages name the two sides of a transfer.
    pub fn has_sides(self) -> bool {
        !self.fields().from.is_empty()
    }

    /// Whether messages say what an NFT action did.
    pub fn has_kind(self) -> bool {
        matches!(self, Self::NftTokenActions)
    }

    /// Whether messages show a token as it is now: its standard, and whether it is burned.
    pub fn has_token_state(self) -> bool {
        matches!(self, Self::NftTokens)
    }

    /// Whether there is no asking for all of it, but only for named contract packages.
    pub fn needs_contract_package(self) -> bool {
        matches!(self, Self::ContractEvents | Self::NftTokenOwnership)
    }

    /// Whether the relay makes it: there is no such path to connect to.
    pub fn is_our_own(self) -> bool {
        matches!(self, Self::NftTokenOwnership | Self::Relay)
    }

    /// Whether its events tell of the relay itself. What becomes of them is not told in its turn.
    pub(crate) fn is_operational(self) -> bool {
        matches!(self, Self::Relay)
    }

    /// The actions that are known of it.
    pub(crate) fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Relay => &[
                "dead_letter.created",
                "sink.paused",
                "sink.recovered",
                "sink.expiring",
                "source.silent",
                "gap.opened",
                "gap.closed",
            ],
            Self::NftTokenOwnership => &["created", "updated", "deleted"],
            _ => &["created", "updated", "emitted"],
        }
    }

    pub(super) fn fields(self) -> &'static Fields {
        &self.row().fields
    }

    fn row(self) -> &'static Row {
        #[expect(clippy::indexing_slicing, reason = "the table has a row for each code, in order; a test holds it")]
        &TABLE[self as usize]
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_stands_at_its_code_and_is_found_by_name() {
        assert_eq!(Stream::all().count(), 12);
        for (code, row) in TABLE.iter().enumerate() {
            assert_eq!(row.stream as usize, code);
            assert_eq!(Stream::from_name(row.name), Some(row.stream));
            assert_eq!(Stream::from_code(row.stream.code()), Some(row.stream));
        }
    }
}
