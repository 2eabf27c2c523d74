//! The books of a receiver: what came, how it was answered, and what to answer next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::request::{Arrived, Received, Signature};
use super::{Answer, Behaviour, Settings};
use crate::clock::{Clock, Timestamp};

/// Requests with an id beyond so many stand in the totals and in [`Tally::forgotten`] only.
const IDS_MAX: usize = 4_000_000;

/// What a receiver remembers beside its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Nothing, for measurements: only totals are counted.
    Counts,
    /// The ids, at most four million.
    Ids,
    /// The ids, and the last `max` requests with their bodies.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    Requests { max: usize },
}

/// Is told of each request just before it is answered; if it fails, the answer is 500. It is called by one request
/// at a time, and may block for as long as writing a line takes.
pub(crate) type Observer = Box<dyn FnMut(&Received) -> io::Result<()> + Send>;

/// What was counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Requests that were read whole.
    pub(crate) received: Count,
    /// Those that were answered 2xx.
    pub(crate) delivered: Count,
    pub(crate) bad_signatures: u64,
    /// Had no signature.
    pub(crate) unsigned: u64,
    /// No POST, or a body that is too long or broke off. Counted here and nowhere else.
    pub(crate) unusable: u64,
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// Settled without an answer: on purpose, or because the client went away first.
    pub(crate) unanswered: u64,
    /// Requests that are no longer kept, or whose ids never were.
    pub(crate) forgotten: u64,
}

/// Requests by their ids. Those without an id stand in the total only; so do all with [`Keeps::Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) total: u64,
    pub(crate) distinct: u64,
    pub(crate) repeated: u64,
}

/// What a request is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) answer: Answer,
    pub(super) delay: Duration,
}

pub(super) struct Ledger {
    pub(super) settings: Settings,
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
}

struct State {
    behaviour: Behaviour,
    /// Authentic requests since the behaviour was set.
    requests: u64,
    random: fastrand::Rng,
    ids: HashMap<Box<str>, Seen>,
    kept: VecDeque<Received>,
    observer: Option<Observer>,
    tally: Tally,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    received: u32,
    delivered: u32,
    /// Those that were authentic.
    attempts: u32,
}

impl Ledger {
    pub(super) fn new(settings: Settings, observer: Option<Observer>) -> Self {
        let state = State {
            behaviour: settings.behaviour,
            requests: 0,
            random: fastrand::Rng::with_seed(settings.seed),
            ids: HashMap::new(),
            kept: VecDeque::new(),
            observer,
            tally: Tally::default(),
        };
        Self { settings, state: Mutex::new(state), changed: Notify::new(), clock: Clock::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn set_behaviour(&self, behaviour: Behaviour) {
        let mut state = self.state();
        state.behaviour = behaviour;
        state.requests = 0;
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.state().kept.iter().cloned().collect()
    }

    pub(super) async fn until(&self, is_met: impl Fn(&Tally) -> bool) -> Tally {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Armed before the look, so that no change slips between.
            changed.as_mut().enable();
            let found = Some(&self.state().tally).filter(|tally| is_met(tally)).cloned();
            match found {
                Some(tally) => return tally,
                None => changed.await,
            }
        }
    }

    pub(super) fn count_unusable(&self) {
        self.state().tally.unusable += 1;
        self.changed.notify_waiters();
    }

    /// Counts a request as received and says how to answer it.
    pub(super) fn admit(&self, request: &Arrived) -> Plan {
        let mut state = self.state();
        match request.signature {
            Signature::Bad => state.tally.bad_signatures += 1,
            Signature::Unsigned => state.tally.unsigned += 1,
            Signature::Good | Signature::Unchecked => {}
        }
        let attempt = state.count_received(request, self.settings.keeps);
        let plan = state.plan(request.is_welcome, attempt);
        drop(state);
        self.changed.notify_waiters();
        plan
    }

    /// Counts and records how a request ends; false if it could not be recorded, and is counted as answered 500.
    fn settle(&self, request: &Arrived, status: Option<u16>) -> bool {
        let mut state = self.state();
        let outcome = state.record(request, status, self.settings.keeps);
        let status = if outcome.is_ok() { status } else { status.map(|_| 500) };
        state.count_settled(request, status);
        drop(state);
        self.changed.notify_waiters();
        if let Err(error) = &outcome {
            tracing::error!(%error, "the receiver cannot record a request, so it refuses it");
        }
        outcome.is_ok()
    }
}

impl State {
    /// Which attempt of its id this is, counting the authentic ones.
    fn count_received(&mut self, request: &Arrived, keeps: Keeps) -> u32 {
        self.tally.received.total += 1;
        let Some(id) = request.id().filter(|_| keeps != Keeps::Counts) else { return 1 };
        if !self.ids.contains_key(id) && self.ids.len() >= IDS_MAX {
            self.tally.forgotten += 1;
            return 1;
        }
        let seen = match self.ids.get_mut(id) {
            Some(seen) => seen,
            None => self.ids.entry(id.into()).or_default(),
        };
        self.tally.received.note(&mut seen.received);
        seen.attempts = seen.attempts.saturating_add(request.is_welcome.into());
        seen.attempts
    }

