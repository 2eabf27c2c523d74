//! The log of published events, the cursors into it, and the account of what was sent.
//!
//! Events are numbered from 0. The log keeps the last `history` of them; an older one is dropped only when no connected
//! client still needs it, so [`Hub::publish`] waits for the slowest. A parked session does not make it wait: what
//! leaves the log before the session returns is lost to it and counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::handshake::{Refusal, Ticket};
use super::owned::Owned;
use super::settings::{Fault, Settings};
use super::told::Told;
use crate::clock::Clock;
use crate::event::Stream;

/// Events that a client takes in one go.
const BATCH_MAX: usize = 256;
/// Upgrade requests that are remembered.
const REQUESTS_MAX: usize = 1024;

/// A published message.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) stream: Stream,
    pub(crate) text: Utf8Bytes,
    was_sent: AtomicBool,
}

/// What happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) published: u64,
    /// Distinct events that were written to at least one connection. If a client breaks off while being written to,
    /// it may have missed the last of them.
    pub(crate) sent: BTreeMap<Stream, u64>,
    /// Events sent again to the same connection, on purpose.
    pub(crate) duplicates: BTreeMap<Stream, u64>,
    /// Events sent to a further connection, or again by a session whose connection broke.
    pub(crate) repeats: u64,
    /// Events that were kept from a connection, on purpose.
    pub(crate) lost: u64,
    /// Events that a session missed because the history was too short.
    pub(crate) overflowed: u64,
    /// Garbage, giant and invalid messages.
    pub(crate) nonsense: u64,
    pub(crate) pings: u64,
    /// Answers to the protocol's pings.
    pub(crate) pongs: u64,
    pub(crate) connected: usize,
    pub(crate) connections: u64,
    pub(crate) refused: u64,
    /// Close codes that clients sent or returned, 1005 for none.
    pub(crate) goodbyes: Vec<u16>,
}

impl Tally {
    pub(crate) fn sent_total(&self) -> u64 {
        self.sent.values().sum()
    }

    pub(crate) fn duplicates_total(&self) -> u64 {
        self.duplicates.values().sum()
    }
}

/// What a client asked for at the upgrade.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) address: String,
    /// Names in lower case.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) headers: BTreeMap<String, String>,
}

pub(super) struct Hub {
    pub(super) settings: Settings,
    state: Mutex<State>,
    /// Something that somebody may be waiting for has changed.
    changed: Notify,
    clock: Clock,
    /// Who owns what, after all that was published; only kept if there is a REST API to ask for it.
    pub(super) owned: Option<Owned>,
    /// Tokens and actions, likewise.
    pub(super) told: Option<Told>,
}

struct State {
    log: VecDeque<Arc<Event>>,
    readers: HashMap<u64, Reader>,
    readers_made: u64,
    random: fastrand::Rng,
    /// The next event of each session.
    sessions: HashMap<String, u64>,
    refusals: VecDeque<Refusal>,
    tally: Tally,
    asked: VecDeque<Asked>,
    sent: Vec<Arc<Event>>,
    record: Option<Box<dyn Write + Send>>,
}

struct Reader {
    /// `None` while stalled.
    next: Option<u64>,
    faults: VecDeque<Fault>,
    session: Option<String>,
}

/// What a connection is to do next.
pub(super) struct Work {
    pub(super) events: Vec<Arc<Event>>,
    pub(super) faults: Vec<Fault>,
}

impl Hub {
    /// `record` gets one line of JSON for each distinct event sent.
    pub(super) fn new(settings: Settings, record: Option<Box<dyn Write + Send>>) -> Arc<Self> {
        let state = State {
            log: VecDeque::new(),
            readers: HashMap::new(),
            readers_made: 0,
            random: fastrand::Rng::with_seed(settings.seed),
            sessions: HashMap::new(),
            refusals: VecDeque::new(),
            tally: Tally::default(),
            asked: VecDeque::new(),
            sent: Vec::new(),
            record,
        };
        let owned = settings.rest.map(|rest| Owned::new(rest.lag));
        let told = settings.rest.map(|rest| Told::new(rest.lag));
        let (state, changed, clock) = (Mutex::new(state), Notify::new(), Clock::default());
        Arc::new(Self { settings, state, changed, clock, owned, told })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `change` and wakes everybody who waits.
    pub(super) fn note(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.state().tally);
        self.changed.notify_waiters();
    }

