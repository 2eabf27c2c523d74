//! Those who ask CSPR.cloud's REST API: one client, with a budget that outlives the process, and its users.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::live::watching;
use crate::budget::{Purpose, Spent};
use crate::clock::Clock;
use crate::config::Config;
use crate::intake::Reroute;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::operator;
use crate::ownership::{self, Ownership};
use crate::repair::{self, Present, Repair};
use crate::source::rest::{Account, Rest};
use crate::store::Store;

/// What all of them work with.
pub(super) struct Base<'a> {
    pub(super) store: &'a Store,
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) notices: &'a Notices,
    pub(super) lifecycle: &'a Lifecycle,
}

impl Base<'_> {
    /// What an operator's work is done with.
    pub(super) fn operator(&self, reroute: Reroute, rest: &Rest) -> operator::Setup {
        operator::Setup {
            present: Present::new(rest, reroute.network, self.clock.clone()),
            reroute,
            store: self.store.clone(),
            clock: self.clock.clone(),
            metrics: Arc::clone(self.metrics),
        }
    }
}

/// All of them at work.
pub(super) struct Asking {
    budget: Task,
    repair: Repair,
    ownership: Ownership,
}

impl Asking {
    /// Starts them. The connections must exist: those of streams that earlier runs heard are there to be looked at.
    pub(super) fn start(
        config: &Config,
        intake: Reroute,
        reconnects: watch::Receiver<u64>,
        client: Client,
        base: &Base<'_>,
    ) -> anyhow::Result<Self> {
        let Client { rest, budget } = client;
        let Base { store, clock, metrics, notices, lifecycle } = *base;
        let (store, clock, metrics) = (store.clone(), clock.clone(), Arc::clone(metrics));
        let repair = repair::Setup {
            rest: rest.at(Purpose::Repair),
            store: store.clone(),
            intake: intake.clone(),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            notices: notices.clone(),
        };
        let ownership = ownership::Setup { rest, store, intake, reconnects, clock, metrics };
        Ok(Self {
            budget,
            repair: Repair::start(repair, wanted(config), lifecycle)?,
            ownership: Ownership::start(ownership, watching(config), lifecycle),
        })
    }

    /// Takes up the routes and settings of another configuration.
    pub(super) fn take_up(&self, config: &Config) {
        self.repair.want(wanted(config));
        self.ownership.watch(watching(config));
    }

    /// Waits for their end, after the drain.
    pub(super) async fn ended(mut self) {
        self.ownership.ended().await;
        self.repair.ended().await;
        self.budget.ended().await;
    }
}

fn wanted(config: &Config) -> repair::Wanted {
    let has_session = config.source.persistent_session.is_some();
    repair::Wanted { config: config.repair, routes: config.routes.clone(), has_session }
}

/// The client, and the task that keeps what it spends.
pub(super) struct Client {
    pub(super) rest: Rest,
    budget: Task,
}

/// Nothing is asked yet.
pub(super) fn client(config: &Config, base: &Base<'_>) -> anyhow::Result<Client> {
    let Base { store, clock, metrics, lifecycle, .. } = *base;
    let spent = store.spent().context("reading what was asked of CSPR.cloud's REST API")?;
    let account = Account { clock: clock.clone(), metrics: Arc::clone(&metrics.rest), spent };
    let rest = Rest::new(&config.source, account)?;
    let budget = lifecycle.spawn("budget", keep(rest.spent(), store.clone(), lifecycle.clone()));
    Ok(Client { rest, budget })
}

/// Hands every change to the store, many as one when they come faster than it commits. Ends with the drain, once the
/// last change is handed over, or with the store.
async fn keep(mut spent: watch::Receiver<Spent>, store: Store, lifecycle: Lifecycle) {
    loop {
        let is_last = tokio::select! {
            changed = spent.changed() => changed.is_err(),
            () = lifecycle.drain().cancelled() => true,
        };
        if is_last {
            // The client may be gone before the process ends.
            lifecycle.drain().cancelled().await;
        }
        let now = spent.borrow_and_update().clone();
        if store.keep_spent(now).await.is_err() || is_last {
            return;
        }
    }
}
