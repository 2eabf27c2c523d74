//! From the store to the sinks: one independent group of attempts per sink.
//!
//! Sinks are strangers: each has its own queue, schedule, breaker and limits, and nothing here is shared between two
//! of them. The decisions are pure functions ([`retry`], [`breaker`]) and a pure queue ([`queue`]); only [`group`]
//! waits and acts.

mod breaker;
mod group;
mod queue;
mod retry;

use std::sync::Arc;

use group::{Group, State};
use queue::{Now, Queue};

use crate::clock::Clock;
use crate::config::{SinkConfig, SinkName};
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::SinkMetrics;
use crate::sink::Sink;
use crate::store::SinkStore;

/// A sink and its queue, ready to start.
pub(crate) struct Outlet {
    pub(crate) name: SinkName,
    pub(crate) config: SinkConfig,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) store: SinkStore,
    pub(crate) metrics: Arc<SinkMetrics>,
}

/// Starts delivering to a sink, beginning with what earlier runs left.
pub(crate) fn start(outlet: Outlet, clock: Clock, lifecycle: &Lifecycle) -> Task {
    let Outlet { name, config, sink, mut store, metrics } = outlet;
    let now = Now { instant: tokio::time::Instant::now(), wall: clock.now() };
    let queue = Queue::new(config.ordering, std::mem::take(&mut store.found), now);
    let group = Group { name, config, sink, store: Arc::new(store), queue, clock, metrics, state: State::default() };
    let drain = lifecycle.drain().clone();
    lifecycle.spawn("delivery", group.run(drain))
}