    fn plan(&mut self, is_welcome: bool, attempt: u32) -> Plan {
        let Behaviour { answer, when, delay } = self.behaviour;
        if !is_welcome {
            return Plan { answer: Answer::UNAUTHENTIC, delay };
        }
        self.requests += 1;
        let is_picked = when.picks(self.requests, attempt, &mut self.random);
        Plan { answer: if is_picked { answer } else { Answer::OK }, delay }
    }

    fn record(&mut self, request: &Arrived, status: Option<u16>, keeps: Keeps) -> io::Result<()> {
        let max = match keeps {
            Keeps::Requests { max } => max,
            Keeps::Counts | Keeps::Ids => 0,
        };
        if max == 0 && self.observer.is_none() {
            return Ok(());
        }
        let received = request.received(status);
        if let Some(observer) = &mut self.observer {
            observer(&received)?;
        }
        if max > 0 {
            self.keep(received, max);
        }
        Ok(())
    }

    fn keep(&mut self, received: Received, max: usize) {
        if self.kept.len() >= max {
            self.kept.pop_front();
            self.tally.forgotten += 1;
        }
        self.kept.push_back(received);
    }

    fn count_settled(&mut self, request: &Arrived, status: Option<u16>) {
        let Some(status) = status else {
            self.tally.unanswered += 1;
            return;
        };
        *self.tally.by_status.entry(status).or_default() += 1;
        if !(200..300).contains(&status) {
            return;
        }
        let delivered = &mut self.tally.delivered;
        delivered.total += 1;
        if let Some(seen) = request.id().and_then(|id| self.ids.get_mut(id)) {
            delivered.note(&mut seen.delivered);
        }
    }
}

impl Count {
    /// One more of an id that came `times` before; the total is the caller's.
    fn note(&mut self, times: &mut u32) {
        match *times {
            0 => self.distinct += 1,
            _ => self.repeated += 1,
        }
        *times = times.saturating_add(1);
    }
}

/// A request that is yet to be settled. Dropped before (the client went away), it counts as unanswered.
pub(super) struct Open<'a> {
    ledger: &'a Ledger,
    request: Option<Arrived>,
}

impl<'a> Open<'a> {
    pub(super) fn new(ledger: &'a Ledger, request: Arrived) -> Self {
        Self { ledger, request: Some(request) }
    }

    /// See [`Ledger::settle`].
    pub(super) fn settle(mut self, status: Option<u16>) -> bool {
        self.request.take().is_none_or(|request| self.ledger.settle(&request, status))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.ledger.settle(&request, None);
        }
    }
}
