//! The part of a running relay that its configuration can change: routes, sinks and connections.
//!
//! A reload is validated and built before anything changes. Then: new sinks get their queues, new connections come up
//! beside the old ones, changed sinks are exchanged, the routes are switched in one step, old connections end after
//! what the server had sent on them was handed over, and removed sinks finish what is in flight and are parked with
//! the rest. A sink that did not change does not notice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::changes::Changes;
use super::rest::Asking;
use crate::clock::Clock;
use crate::config::{Config, SinkConfig, SinkName};
use crate::delivery::{self, Delivering, Outlet, Setup};
use crate::intake::{Routing, Switch};
use crate::lifecycle::Lifecycle;
use crate::metrics::{About, Metrics};
use crate::notices::Notices;
use crate::operator::Operator;
use crate::ownership::Watching;
use crate::route::{self, Router};
use crate::sink::{self, Producers};
use crate::source::Source;
use crate::store::Store;

/// How long a reload waits for new connections before it goes on without them.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Live {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Lifecycle,
    pub(super) store: Store,
    pub(super) routing: Arc<Switch>,
    /// `None` once the relay stops.
    pub(super) source: Option<Source>,
    pub(super) sinks: BTreeMap<SinkName, Delivering>,
    pub(super) operator: Operator,
    pub(super) notices: Notices,
    /// `None` once the relay stops.
    pub(super) asking: Option<Asking>,
}

impl Live {
    /// Takes up another configuration as a whole, or none of it.
    pub(super) async fn reload(&mut self, config: Config) -> anyhow::Result<Changes> {
        let mut changes = Changes::between(&self.config, &config)?;
        if changes.is_empty() {
            return Ok(changes);
        }
        let mut setups = self.build(&config, &changes)?;
        let subscriptions = route::subscriptions(&config.routes, config.source.push_down);
        let joined = self.join(&changes, &mut setups).await?;
        let source = self.source.as_mut().context("the relay is stopping")?;
        changes.opened = source.widen(&self.lifecycle, &subscriptions, CONNECT_PATIENCE).await?;
        self.sinks.extend(joined);
        self.exchange(setups).await?;
        self.routing.set(routing(&config, &self.store));
        self.notices.want(wants_notices(&config));
        if let Some(asking) = &self.asking {
            asking.take_up(&config);
        }
        if let Some(source) = &mut self.source {
            changes.closed = source.narrow(&subscriptions).await;
        }
        for name in &changes.sinks.removed {
            self.park(SinkName(name.as_str().into())).await?;
        }
        self.config = config;
        Ok(changes)
    }

    /// The sinks that are new or changed. What cannot work fails here, before anything has changed.
    fn build(&self, config: &Config, changes: &Changes) -> anyhow::Result<BTreeMap<SinkName, Setup>> {
        let names = changes.sinks.added.iter().chain(&changes.sinks.changed);
        let named = names.filter_map(|name| config.sinks.get_key_value(&SinkName(name.as_str().into())));
        // Sinks that did not change keep the producers they have.
        let mut producers = Producers::default();
        let build = |(name, sink): (&SinkName, &SinkConfig)| {
            let built = sink::build(name, sink, &config.egress, &self.clock, &mut producers)?;
            Ok((name.clone(), Setup { config: sink.clone(), sink: built }))
        };
        named.map(build).collect()
    }

    /// Starts the new sinks, with what was parked for them.
    async fn join(
        &self,
        changes: &Changes,
        setups: &mut BTreeMap<SinkName, Setup>,
    ) -> anyhow::Result<BTreeMap<SinkName, Delivering>> {
        let mut joined = BTreeMap::new();
        let added = changes.sinks.added.iter().map(|name| SinkName(name.as_str().into()));
        for (name, setup) in added.filter_map(|name| setups.remove_entry(&name)) {
            joined.insert(name.clone(), self.start(name, setup).await?);
        }
        Ok(joined)
    }

    async fn start(&self, name: SinkName, setup: Setup) -> anyhow::Result<Delivering> {
        let metrics = self.metrics.add_sink(&name);
        self.metrics.describe(&name, About::of(&setup.config));
        let store = self.store.join(&name, setup.config.backlog, Arc::clone(&metrics)).await;
        let store = store.with_context(|| format!("the store did not take the sink `{name}`: is the disk full?"))?;
        let outlet = Outlet { name, setup, store, metrics, notices: self.notices.clone() };
        let name = outlet.name.clone();
        let started = delivery::start(outlet, self.clock.clone(), &self.lifecycle);
        self.operator.add_sink(&name, started.controls());
        Ok(started)
    }

    /// Puts changed sinks in the place of the old ones. A queue that was built for other rules is built anew.
    async fn exchange(&mut self, setups: BTreeMap<SinkName, Setup>) -> anyhow::Result<()> {
        for (name, setup) in setups {
            let old = self.config.sinks.get(&name);
            let has_same_queue =
                old.is_some_and(|old| old.ordering == setup.config.ordering && old.backlog == setup.config.backlog);
            match self.sinks.get(&name) {
                Some(delivering) if has_same_queue => {
                    self.metrics.describe(&name, About::of(&setup.config));
                    delivering.change(setup);
                }
                _ => self.replace(name, setup).await?,
            }
        }
        Ok(())
    }

    async fn replace(&mut self, name: SinkName, setup: Setup) -> anyhow::Result<()> {
        if let Some(delivering) = self.sinks.remove(&name) {
            delivering.stop().await;
        }
        let started = self.start(name.clone(), setup).await?;
        self.sinks.insert(name, started);
        Ok(())
    }

    async fn park(&mut self, name: SinkName) -> anyhow::Result<()> {
        self.operator.remove_sink(&name);
        if let Some(delivering) = self.sinks.remove(&name) {
            delivering.stop().await;
        }
        let pending = self.store.leave(&name).await.context("parking a sink")?;
        self.metrics.remove_sink(&name);
        if pending > 0 {
            tracing::warn!(
                sink = %name,
                pending,
                "a sink with undelivered events was removed: its deliveries are kept until the name returns"
            );
        }
        Ok(())
    }

    /// Waits until the sinks have finished what is in flight, after the drain.
    pub(super) async fn sinks_ended(&mut self) {
        for (_, delivering) in std::mem::take(&mut self.sinks) {
            delivering.stop().await;
        }
    }
}

/// Whether some route wants to know what the relay notices about itself.
pub(super) fn wants_notices(config: &Config) -> bool {
    config.routes.iter().any(|route| route.stream.is_operational())
}

/// Whose ownership the routes of a configuration want to know of.
pub(super) fn watching(config: &Config) -> Watching {
    Watching { config: config.ownership, packages: route::watched(&config.routes) }
}

/// The routes of a configuration whose sinks the store knows.
pub(super) fn routing(config: &Config, store: &Store) -> Routing {
    let known = config.sinks.keys().filter_map(|name| Some((name.clone(), store.sink_id(name)?)));
    Routing { router: Router::new(&config.routes), sinks: known.collect() }
}
