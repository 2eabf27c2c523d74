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

use tokio::sync::watch;

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
    pub(crate) setup: Setup,
    pub(crate) store: SinkStore,
    pub(crate) metrics: Arc<SinkMetrics>,
}

/// What may change while the deliveries of a sink go on.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) config: SinkConfig,
    pub(crate) sink: Arc<dyn Sink>,
}

/// A sink at work.
pub(crate) struct Delivering {
    setup: watch::Sender<Setup>,
    lifecycle: Lifecycle,
    task: Task,
}

/// Starts delivering to a sink, beginning with what earlier runs left.
pub(crate) fn start(outlet: Outlet, clock: Clock, lifecycle: &Lifecycle) -> Delivering {
    let Outlet { name, setup, mut store, metrics } = outlet;
    let now = Now { instant: tokio::time::Instant::now(), wall: clock.now() };
    let queue = Queue::new(setup.config.ordering, std::mem::take(&mut store.found), now);
    let Setup { config, sink } = setup.clone();
    let (setup, changes) = watch::channel(setup);
    let state = State::default();
    let group = Group { name, config, sink, changes, store: Arc::new(store), queue, clock, metrics, state };
    let lifecycle = lifecycle.child();
    let drain = lifecycle.drain().clone();
    let task = lifecycle.spawn("delivery", group.run(drain));
    Delivering { setup, lifecycle, task }
}

impl Delivering {
    /// From the next attempt on the sink is another; what is in flight ends as it began. The ordering cannot change
    /// this way: the queue was built for it.
    pub(crate) fn change(&self, setup: Setup) {
        self.setup.send_replace(setup);
    }

    /// Claims nothing more, lets what is in flight finish and hands its changes over.
    pub(crate) async fn stop(mut self) {
        self.lifecycle.drain().cancel();
        self.task.ended().await;
    }
}
