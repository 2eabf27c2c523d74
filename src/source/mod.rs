//! The connections to CSPR.cloud's streaming API: one task per [`Subscription`], reconnecting for ever.
//!
//! What it promises: every text or binary message that looks like a JSON object is handed over once, in the order of
//! its connection, byte for byte; keep-alives and other texts are counted and skipped; a dead link is noticed within
//! `silence_timeout`; a server that refuses is never stormed. What it cannot promise: what was sent while no
//! connection was up, or lay unread in the socket at a crash, is gone unless a persistent session brings it again.
//!
//! What only CSPR.cloud's REST API tells is asked for in [`rest`], with a client that shares nothing with the connections.
//!
//! It does not decode, deduplicate or store; it knows no route and no sink.

mod connection;
mod frame;
mod link;
mod request;
pub(crate) mod rest;
mod retry;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::config::{SourceConfig, Subscription};
use crate::event::Stream;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::notices::Notices;

/// One message that looks like an event, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) stream: Stream,
    /// A slice of the connection's read buffer: whoever keeps it for long should copy it, since it keeps up to 128 KiB
    /// of neighbours in memory.
    pub(crate) bytes: Bytes,
    /// Why the message could not be read (it is larger than the limits); `bytes` is empty then. The connection ended
    /// with it. A note for the quarantine, so that the loss does not pass unseen.
    pub(crate) unreadable: Option<Box<str>>,
}

/// The connections of a running relay.
pub(crate) struct Source {
    common: Arc<link::Common>,
    connections: Vec<Connected>,
}

struct Connected {
    subscription: Subscription,
    is_up: watch::Receiver<bool>,
    lifecycle: Lifecycle,
    task: Task,
}

impl Source {
    /// Starts one connection task per subscription; each ends after the drain.
    ///
    /// Everything that can be wrong in the configuration (address, key, session name, certificates) is found before the
    /// first task starts. A full channel slows the source down; see [`connection`] for what that means to the server.
    pub(crate) fn connect(
        lifecycle: &Lifecycle,
        config: SourceConfig,
        subscriptions: Vec<Subscription>,
        messages: mpsc::Sender<Message>,
        (metrics, notices): (Arc<Metrics>, Notices),
    ) -> anyhow::Result<Self> {
        let common = link::Common::build(config, retry::Pace::default(), messages, metrics, notices)?;
        Self::connect_with(common, lifecycle, subscriptions)
    }

    fn connect_with(
        common: link::Common,
        lifecycle: &Lifecycle,
        subscriptions: Vec<Subscription>,
    ) -> anyhow::Result<Self> {
        let mut source = Self { common: Arc::new(common), connections: Vec::new() };
        source.add(lifecycle, subscriptions)?;
        Ok(source)
    }

    /// Changes whenever a connection that brings token actions has come up.
    pub(crate) fn action_connects(&self) -> watch::Receiver<u64> {
        self.common.action_connects()
    }

    /// Connects what is new among `subscriptions`, beside what is connected already, and waits until it is up, for at
    /// most `patience`: then it goes on trying by itself.
    pub(crate) async fn widen(
        &mut self,
        lifecycle: &Lifecycle,
        subscriptions: &[Subscription],
        patience: Duration,
    ) -> anyhow::Result<usize> {
        let has = |wanted: &&Subscription| self.connections.iter().any(|known| known.subscription == **wanted);
        let new: Vec<Subscription> = subscriptions.iter().filter(|wanted| !has(wanted)).cloned().collect();
        let (first, opened) = (self.connections.len(), new.len());
        self.add(lifecycle, new)?;
        let all_up = async {
            for connected in self.connections.iter_mut().skip(first) {
                // The sender goes when the task ends, which is when the relay does.
                let _up = connected.is_up.wait_for(|is_up| *is_up).await;
            }
        };
        if tokio::time::timeout(patience, all_up).await.is_err() {
            tracing::warn!("new connections to the source are not up yet: the new routes wait for them");
        }
        Ok(opened)
    }

    /// Ends the connections that are not among `subscriptions`; what the server has sent on them is still handed over.
    pub(crate) async fn narrow(&mut self, subscriptions: &[Subscription]) -> usize {
        let (kept, mut ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.connections)
            .into_iter()
            .partition(|known| subscriptions.contains(&known.subscription));
        self.connections = kept;
        ended.iter().for_each(|connected| connected.lifecycle.drain().cancel());
        for connected in &mut ended {
            connected.task.ended().await;
        }
        ended.len()
    }

    /// Waits for the end of all connections, after the drain.
    pub(crate) async fn ended(self) {
        for mut connected in self.connections {
            connected.task.ended().await;
        }
    }

    fn add(&mut self, lifecycle: &Lifecycle, subscriptions: Vec<Subscription>) -> anyhow::Result<()> {
        let build = |subscription| link::Link::build(Arc::clone(&self.common), subscription);
        let links = subscriptions.iter().cloned().map(build).collect::<anyhow::Result<Vec<_>>>()?;
        for (subscription, link) in subscriptions.into_iter().zip(links) {
            let lifecycle = lifecycle.child();
            let is_up = link.is_up();
            let task = lifecycle.spawn("source", link.run(lifecycle.drain().clone()));
            self.connections.push(Connected { subscription, is_up, lifecycle, task });
        }
        Ok(())
    }
}
