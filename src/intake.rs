//! From messages to accepted events: decode, identify, route, hand over.
//!
//! A thread of its own, since decoding is work. It takes what is waiting in the source's channel, so that the next
//! batch gathers while the store syncs the last one, and waits when the store has no place: the channel fills, and the
//! source reads no further. What no route wants is counted and forgotten; what cannot be decoded, or whose handling
//! panics, is kept raw in quarantine.
//!
//! Woken by a message; stopped when the source has closed the channel and it is empty, or by the abort; ends if the
//! store has stopped.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::SinkName;
use crate::event::{Network, Stream, decode};
use crate::metrics::Metrics;
use crate::route::{Matched, Router};
use crate::source::Message;
use crate::store::{Candidate, Kept, Quarantined, SinkId, Stopped, Store};

/// Messages handed to the store at once.
const EVENTS_MAX: usize = 1024;
const BYTES_MAX: usize = 2 * 1024 * 1024;

pub(crate) struct Intake {
    network: Network,
    routing: Arc<Switch>,
    store: Store,
    metrics: Arc<Metrics>,
}

/// Where events go: the routes, and the numbers of their sinks in the store.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) router: Router,
    pub(crate) sinks: HashMap<SinkName, SinkId>,
}

/// The routing of the moment. A new one holds from the next batch on.
#[derive(Debug)]
pub(crate) struct Switch(Mutex<Arc<Routing>>);

impl Switch {
    pub(crate) fn new(routing: Routing) -> Self {
        Self(Mutex::new(Arc::new(routing)))
    }

    pub(crate) fn set(&self, routing: Routing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(routing);
    }

    fn current(&self) -> Arc<Routing> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of a message.
enum Fate {
    Wanted(Box<Candidate>),
    Unmatched,
    Quarantined(Quarantined),
}

impl Intake {
    pub(crate) fn new(network: Network, routing: Arc<Switch>, store: Store, metrics: Arc<Metrics>) -> Self {
        Self { network, routing, store, metrics }
    }

    /// Serves the channel to its end.
    pub(crate) fn run(
        self,
        mut messages: mpsc::Receiver<Message>,
        runtime: &tokio::runtime::Handle,
        abort: &CancellationToken,
    ) {
        while let Some(first) = messages.blocking_recv() {
            let (events, unusable) = self.gather(first, &mut messages);
            let handed_over = runtime.block_on(async {
                tokio::select! {
                    handed_over = self.hand_over(events, unusable) => handed_over,
                    () = abort.cancelled() => Err(Stopped),
                }
            });
            if handed_over.is_err() {
                return;
            }
        }
    }

    fn gather(&self, first: Message, messages: &mut mpsc::Receiver<Message>) -> (Vec<Candidate>, Vec<Quarantined>) {
        let (mut events, mut unusable) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let routing = self.routing.current();
        let mut next = Some(first);
        while let Some(message) = next {
            bytes += message.bytes.len();
            match self.handle(message, &routing) {
                Fate::Wanted(candidate) => events.push(*candidate),
                Fate::Unmatched => self.metrics.intake.unmatched.increment(),
                Fate::Quarantined(message) => unusable.push(message),
            }
            let is_full = events.len() >= EVENTS_MAX || bytes >= BYTES_MAX;
            next = if is_full { None } else { messages.try_recv().ok() };
        }
        (events, unusable)
    }

    async fn hand_over(&self, events: Vec<Candidate>, unusable: Vec<Quarantined>) -> Result<(), Stopped> {
        for message in unusable {
            self.store.quarantine(message).await?;
        }
        if events.is_empty() { Ok(()) } else { self.store.accept(events).await }
    }

    fn handle(&self, message: Message, routing: &Routing) -> Fate {
        let Message { stream, bytes, unreadable, .. } = message;
        let fate = match unreadable {
            Some(reason) => Fate::Quarantined(quarantined(stream, &bytes, reason.into())),
            None => judge(self.network, routing, stream, &bytes),
        };
        if let Fate::Quarantined(Quarantined { reason, .. }) = &fate {
            tracing::warn!(%stream, reason, bytes = bytes.len(), "a message is unusable: it was put into quarantine");
        }
        fate
    }
}

/// Puts messages of the quarantine through intake once more.
#[derive(Clone, Debug)]
pub(crate) struct Reroute {
    pub(crate) network: Network,
    pub(crate) routing: Arc<Switch>,
}

impl Reroute {
    /// The event, if the message is one by now and some route wants it.
    pub(crate) fn candidate(&self, message: &Kept) -> Option<Candidate> {
        match judge(self.network, &self.routing.current(), message.stream, &message.body) {
            Fate::Wanted(candidate) => Some(Candidate { quarantine: Some(message.number), ..*candidate }),
            Fate::Unmatched | Fate::Quarantined(_) => None,
        }
    }
}

/// Never panics: a message that makes the code below panic is quarantined.
fn judge(network: Network, routing: &Routing, stream: Stream, bytes: &[u8]) -> Fate {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let decoded = decode(network, stream, bytes)?;
        let matched = routing.router.route(stream, &decoded.facts, bytes);
        Ok::<_, crate::event::Malformed>((decoded, matched))
    }));
    let unusable = |reason: String| Fate::Quarantined(quarantined(stream, bytes, reason));
    match decoded {
        Err(_panic) => unusable("handling it panicked: a fault of the relay".to_owned()),
        Ok(Err(malformed)) => unusable(malformed.reason),
        Ok(Ok((_, matched))) if matched.sinks.is_empty() => Fate::Unmatched,
        Ok(Ok((decoded, matched))) => Fate::Wanted(Box::new(Candidate {
            stream,
            identity: decoded.identity,
            facts: decoded.facts,
            // A copy of its own: the slice would keep the connection's whole read buffer alive.
            body: Bytes::copy_from_slice(bytes),
            targets: routing.targets(matched),
            quarantine: None,
        })),
    }
}

fn quarantined(stream: Stream, bytes: &[u8], reason: String) -> Quarantined {
    Quarantined { stream, reason, body: Bytes::copy_from_slice(bytes) }
}

impl Routing {
    fn targets(&self, matched: Matched) -> Vec<(SinkId, Arc<[Arc<str>]>)> {
        let known = matched.sinks.into_iter();
        known.filter_map(|found| Some((*self.sinks.get(&found.sink)?, found.routes.into()))).collect()
    }
}
