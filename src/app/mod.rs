//! The relay as a whole: built at rest, then started, then stopped in order.
//!
//! Stop order: the source stops, intake empties its channel, attempts in flight finish or stay due, the store is
//! closed, the admin side ends. `shutdown_timeout` bounds it; beyond it, or at a second request, everything is left as it is, which loses
//! no accepted event.

mod changes;
mod live;
mod rest;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{Mutex, mpsc};

use crate::admin::{self, Admin};
use crate::clock::Clock;
use crate::config::{Config, SinkName};
use crate::delivery::{self, Delivering, Outlet, Setup};
use crate::intake::{Intake, Reroute, Switch};
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::{About, Metrics, Reload};
use crate::notices::Notices;
use crate::operator::Operator;
use crate::source::{Message, Source};
use crate::store::{self, Opened, Store};
use crate::{route, sink};
use live::Live;
use rest::Asking;

pub(crate) use changes::Changes;

/// Messages between the socket and intake. Few: what waits here is in nobody's keeping.
const MESSAGES_MAX: usize = 1024;

/// A relay with its store open and its sinks prepared, but no traffic yet.
pub struct App {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
    store: Store,
    outlets: Vec<Outlet>,
    notices: Notices,
    admin: admin::Listener,
}

/// A relay at work.
pub struct Running {
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    live: Arc<Mutex<Live>>,
    intake: std::thread::JoinHandle<()>,
    telling: Task,
    /// Those that need nothing but the store to end.
    others: Vec<Task>,
    admin: Admin,
    shutdown_timeout: std::time::Duration,
}

/// Asks a running relay to stop, or to take up another configuration; works from anywhere.
#[derive(Clone)]
pub struct Handle {
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    live: Arc<Mutex<Live>>,
}

impl App {
    /// Opens the store and prepares the sinks. Blocks while the store is read.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        let (clock, lifecycle) = (Clock::default(), Lifecycle::default());
        let admin = admin::Listener::bind(config.admin.clone())?;
        let metrics = Metrics::new(config.sinks.keys());
        config.sinks.iter().for_each(|(name, sink)| metrics.describe(name, About::of(sink)));
        let (mut sinks, mut producers) = (Vec::new(), sink::Producers::default());
        for (name, sink) in &config.sinks {
            let built = sink::build(name, sink, &config.egress, &clock, &mut producers);
            sinks.push(built?);
        }
        let Opened { store, queues } = Store::open(settings(&config), clock.clone(), Arc::clone(&metrics), &lifecycle)?;
        let (mut outlets, notices) = (Vec::new(), Notices::default());
        for ((name, queue), sink) in queues.into_iter().zip(sinks) {
            let (Some(config), Some(metrics)) = (config.sinks.get(&name), metrics.sink(&name)) else { continue };
            let (setup, notices) = (Setup { config: config.clone(), sink }, notices.clone());
            outlets.push(Outlet { name, setup, store: queue, metrics, notices });
        }
        warn_of_parked(&store);
        notices.want(live::wants_notices(&config));
        Ok(Self { config, clock, metrics, lifecycle, store, outlets, notices, admin })
    }

    /// Starts delivering what earlier runs left, then taking events.
    pub fn start(self) -> anyhow::Result<Running> {
        let Self { config, clock, metrics, lifecycle, store, outlets, notices, admin } = self;
        let routing = Arc::new(Switch::new(live::routing(&config, &store)));
        let start = |outlet: Outlet| (outlet.name.clone(), delivery::start(outlet, clock.clone(), &lifecycle));
        let sinks: BTreeMap<SinkName, Delivering> = outlets.into_iter().map(start).collect();
        let reroute = Reroute { network: config.source.network, routing: Arc::clone(&routing) };
        let base = rest::Base { store: &store, clock: &clock, metrics: &metrics, lifecycle: &lifecycle };
        let client = rest::client(&config, &base)?;
        let (operator, jobs) = Operator::start(base.operator(reroute.clone(), &client.rest), &lifecycle);
        sinks.iter().for_each(|(name, sink)| operator.add_sink(name, sink.controls()));
        let intake = Intake::new(config.source.network, Arc::clone(&routing), store.clone(), Arc::clone(&metrics));
        let (sender, intake) = start_intake(intake, &lifecycle)?;
        let telling = telling::start(&notices, &sender, &clock, &lifecycle);
        let subscriptions = route::subscriptions(&config.routes, config.source.push_down);
        let told = (Arc::clone(&metrics), notices.clone());
        let source = Source::connect(&lifecycle, config.source.clone(), subscriptions, sender, told)?;
        let asking = Asking::start(&config, reroute, source.action_connects(), client, &base)?;
        let upkeep = lifecycle.spawn("upkeep", upkeep(store.clone(), lifecycle.clone()));
        let shutdown_timeout = config.shutdown_timeout;
        let admin = admin.serve(admin::Context {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            lifecycle: lifecycle.clone(),
            store: store.clone(),
            operator: operator.clone(),
            archive: admin::Archive::new(config.store.path.clone()),
            store_max_bytes: config.store.max_bytes,
            audience: admin::tail::Audience::default(),
        })?;
        let live = Live {
            config,
            clock,
            metrics: Arc::clone(&metrics),
            lifecycle: lifecycle.clone(),
            store,
            routing,
            source: Some(source),
            sinks,
            operator,
            notices,
            asking: Some(asking),
        };
        Ok(Running {
            lifecycle,
            metrics,
            live: Arc::new(Mutex::new(live)),
            intake,
            telling,
            others: vec![upkeep, jobs],
            admin,
            shutdown_timeout,
        })
    }
}

