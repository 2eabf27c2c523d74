//! The one client of CSPR.cloud's REST API in this process, with a budget that outlives it.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use crate::budget::Spent;
use crate::clock::Clock;
use crate::config::SourceConfig;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::source::rest::{Account, Rest};
use crate::store::Store;

/// The client, and the task that keeps what it spends. Nothing is asked yet.
pub(super) fn start(
    source: &SourceConfig,
    store: &Store,
    clock: &Clock,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(Rest, Task)> {
    let spent = store.spent().context("reading what was asked of CSPR.cloud's REST API")?;
    let account = Account { clock: clock.clone(), metrics: Arc::clone(&metrics.rest), spent };
    let rest = Rest::new(source, account)?;
    let task = lifecycle.spawn("budget", keep(rest.spent(), store.clone(), lifecycle.clone()));
    Ok((rest, task))
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
