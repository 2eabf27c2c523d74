//! From messages to accepted events: decode, identify, route, hand over.
//!
//! A thread of its own, since decoding is work. It takes what is waiting in the source's channel, so that the next
//! batch gathers while the store syncs the last one, and waits when the store has no place: the channel fills, and the
//! source reads no further. What no route wants is counted and forgotten; what cannot be decoded, or whose handling
//! panics, is kept raw in quarantine. An action on a token of a watched package leaves marks of both its sides, whether
//! a route wants it or not.
//!
//! Woken by a message; stopped when the source has closed the channel and it is empty, or by the abort; ends if the
//! store has stopped.

mod marks;

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
use crate::store::{Candidate, Kept, Mark, Quarantined, Repaired, SinkId, Stopped, Store};
use marks::Marks;

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
    /// No route wants it, but its marks.
    Marked,
    Quarantined(Quarantined),
}

/// What a batch of messages has become.
#[derive(Default)]
struct Batch {
    events: Vec<Candidate>,
    marks: Marks,
    unusable: Vec<Quarantined>,
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
            let batch = self.gather(first, &mut messages);
            let handed_over = runtime.block_on(async {
                tokio::select! {
                    handed_over = self.hand_over(batch) => handed_over,
                    () = abort.cancelled() => Err(Stopped),
                }
            });
            if handed_over.is_err() {
                return;
            }
        }
    }

    fn gather(&self, first: Message, messages: &mut mpsc::Receiver<Message>) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let routing = self.routing.current();
        let mut next = Some(first);
        while let Some(message) = next {
            bytes += message.bytes.len();
            match self.handle(message, &routing, &mut batch.marks) {
                Fate::Wanted(candidate) => batch.events.push(*candidate),
                Fate::Unmatched => self.metrics.intake.unmatched.increment(),
                Fate::Marked => {}
                Fate::Quarantined(message) => batch.unusable.push(message),
            }
            let is_full = batch.events.len() + batch.marks.len() >= EVENTS_MAX || bytes >= BYTES_MAX;
            next = if is_full { None } else { messages.try_recv().ok() };
        }
        batch
    }

    async fn hand_over(&self, batch: Batch) -> Result<(), Stopped> {
        let Batch { events, marks, unusable } = batch;
        for message in unusable {
            self.store.quarantine(message).await?;
        }
        let marks: Vec<Mark> = marks.into_marks();
        if events.is_empty() && marks.is_empty() { Ok(()) } else { self.store.accept_marking(events, marks).await }
    }

    fn handle(&self, message: Message, routing: &Routing, marks: &mut Marks) -> Fate {
        let Message { stream, bytes, unreadable, .. } = message;
        let fate = match unreadable {
            Some(reason) => Fate::Quarantined(quarantined(stream, &bytes, reason.into())),
            None => judge(self.network, routing, stream, &bytes, marks),
        };
        if let Fate::Quarantined(Quarantined { reason, .. }) = &fate {
            tracing::warn!(%stream, reason, bytes = bytes.len(), "a message is unusable: it was put into quarantine");
        }
        fate
    }
}

/// Puts messages through intake that come from within: those of the quarantine, and those about ownership.
#[derive(Clone, Debug)]
pub(crate) struct Reroute {
    pub(crate) network: Network,
    pub(crate) routing: Arc<Switch>,
}

impl Reroute {
    /// The event, if the message is one by now and some route wants it.
    pub(crate) fn candidate(&self, message: &Kept) -> Option<Candidate> {
        let candidate = self.wanted(message.stream, &message.body)?;
        Some(Candidate { quarantine: Some(message.number), ..candidate })
    }

    /// The event that a message is, if some route wants it.
    pub(crate) fn wanted(&self, stream: Stream, body: &[u8]) -> Option<Candidate> {
        match judge(self.network, &self.routing.current(), stream, body, &mut Marks::default()) {
            Fate::Wanted(candidate) => Some(*candidate),
            Fate::Unmatched | Fate::Marked | Fate::Quarantined(_) => None,
        }
    }

    /// The event, if some route wants what REST has told.
    pub(crate) fn repaired(&self, stream: Stream, body: &[u8], repaired: Repaired) -> Option<Candidate> {
        let candidate = self.wanted(stream, body)?;
        Some(Candidate { repaired: Some(Arc::new(repaired)), ..candidate })
    }

    /// The event for one sink, whatever the routes say; they only say which of them would have sent it there.
    pub(crate) fn for_sink(&self, stream: Stream, body: Bytes, sink: SinkId, repaired: Repaired) -> Option<Candidate> {
        let routing = self.routing.current();
        let decoded = decode(self.network, stream, &body).ok()?;
        let matched = routing.targets(routing.router.route(stream, &decoded.facts, &body));
        let own = matched.into_iter().find(|(target, _)| *target == sink);
        Some(Candidate {
            stream,
            identity: decoded.identity,
            facts: decoded.facts,
            body,
            targets: vec![own.unwrap_or((sink, Arc::new([])))],
            quarantine: None,
            repaired: Some(Arc::new(repaired)),
        })
    }
}

/// Never panics: a message that makes the code below panic is quarantined.
fn judge(network: Network, routing: &Routing, stream: Stream, bytes: &[u8], marks: &mut Marks) -> Fate {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let decoded = decode(network, stream, bytes)?;
        let matched = routing.router.route(stream, &decoded.facts, bytes);
        Ok::<_, crate::event::Malformed>((decoded, matched))
    }));
    let unusable = |reason: String| Fate::Quarantined(quarantined(stream, bytes, reason));
    match decoded {
        Err(_panic) => unusable("handling it panicked: a fault of the relay".to_owned()),
        Ok(Err(malformed)) => unusable(malformed.reason),
        Ok(Ok((decoded, matched))) => {
            let is_marking = marks.take(stream, &decoded, &routing.router);
            if matched.sinks.is_empty() {
                return if is_marking { Fate::Marked } else { Fate::Unmatched };
            }
            Fate::Wanted(Box::new(Candidate {
                stream,
                identity: decoded.identity,
                facts: decoded.facts,
                // A copy of its own: the slice would keep the connection's whole read buffer alive.
                body: Bytes::copy_from_slice(bytes),
                targets: routing.targets(matched),
                quarantine: None,
                repaired: None,
            }))
        }
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
