//! The loop of one sink: claim, send, settle.
//!
//! Woken by an attempt that ended, a page that was read, the bell of the store, a change of the setup, the time of a
//! due delivery, a probe or the end of a slow-down, an order of the operator. Stopped by the drain: it then claims
//! nothing more, waits for what is in flight (the abort bounds that) and records the rest. Ends early if the store has
//! stopped. In flight are at most `concurrency` attempts.

mod attempt;
mod attempts;
mod expiry;
mod show;
mod standing;
mod tally;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::queue::{Now, Queue, Work};
use super::retry::{Verdict, judge};
use super::{Order, Setup, Shown};
use crate::clock::Clock;
use crate::config::{SinkConfig, SinkName};
use crate::metrics::SinkMetrics;
use crate::notices::{Letter, Notices};
use crate::sink::{Failure, Sink};
use crate::store::{Attempt, Change, End, Page, Paused, PausedBy, SinkStore, Stopped};
use attempt::Ended;
use standing::Standing;
use tally::Tallies;

pub(super) use attempt::deliver;
pub(super) use attempts::Attempts;

/// Deliveries read at a time, beyond what is needed at once.
const PAGE: usize = 256;
/// Ended attempts taken before their changes are recorded.
const ENDS_MAX: usize = 64;
/// How often an idle sink moves its lower bound along, so that nothing old is kept for its sake.
const IDLE_LOOK: Duration = Duration::from_secs(10);

type Fetch = Pin<Box<dyn Future<Output = Result<Page, Stopped>> + Send>>;

pub(super) struct Group {
    pub(super) name: SinkName,
    pub(super) config: SinkConfig,
    pub(super) sink: Arc<dyn Sink>,
    /// What `config` and `sink` are to be from now on.
    pub(super) changes: watch::Receiver<Setup>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) gate: Gate,
    pub(super) store: Arc<SinkStore>,
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<SinkMetrics>,
    /// Why it is paused, for whoever asks.
    pub(super) shown: Shown,
    pub(super) notices: Notices,
    pub(super) attempts: Attempts,
    pub(super) state: State,
}

/// What the loop keeps beside the queue.
#[derive(Default)]
pub(super) struct State {
    /// The last attempt to be started was a replay: now it is the others' turn.
    was_replay: bool,
    standing: Standing,
    tallies: Tallies,
    fetch: Option<Fetch>,
    looked_at: Option<Instant>,
}

impl State {
    /// Of a sink that earlier runs may have paused.
    pub(super) fn new(paused: Option<&Paused>) -> Self {
        Self { standing: Standing::new(paused), ..Self::default() }
    }
}

impl Group {
    pub(super) async fn run(mut self, drain: CancellationToken) {
        // The reason why a store has stopped is reported where it happened.
        let _stopped = self.serve(&drain).await;
    }

    async fn serve(&mut self, drain: &CancellationToken) -> Result<(), Stopped> {
        loop {
            let is_draining = drain.is_cancelled();
            self.tell_sums(Some(Instant::now()));
            if is_draining && self.attempts.is_empty() {
                self.tell_sums(None);
                return self.record().await;
            }
            if !is_draining {
                self.expire().await?;
            }
            // Before others are started, so that what may be repeated after a crash is bounded.
            self.record().await?;
            if !is_draining {
                self.start_attempts()?;
                self.start_fetch();
            }
            self.record().await?;
            self.show();
            let wakes_at = self.wakes_at();
            tokio::select! {
                ended = self.attempts.next() => self.ended(ended?),
                page = fetched(&mut self.state.fetch) => self.fetched(page?),
                () = self.store.rung(), if !is_draining => {}
                () = changed(&mut self.changes), if !is_draining => self.change_setup(),
                order = ordered(&mut self.orders), if !is_draining => self.obey(order).await?,
                () = tokio::time::sleep_until(wakes_at), if !is_draining => {}
                () = drain.cancelled(), if !is_draining => {}
            }
        }
    }

    /// A destination that was gone is corrected by that; a pause by an operator stays.
    fn change_setup(&mut self) {
        let Setup { config, sink } = self.changes.borrow_and_update().clone();
        (self.config, self.sink) = (config, sink);
        self.gate.renew(self.config.rate_limit, Instant::now());
        if self.gate.paused().is_some_and(|paused| paused.by == PausedBy::Destination) {
            self.set_paused(None);
        }
    }

