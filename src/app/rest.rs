//! The one client of CSPR.cloud's REST API in this process, with a budget that outlives it, and who uses it.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use crate::budget::{Purpose, Spent};
use crate::clock::Clock;
use crate::config::{Config, RouteConfig};
use crate::intake::Reroute;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::repair;
use crate::source::rest::{Account, Rest};
use crate::store::Store;

/// What all of it needs.
pub(super) struct Base<'a> {
    pub(super) store: &'a Store,
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) lifecycle: &'a Lifecycle,
}

/// The tasks that ask, and that note what there is to ask about.
pub(super) struct Asking {
    budget: Task,
    gaps: Task,
    repair: Task,
}

/// Starts them; what is given back takes the routes of a new configuration.
pub(super) fn start(
    config: &Config,
    intake: Reroute,
    base: &Base<'_>,
) -> anyhow::Result<(Asking, watch::Sender<Vec<RouteConfig>>)> {
    let Base { store, clock, metrics, lifecycle } = *base;
    let spent = store.spent().context("reading what was asked of CSPR.cloud's REST API")?;
    let account = Account { clock: clock.clone(), metrics: Arc::clone(&metrics.rest), spent };
    let rest = Rest::new(&config.source, account)?;
    let (sender, routes) = watch::channel(config.routes.clone());
    let (rest, spent) = (rest.at(Purpose::Repair), rest.spent());
    let setup = repair::Setup { rest, store: store.clone(), intake, clock: clock.clone(), routes };
    let asking = Asking {
        budget: lifecycle.spawn("budget", keep(spent, store.clone(), lifecycle.clone())),
        gaps: repair::start(store, clock, metrics, lifecycle)?,
        repair: repair::start_mending(setup, lifecycle),
    };
    Ok((asking, sender))
}

impl Asking {
    /// Waits for their end, after the drain.
    pub(super) async fn ended(self) {
        for mut task in [self.repair, self.gaps, self.budget] {
            task.ended().await;
        }
    }
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
