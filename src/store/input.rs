//! What the store is given: its settings, events to accept, messages to keep.

use std::sync::Arc;

use bytes::Bytes;

use super::{Repaired, SinkId};
use crate::config::{BacklogConfig, DeadLettersConfig, DedupConfig, SinkName, StoreConfig};
use crate::event::{Facts, Identity, Network, Stream};

/// What the store is told about the sinks and limits of this run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) network: Network,
    pub(crate) store: StoreConfig,
    pub(crate) dedup: DedupConfig,
    pub(crate) dead_letters: DeadLettersConfig,
    pub(crate) sinks: Vec<(SinkName, BacklogConfig)>,
}

/// An event that routes want, offered for acceptance.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) stream: Stream,
    pub(crate) identity: Identity,
    pub(crate) facts: Facts,
    pub(crate) body: Bytes,
    /// The sinks that get it with the names of the routes that say so; never empty.
    pub(crate) targets: Vec<(SinkId, Arc<[Arc<str>]>)>,
    /// The number that it has in quarantine, which it leaves with the commit that accepts it or knows it already.
    pub(crate) quarantine: Option<u64>,
    /// It did not come by the stream.
    pub(crate) repaired: Option<Arc<Repaired>>,
}

/// A message that could not be handled.
#[derive(Clone, Debug)]
pub(crate) struct Quarantined {
    pub(crate) stream: Stream,
    pub(crate) reason: String,
    pub(crate) body: Bytes,
}
