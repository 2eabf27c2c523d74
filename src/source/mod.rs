//! The connections to CSPR.cloud's streaming API: one task per [`Subscription`], reconnecting for ever.
//!
//! What it promises: every text or binary message that looks like a JSON object is handed over once, in the order of
//! its connection, byte for byte; keep-alives and other texts are counted and skipped; a dead link is noticed within
//! `silence_timeout`; a server that refuses is never stormed. What it cannot promise: what was sent while no
//! connection was up, or lay unread in the socket at a crash, is gone unless a persistent session brings it again.
//!
//! It does not decode, deduplicate or store; it knows no route and no sink.

mod connection;
mod frame;
mod link;
mod request;
mod retry;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{SourceConfig, Subscription};
use crate::event::Stream;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;

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

/// Starts one connection task per subscription; each ends after the drain.
///
/// Everything that can be wrong in the configuration (address, key, session name, certificates) is found before the
/// first task starts. A full channel slows the source down; see [`connection`] for what that means to the server.
pub(crate) fn connect_all(
    lifecycle: &Lifecycle,
    config: SourceConfig,
    subscriptions: Vec<Subscription>,
    messages: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Vec<Task>> {
    let common = link::Common::build(config, retry::Pace::default(), messages, metrics)?;
    connect(lifecycle, &Arc::new(common), subscriptions)
}

fn connect(
    lifecycle: &Lifecycle,
    common: &Arc<link::Common>,
    subscriptions: Vec<Subscription>,
) -> anyhow::Result<Vec<Task>> {
    let build = |subscription| link::Link::build(Arc::clone(common), subscription);
    let links = subscriptions.into_iter().map(build).collect::<anyhow::Result<Vec<_>>>()?;
    let spawn = |link: link::Link| lifecycle.spawn("source", link.run(lifecycle.drain().clone()));
    Ok(links.into_iter().map(spawn).collect())
}