    /// Tries `attempt` now and after each change until it gives something.
    async fn wait<T>(&self, mut attempt: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Armed before the look, so that no change slips between.
            changed.as_mut().enable();
            if let Some(found) = attempt(&mut self.state()) {
                return found;
            }
            changed.await;
        }
    }

    pub(super) async fn until(&self, is_met: impl Fn(&Tally) -> bool) -> Tally {
        self.wait(|state| is_met(&state.tally).then(|| state.tally.clone())).await
    }

    /// Adds an event to the log, once the slowest connected client leaves room for it.
    pub(super) async fn publish(&self, stream: Stream, text: Utf8Bytes) -> u64 {
        let history = self.settings.history;
        self.wait(|state| state.has_room(history).then_some(())).await;
        if let Some(owned) = &self.owned {
            owned.note(stream, &text);
        }
        if let Some(told) = &self.told {
            told.note(stream, &text);
        }
        let number = self.state().push(stream, text);
        self.changed.notify_waiters();
        number
    }

    pub(super) fn is_attended(&self) -> bool {
        !self.state().readers.is_empty()
    }

    /// Waits until a client is connected.
    pub(super) async fn attended(&self) {
        self.wait(|state| (!state.readers.is_empty()).then_some(())).await;
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    pub(super) fn sent(&self) -> Vec<Arc<Event>> {
        self.state().sent.clone()
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state().asked.iter().cloned().collect()
    }

    pub(super) fn remember(&self, asked: Asked) {
        let mut state = self.state();
        if state.asked.len() == REQUESTS_MAX {
            state.asked.pop_front();
        }
        state.asked.push_back(asked);
    }

    pub(super) fn refuse_next(&self, times: usize, refusal: &Refusal) {
        self.state().refusals.extend(std::iter::repeat_n(refusal.clone(), times));
    }

    /// A refusal that was asked for, or one by chance.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        let mut state = self.state();
        let by_chance = self.settings.refuse.as_ref();
        state.refusals.pop_front().or_else(|| {
            let (share, refusal) = by_chance?;
            (state.random.f64() < *share).then(|| refusal.clone())
        })
    }

    /// Lets `fault` happen on every connection.
    pub(super) fn inject(&self, fault: Fault) {
        for reader in self.state().readers.values_mut() {
            reader.faults.push_back(fault);
        }
        self.changed.notify_waiters();
    }

    /// Adds a client: from where its session stands, or from now on.
    pub(super) fn join(self: &Arc<Self>, ticket: &Ticket) -> Seat {
        let mut state = self.state();
        let session = ticket.session.clone();
        let parked = session.as_ref().and_then(|session| state.sessions.get(session).copied());
        let next = parked.unwrap_or(state.tally.published);
        let first = state.first();
        state.tally.overflowed += first.saturating_sub(next);
        let next = next.max(first);
        if let Some(session) = &session {
            state.sessions.insert(session.clone(), next);
        }
        let id = state.readers_made;
        state.readers_made += 1;
        state.readers.insert(id, Reader { next: Some(next), faults: VecDeque::new(), session });
        state.tally.connections += 1;
        state.tally.connected += 1;
        drop(state);
        self.changed.notify_waiters();
        Seat { id, hub: Arc::clone(self) }
    }

    /// Accounts for events that are now on their way to a client.
    pub(super) fn account(&self, events: &[Arc<Event>]) {
        let now = self.clock.now();
        let mut state = self.state();
        for event in events {
            if event.was_sent.swap(true, Ordering::Relaxed) {
                state.tally.repeats += 1;
                continue;
            }
            *state.tally.sent.entry(event.stream).or_default() += 1;
            if self.settings.keeps_sent {
                state.sent.push(Arc::clone(event));
            }
            state.record(event, now.0);
        }
        state.flush_record();
    }
}