    /// Does as the operator says; the answer is given when it is durable.
    async fn obey(&mut self, order: Order) -> Result<(), Stopped> {
        let Order { paused, done } = order;
        self.state.standing.is_pause_untold = false;
        let before = self.set_paused(paused);
        self.store.record_durably(self.queue.take_changes()).await?;
        // Whoever no longer waits has given up on the answer, not on the order.
        let _unwanted = done.send(before);
        Ok(())
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), wall: self.clock.now() }
    }

    fn start_attempts(&mut self) -> Result<(), Stopped> {
        let now = self.now();
        self.queue.add_replays(self.store.take_replays());
        while self.queue.in_flight_count() < self.config.concurrency {
            if !self.has_work(now) || !self.gate.admit(now.instant) {
                break;
            }
            let Some(work) = self.next_work(now) else {
                self.gate.cancel(now.instant);
                break;
            };
            self.gate.started(now.instant);
            self.attempts.start(Arc::clone(&self.sink), work)?;
        }
        self.store.tell_waiting(self.queue.waiting_count());
        Ok(())
    }

    fn has_work(&self, now: Now) -> bool {
        self.queue.has_next(now) || (self.queue.has_replay() && self.may_replay())
    }

    /// Replays take turns with what is new and due, and at most half of the places, so that what comes meanwhile finds
    /// one free.
    fn next_work(&mut self, now: Now) -> Option<Work> {
        let replay = |queue: &mut Queue, may: bool| if may { queue.next_replay(now) } else { None };
        let may_replay = self.may_replay();
        let work = if self.state.was_replay {
            self.queue.next(now).or_else(|| replay(&mut self.queue, may_replay))
        } else {
            replay(&mut self.queue, may_replay).or_else(|| self.queue.next(now))
        };
        self.state.was_replay = work.as_ref().is_some_and(|work| work.is_replay);
        work
    }

    fn may_replay(&self) -> bool {
        self.queue.replays_in_flight() < (self.config.concurrency / 2).max(1)
    }

    /// Reads ahead while attempts are under way.
    fn start_fetch(&mut self) {
        let now = self.now();
        let wanted = if self.gate.is_open(now.instant) { self.config.concurrency * 2 } else { 0 };
        let is_idle = self.state.looked_at.is_none_or(|at| at + IDLE_LOOK <= now.instant);
        let is_wanted = self.queue.appetite(wanted) > 0 && self.store.has_fresh(self.queue.cursor());
        if self.state.fetch.is_none() && (is_wanted || (is_idle && self.queue.is_empty())) {
            self.state.looked_at = Some(now.instant);
            let (store, cursor) = (Arc::clone(&self.store), self.queue.cursor());
            self.state.fetch = Some(Box::pin(async move { store.fresh(cursor, PAGE.max(wanted)).await }));
        }
    }

    fn fetched(&mut self, page: Page) {
        self.queue.add_fresh(page.claimed, page.scanned_to);
    }

    /// Takes an ended attempt, and what else has ended meanwhile.
    fn ended(&mut self, first: Ended) {
        let now = self.now();
        self.settle(first, now);
        for _ in 1..ENDS_MAX {
            let Some(ended) = self.attempts.try_next() else { return };
            self.settle(ended, now);
        }
    }

    fn settle(&mut self, ended: Ended, now: Now) {
        self.count(&ended, now);
        let Ended { seq, number, outcome, is_operational, .. } = ended;
        self.note(seq, is_operational, outcome.failure(), now);
        if let Some(failure) = outcome.failure() {
            self.record_failure(seq, number, failure, now);
        }
        match judge(&self.config.retry, number, outcome, fastrand::f64()) {
            Verdict::Delivered { status } => self.queue.settle(seq, true, End::Delivered { status }, now),
            Verdict::Again { delay, .. } => self.queue.wait(seq, true, delay, now),
            Verdict::Slow { pause, .. } => {
                self.gate.slow_down(now.instant, pause);
                self.queue.wait(seq, false, pause, now);
            }
            Verdict::Pause { failure } => {
                self.queue.wait(seq, false, Duration::ZERO, now);
                self.pause_as_gone(failure, is_operational, now);
            }
            Verdict::GiveUp { failure } => {
                self.tell_dead_letter(seq, number, &failure, now.instant);
                if !is_operational {
                    let letter = Letter { sequence: seq, cause: failure.cause.as_str(), reason: &failure.detail };
                    self.notices.dead_letter(&self.name, letter);
                }
                let end = End::Dead { cause: failure.cause.as_str(), reason: failure.detail };
                self.queue.settle(seq, true, end, now);
            }
        }
    }

    fn record_failure(&mut self, seq: u64, number: u32, failure: &Failure, now: Now) {
        tracing::debug!(
            sink = %self.name,
            sequence = seq,
            attempt = number,
            cause = failure.cause.as_str(),
            detail = failure.detail,
            "an attempt failed"
        );
        self.queue.record(Change::Attempt(Attempt {
            seq,
            at: now.wall,
            cause: failure.cause.as_str(),
            status: failure.status,
            detail: failure.detail.clone(),
        }));
    }

    async fn record(&mut self) -> Result<(), Stopped> {
        let changes = self.queue.take_changes();
        if changes.is_empty() { Ok(()) } else { self.store.record(changes).await }
    }

    fn wakes_at(&self) -> Instant {
        let now = Instant::now();
        let idle = self.state.looked_at.map_or(now, |at| at + IDLE_LOOK).max(now + Duration::from_millis(100));
        let idle = self.state.tallies.due_at().map_or(idle, |at| at.min(idle));
        let is_full = self.queue.in_flight_count() >= self.config.concurrency;
        // Then an attempt that ends is what to wait for; what is due would only wake it again and again.
        if is_full || self.gate.waits_for_somebody() {
            return idle;
        }
        // What is due cannot go before the slow-down is over, or the breaker or the limit lets one through.
        let gate = self.gate.opens_at(now);
        let due = self.queue.wakes_at().map(|at| gate.map_or(at, |gate| at.max(gate)));
        let has_more = self.has_work(self.now()) || self.store.has_fresh(self.queue.cursor());
        due.into_iter().chain(gate.filter(|_| has_more)).fold(idle, Instant::min)
    }
}

/// A new setup. Cancel-safe; never again once nobody can send one.
async fn changed(changes: &mut watch::Receiver<Setup>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The next order. Cancel-safe; never again once nobody can give one.
async fn ordered(orders: &mut mpsc::Receiver<Order>) -> Order {
    match orders.recv().await {
        Some(order) => order,
        None => std::future::pending().await,
    }
}

/// The page being read; never, if there is none. Cancel-safe: the reading goes on at the next call.
async fn fetched(fetch: &mut Option<Fetch>) -> Result<Page, Stopped> {
    match fetch {
        Some(reading) => {
            let page = reading.await;
            *fetch = None;
            page
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
