//! The stream `nft-token-ownership`: who owns how many tokens of a watched package, told when it changes.
//!
//! CSPR.cloud answers the question and streams no changes of the answer, so the relay asks. It does not count by itself:
//! an action of `nft-token-actions` only marks both its sides as *due* (`intake`, in the transaction that accepts the
//! action), and what is told is what CSPR.cloud says. So what was missed heals itself at the next look.
//!
//! # What it promises
//! - Each observed change is told once: holding, event and due change in one transaction, and only this task observes.
//! - Nothing is told of a package before its first walk, and of that walk only with `emit_baseline`.
//! - Nobody is told to have nothing left because a walk did not meet him.
//! - A REST API that is down, slow or refuses delays this stream alone: dues are kept, and asked for when it is back.
//!
//! # What it does not
//! Between two looks a number may change and change back: that is not seen, and not told.
//!
//! # Borders
//! [`compare`](self::compare), [`schedule`](self::schedule) and [`walk`](self::walk) decide and know neither REST nor
//! store; [`Worker`](self::worker::Worker) asks, writes and sleeps.

mod compare;
mod message;
mod schedule;
mod walk;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::OwnershipConfig;
use crate::intake::Reroute;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::source::rest::Rest;
use crate::store::Store;
use worker::Worker;

/// What is watched, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watching {
    pub(crate) config: OwnershipConfig,
    pub(crate) packages: BTreeSet<Arc<str>>,
}

/// What the task works with.
pub(crate) struct Setup {
    pub(crate) rest: Rest,
    pub(crate) store: Store,
    pub(crate) intake: Reroute,
    /// Changes whenever a connection that brings actions has come up: some may have been missed before.
    pub(crate) reconnects: watch::Receiver<u64>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

/// The task that asks. It runs whether anything is watched or not, since a reload may begin to.
pub(crate) struct Ownership {
    watching: watch::Sender<Watching>,
    task: Task,
}

impl Ownership {
    /// Begins to ask for what earlier runs left, and for what is marked from now on.
    pub(crate) fn start(setup: Setup, watching: Watching, lifecycle: &Lifecycle) -> Self {
        let (watching, changes) = watch::channel(watching);
        let worker = Worker::new(setup, changes);
        let drain = lifecycle.drain().clone();
        let task = lifecycle.spawn("ownership", async move {
            worker.run(&drain).await;
            // It may end only then; a store that has stopped has said so.
            drain.cancelled().await;
        });
        Self { watching, task }
    }

    /// Takes up other packages or settings.
    pub(crate) fn watch(&self, watching: Watching) {
        self.watching.send_if_modified(|now| {
            let is_new = *now != watching;
            *now = watching;
            is_new
        });
    }

    /// Waits for its end, after the drain.
    pub(crate) async fn ended(mut self) {
        self.task.ended().await;
    }
}