impl State {
    /// The number of the oldest event in the log.
    fn first(&self) -> u64 {
        self.tally.published - self.log.len() as u64
    }

    /// Makes room for one event if that cheats no connected client.
    fn has_room(&mut self, history: usize) -> bool {
        if self.log.len() < history {
            return true;
        }
        let first = self.first();
        let is_needed = self.readers.values().any(|reader| reader.next == Some(first));
        if !is_needed {
            self.log.pop_front();
        }
        !is_needed
    }

    fn push(&mut self, stream: Stream, text: Utf8Bytes) -> u64 {
        let number = self.tally.published;
        self.log.push_back(Arc::new(Event { number, stream, text, was_sent: AtomicBool::new(false) }));
        self.tally.published += 1;
        number
    }

    fn work(&mut self, id: u64) -> Option<Work> {
        let first = self.first();
        let reader = self.readers.get_mut(&id)?;
        let faults: Vec<Fault> = reader.faults.drain(..).collect();
        let skipped = reader.next.map(|next| usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX));
        let events: Vec<_> = match skipped {
            Some(skipped) => self.log.iter().skip(skipped).take(BATCH_MAX).cloned().collect(),
            None => Vec::new(),
        };
        (!faults.is_empty() || !events.is_empty()).then_some(Work { events, faults })
    }

    fn record(&mut self, event: &Event, sent_at_ms: u64) {
        let Some(record) = &mut self.record else { return };
        let text = event.text.as_str();
        // A message made by hand need not be JSON.
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let message = if is_json { text.to_owned() } else { serde_json::Value::from(text).to_string() };
        let (n, stream) = (event.number, event.stream);
        let line = format!(r#"{{"n":{n},"stream":"{stream}","sent_at_ms":{sent_at_ms},"message":{message}}}"#);
        if let Err(error) = writeln!(record, "{line}") {
            tracing::error!(%error, "the emulator cannot write its record of what it sent, so it stops recording");
            self.record = None;
        }
    }

    fn flush_record(&mut self) {
        if let Some(Err(error)) = self.record.as_mut().map(Write::flush) {
            tracing::error!(%error, "the emulator cannot write its record of what it sent, so it stops recording");
            self.record = None;
        }
    }
}

/// A client's place in the hub; dropping it leaves, and a session stays where it was.
pub(super) struct Seat {
    id: u64,
    hub: Arc<Hub>,
}

impl Seat {
    /// How many clients came before.
    pub(super) fn number(&self) -> u64 {
        self.id
    }

    /// The next events and faults; the same events again until [`Self::advance`]. Cancel-safe.
    pub(super) async fn work(&self) -> Work {
        self.hub.wait(|state| state.work(self.id)).await
    }

    /// The client got everything before `next`.
    pub(super) fn advance(&self, next: u64) {
        self.set_next(Some(next));
    }

    /// Until [`Self::resume`] nothing is kept for this client.
    pub(super) fn stall(&self) {
        self.set_next(None);
    }

    pub(super) fn resume(&self) {
        let now = self.hub.state().tally.published;
        self.set_next(Some(now));
    }

    fn set_next(&self, next: Option<u64>) {
        let mut state = self.hub.state();
        let State { readers, sessions, .. } = &mut *state;
        let Some(reader) = readers.get_mut(&self.id) else { return };
        reader.next = next;
        if let (Some(session), Some(next)) = (&reader.session, next) {
            sessions.insert(session.clone(), next);
        }
        drop(state);
        self.hub.changed.notify_waiters();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.readers.remove(&self.id);
        state.tally.connected -= 1;
        drop(state);
        self.hub.changed.notify_waiters();
    }
}