impl Running {
    pub fn handle(&self) -> Handle {
        Handle { lifecycle: self.lifecycle.clone(), metrics: Arc::clone(&self.metrics), live: Arc::clone(&self.live) }
    }

    /// Where metrics, health and the API are.
    pub(crate) fn admin_address(&self) -> std::net::SocketAddr {
        self.admin.address
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Completes when the relay has stopped, by request or because of a failure, which is the error.
    pub async fn stopped(self) -> anyhow::Result<()> {
        let lifecycle = self.lifecycle.clone();
        lifecycle.drain().cancelled().await;
        tracing::info!("stopping: no more events are taken, attempts in flight may finish");
        let deadline = self.shutdown_timeout;
        tokio::select! {
            () = self.wind_down() => tracing::info!("stopped"),
            () = tokio::time::sleep(deadline) => tracing::warn!(
                shutdown_timeout_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
                "the stop took too long: what was still in flight is sent again at the next start"
            ),
            () = lifecycle.abort().cancelled() => tracing::warn!("stopped at once: what was in flight is sent again at the next start"),
        }
        lifecycle.abort().cancel();
        match lifecycle.failure() {
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }

    async fn wind_down(self) {
        let Self { live, intake, mut telling, others, admin, .. } = self;
        // A reload under way ends soon, since all that it waits for ends with the drain.
        let mut live = live.lock().await;
        if let Some(source) = live.source.take() {
            // Nobody sends to intake any more: it ends when it has emptied the channel.
            source.ended().await;
        }
        telling.ended().await;
        if let Some(asking) = live.asking.take() {
            asking.ended().await;
        }
        // A panic there was reported by the lifecycle.
        let _joined = tokio::task::spawn_blocking(move || intake.join()).await;
        live.sinks_ended().await;
        for mut task in others {
            task.ended().await;
        }
        // A store that stopped by itself has said why.
        let _closed = live.store.clone().close().await;
        admin.stop().await;
    }
}

impl Handle {
    /// The first time: finish what is under way. Again: end at once.
    pub fn stop(&self) {
        let token = if self.lifecycle.drain().is_cancelled() { self.lifecycle.abort() } else { self.lifecycle.drain() };
        token.cancel();
    }

    /// Takes up another configuration, or says why it cannot; then nothing has changed.
    pub(crate) async fn reload(&self, config: Config) -> anyhow::Result<Changes> {
        let reloaded = self.live.lock().await.reload(config).await;
        self.note(reloaded.as_ref().err().map(|error| format!("{error:#}")));
        reloaded
    }

    /// A configuration was not even tried, for these faults.
    pub(crate) fn refused(&self, faults: String) {
        self.note(Some(faults));
    }

    fn note(&self, refused: Option<String>) {
        self.metrics.reload.note(Reload { at: Clock::default().now(), refused });
    }
}

/// Intake at work, and where its messages go in.
fn start_intake(
    intake: Intake,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(mpsc::Sender<Message>, std::thread::JoinHandle<()>)> {
    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    let (runtime, abort) = (tokio::runtime::Handle::current(), lifecycle.abort().clone());
    let work = move || intake.run(messages, &runtime, &abort);
    let thread = lifecycle.spawn_thread("intake", work).context("starting the intake thread")?;
    Ok((sender, thread))
}

fn warn_of_parked(store: &Store) {
    for (name, pending) in store.parked() {
        tracing::warn!(
            sink = %name,
            pending,
            "a sink with undelivered events is not in the configuration: its deliveries are kept until the name \
             returns"
        );
    }
}

fn settings(config: &Config) -> store::Settings {
    store::Settings {
        network: config.source.network,
        store: config.store.clone(),
        dedup: config.dedup,
        dead_letters: config.dead_letters,
        sinks: config.sinks.iter().map(|(name, sink)| (name.clone(), sink.backlog)).collect(),
    }
}

/// Lets the store look after itself once a second. Ends with the drain, or with the store.
async fn upkeep(store: Store, lifecycle: Lifecycle) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = lifecycle.drain().cancelled() => return,
        }
        if store.tick().await.is_err() {
            return;
        }
    }
}
