//! What the operator wrote, checked and turned into what the program needs.
//!
//! Only this component knows YAML, files and the environment. Everything here is plain data: a [`Config`] that exists
//! is valid.
//!
//! A file is read in two steps: `shape` keeps what was typed, with its places; `reader` and the modules of the
//! sections turn that into a [`Config`] and collect every [`Fault`] on the way.

mod advice;
mod connections;
mod document;
mod example;
mod expand;
mod fault;
mod hash;
mod include;
mod json_schema;
mod load;
mod named;
mod outline;
mod parse;
mod quantity;
mod reader;
mod routes;
mod secret;
mod settings;
mod shape;
mod sinks;
mod template;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;

use crate::event::{Network, Stream};

pub use connections::{KafkaConnection, OauthConfig};
pub use fault::{Fault, Faults, Severity};
pub(crate) use hash::{hash, owner};
pub use load::{Contact, Loaded, contact, load, load_with_files, locate, schema, schema_of_included};
pub(crate) use quantity::duration;
pub(crate) use routes::Found;
pub use routes::{Condition, Key, MatchConfig, Pointer, Predicate, RouteConfig, TestConfig, TestEvent, Texts};
pub use secret::Secret;
pub use sinks::{
    AmqpBroker, AmqpConfig, AmqpLogin, BacklogConfig, ClientCertificate, ExchangeConfig, ExchangeType, Format,
    HeaderText, KafkaConfig, OnFull, Ordering, QueueConfig, QueueType, RateLimit, RetryConfig, Schedule, SinkConfig,
    SinkKind, SinkName, TlsConfig, WebhookConfig,
};
pub(crate) use sinks::{CONCURRENCY_MAX, TOPIC_BYTES_MAX, is_legal_in_topics};
pub use template::{Field, Template, TemplatePart};
pub use watch::Watch;

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub source: SourceConfig,
    pub store: StoreConfig,
    pub dedup: DedupConfig,
    pub dead_letters: DeadLettersConfig,
    pub ownership: OwnershipConfig,
    pub repair: RepairConfig,
    pub egress: EgressConfig,
    pub admin: AdminConfig,
    pub sinks: BTreeMap<SinkName, SinkConfig>,
    /// In the order of the files.
    pub routes: Vec<RouteConfig>,
    /// Where the operator expects events to go; only `check` runs them.
    pub tests: Vec<TestConfig>,
    /// How long a stop may take before what is still in flight is left to the next start.
    pub shutdown_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    pub network: Network,
    /// `wss://…` (or `ws://…` for an emulator), without a path.
    pub url: Url,
    pub api_key: Secret,
    /// Sent as `Persistent-Session`, with stream and filter appended.
    pub persistent_session: Option<String>,
    /// No frame at all for this long: the connection is dead.
    pub silence_timeout: Duration,
    pub push_down: PushDown,
    /// PEM file with further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    pub rest: RestConfig,
}

/// CSPR.cloud's REST API, for what the streams do not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestConfig {
    /// `https://…` (or `http://…` for an emulator), without a path.
    pub url: Url,
    pub requests_per_minute: usize,
    /// In any 24 hours.
    pub requests_per_day: u64,
}

/// How far a subscription is narrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushDown {
    #[default]
    Packages,
    PackagesAndOwners,
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    pub path: PathBuf,
    /// Settled events stay visible this long, space permitting.
    pub retention: Duration,
    pub max_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DedupConfig {
    pub identity: IdentityRule,
    pub window: Duration,
    pub window_without_deploy: Duration,
    pub max_keys: usize,
}

/// Which events count as the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityRule {
    /// The same state of the same entity from the same deploy.
    #[default]
    State,
    /// One event per (contract package, token id, deploy hash); the first wins.
    DeployToken,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadLettersConfig {
    pub retention: Duration,
    pub max_bytes: u64,
}

/// How the stream `nft-token-ownership` is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnershipConfig {
    /// How long after an action CSPR.cloud is asked for its owners: its REST API lags behind its streams.
    pub settle: Duration,
    /// How often all owners are looked through.
    pub reconcile: Duration,
    /// Whether the owners found at first are told as events.
    pub emit_baseline: bool,
}

impl Default for OwnershipConfig {
    fn default() -> Self {
        let (settle, reconcile) = (Duration::from_secs(2), Duration::from_secs(6 * 60 * 60));
        Self { settle, reconcile, emit_baseline: false }
    }
}

/// How what was missed in a gap is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairConfig {
    /// How long after the end of a gap CSPR.cloud's REST API is asked: it lags behind the streams.
    pub settle: Duration,
    /// When it is asked once more: by then it knows what the streams told in the gap.
    pub recheck: Duration,
    /// How often what a stream has told is held against what REST lists; `None`: never.
    pub audit: Option<Duration>,
}

impl Default for RepairConfig {
    fn default() -> Self {
        let (settle, recheck) = (Duration::from_secs(5), Duration::from_secs(60));
        Self { settle, recheck, audit: Some(Duration::from_secs(6 * 60 * 60)) }
    }
}

/// Addresses that sinks must not reach, beside those that are always refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EgressConfig {
    pub deny: Vec<IpNet>,
}

/// Where operators look and act.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    pub listen: SocketAddr,
    /// Without it the API refuses everybody; metrics and health are open.
    pub token: Option<Secret>,
}

impl Default for AdminConfig {
    /// This machine alone, and no API.
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), token: None }
    }
}

/// What one connection to the source asks for: a stream and, if no match can be lost by it, a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub stream: Stream,
    /// Empty: not filtered by package. 64 lower-case hex digits each.
    pub contract_packages: Vec<String>,
    /// Empty: not filtered by owner.
    pub owners: Vec<String>,
}
