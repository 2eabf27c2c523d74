//! From the store to the sinks: one independent group of attempts per sink.
//!
//! Sinks are strangers: each has its own queue, schedule, breaker and limits, and nothing here is shared between two
//! of them. The decisions are pure functions ([`retry`], [`breaker`]) and a pure queue ([`queue`]); only [`group`]
//! waits and acts.

mod breaker;
mod gate;
mod group;
mod queue;
mod rate;
mod retry;
mod trial;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use gate::Gate;
use group::{Attempts, Group, State};
use queue::{Now, Queue};

use crate::clock::Clock;
use crate::config::{SinkConfig, SinkName};
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::SinkMetrics;
use crate::notices::Notices;
use crate::sink::Sink;
use crate::store::{Paused, SinkStore, Stopped};

pub(crate) use trial::{Trial, trial};

/// A sink and its queue, ready to start.
pub(crate) struct Outlet {
    pub(crate) name: SinkName,
    pub(crate) setup: Setup,
    pub(crate) store: SinkStore,
    pub(crate) metrics: Arc<SinkMetrics>,
    pub(crate) notices: Notices,
}

/// What may change while the deliveries of a sink go on.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) config: SinkConfig,
    pub(crate) sink: Arc<dyn Sink>,
}

/// To be paused, or to go on.
struct Order {
    paused: Option<Paused>,
    /// What was before, once the order is durable.
    done: oneshot::Sender<Option<Paused>>,
}

/// Why a sink is paused, for whoever asks.
type Shown = Arc<Mutex<Option<Paused>>>;

/// Orders that may wait for a sink; whoever gives more waits.
const ORDERS_MAX: usize = 4;

/// A sink at work.
pub(crate) struct Delivering {
    setup: watch::Sender<Setup>,
    orders: mpsc::Sender<Order>,
    paused: Shown,
    lifecycle: Lifecycle,
    task: Task,
}

/// Starts delivering to a sink, beginning with what earlier runs left.
pub(crate) fn start(outlet: Outlet, clock: Clock, lifecycle: &Lifecycle) -> Delivering {
    let Outlet { name, setup, mut store, metrics, notices } = outlet;
    let now = Now { instant: Instant::now(), wall: clock.now() };
    let found = std::mem::take(&mut store.found);
    if let Some(Paused { since, by, reason }) = &found.paused {
        tracing::warn!(
            sink = %name,
            %since,
            ?by,
            reason,
            "the sink is still paused: its events wait until `cspr-relay sinks resume`"
        );
    }
    let paused = Shown::new(Mutex::new(found.paused.clone()));
    let gate = Gate::new(setup.config.rate_limit, found.paused.clone(), now.instant);
    let queue = Queue::new(setup.config.ordering, found, now);
    let Setup { config, sink } = setup.clone();
    let (setup, changes) = watch::channel(setup);
    let (orders, inbox) = mpsc::channel(ORDERS_MAX);
    let state = State::new(gate.paused());
    let store = Arc::new(store);
    let attempts = Attempts::new(Arc::clone(&store));
    let group = Group {
        name,
        config,
        sink,
        changes,
        orders: inbox,
        gate,
        store,
        queue,
        clock,
        metrics,
        shown: Arc::clone(&paused),
        notices,
        attempts,
        state,
    };
    let lifecycle = lifecycle.child();
    let drain = lifecycle.drain().clone();
    let task = lifecycle.spawn("delivery", group.run(drain));
    Delivering { setup, orders, paused, lifecycle, task }
}

impl Delivering {
    /// From the next attempt on the sink is another; what is in flight ends as it began. The ordering cannot change
    /// this way: the queue was built for it.
    pub(crate) fn change(&self, setup: Setup) {
        self.setup.send_replace(setup);
    }

    /// For operators. They fail once the sink has stopped.
    pub(crate) fn controls(&self) -> Controls {
        Controls { setup: self.setup.subscribe(), orders: self.orders.clone(), paused: Arc::clone(&self.paused) }
    }

    /// Claims nothing more, lets what is in flight finish and hands its changes over.
    pub(crate) async fn stop(mut self) {
        self.lifecycle.drain().cancel();
        self.task.ended().await;
    }
}

/// What an operator can do to a sink at work.
#[derive(Clone)]
pub(crate) struct Controls {
    setup: watch::Receiver<Setup>,
    orders: mpsc::Sender<Order>,
    paused: Shown,
}

impl Controls {
    /// Attempts nothing more from now on, or goes on; what is in flight ends as it began. Returns what was before, when
    /// the change is durable.
    pub(crate) async fn set_paused(&self, paused: Option<Paused>) -> Result<Option<Paused>, Stopped> {
        let (done, before) = oneshot::channel();
        self.orders.send(Order { paused, done }).await.map_err(|_| Stopped)?;
        before.await.map_err(|_| Stopped)
    }

    /// What the sink is at the moment.
    pub(crate) fn setup(&self) -> Setup {
        self.setup.borrow().clone()
    }

    /// Why it is paused, if it is.
    pub(crate) fn paused(&self) -> Option<Paused> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
