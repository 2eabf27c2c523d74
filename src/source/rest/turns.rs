//! Waiting for one's turn: the budget, shared by everybody who asks.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::RestError;
use crate::budget::{Budget, Purpose, Spent, Ticket, Turn};
use crate::clock::Clock;
use crate::config::RestConfig;
use crate::metrics::RestMetrics;

/// What a process knows of the requests made so far, and where it counts them.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<RestMetrics>,
    /// What earlier runs have left; nothing if they left none.
    pub(crate) spent: Spent,
}

#[derive(Debug)]
pub(super) struct Turns {
    clock: Clock,
    metrics: Arc<RestMetrics>,
    budget: Mutex<Budget>,
    /// Somebody has left the queue.
    moved: Notify,
    spent: watch::Sender<Spent>,
}

impl Turns {
    pub(super) fn new(config: &RestConfig, account: Account) -> Self {
        let Account { clock, metrics, spent } = account;
        let now = Instant::now();
        let mut budget = Budget::new(config.requests_per_minute, config.requests_per_day, now);
        budget.resume(&spent, clock.now(), now);
        metrics.per_day.set(config.requests_per_day);
        metrics.day.set(budget.day());
        let spent = watch::Sender::new(spent);
        Self { clock, metrics, budget: Mutex::new(budget), moved: Notify::new(), spent }
    }

    /// What is to be kept for the next run, as it changes.
    pub(super) fn spent(&self) -> watch::Receiver<Spent> {
        self.spent.subscribe()
    }

    /// Waits until one request may be made for `purpose`, which may take a day. Cancelled while waiting, it takes
    /// none.
    pub(super) async fn turn(&self, purpose: Purpose) {
        let place = Place { turns: self, ticket: self.budget().join(purpose), purpose };
        loop {
            let mut moved = pin!(self.moved.notified());
            // Before the look, so that nobody leaves unseen in between.
            moved.as_mut().enable();
            match self.judge(place.ticket, purpose) {
                Turn::Now => break,
                Turn::Behind => moved.await,
                Turn::At(until) => tokio::select! {
                    () = moved => {}
                    () = sleep_until(until) => {}
                },
            }
        }
        self.metrics.note_request(purpose);
    }

    /// The server wants fewer requests: nobody asks for as long as this.
    pub(super) fn hold(&self, wait: Duration) {
        self.metrics.throttled.increment();
        self.budget().hold(Instant::now() + wait);
    }

    /// There was no usable answer; `error` says why.
    pub(super) fn note_failure(&self, error: &RestError) {
        self.metrics.failed.increment();
        // What does not exist is an answer as well.
        if *error == RestError::NotFound {
            return self.note_answer();
        }
        self.metrics.note_trouble(error.to_string());
    }

    pub(super) fn note_answer(&self) {
        self.metrics.note_answer();
    }

    pub(super) fn note_slow(&self, waited: Duration) {
        self.metrics.note_trouble(format!("CSPR.cloud's REST API is slow: no answer within {} s", waited.as_secs()));
    }

    fn judge(&self, ticket: Ticket, purpose: Purpose) -> Turn {
        let now = Instant::now();
        let mut budget = self.budget();
        let turn = budget.turn(ticket, now);
        self.metrics.day.set(budget.day());
        match turn {
            Turn::Now => {
                self.metrics.waiting_until.set_moment(None);
                self.metrics.note_wait(purpose, None);
                self.spent.send_replace(budget.spent(self.clock.now(), now));
            }
            Turn::At(until) => {
                let wait = u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX);
                let mut at = self.clock.now();
                at.0 = at.0.saturating_add(wait);
                self.metrics.waiting_until.set_moment(Some(at));
                self.metrics.note_wait(purpose, Some(at));
            }
            Turn::Behind => {}
        }
        turn
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        let budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.waiting.set(budget.waiting() as u64);
        budget
    }
}

/// A place in the queue; dropping it leaves.
struct Place<'a> {
    turns: &'a Turns,
    ticket: Ticket,
    purpose: Purpose,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.budget().leave(self.ticket);
        self.turns.metrics.note_wait(self.purpose, None);
        if self.turns.budget().waiting() == 0 {
            self.turns.metrics.waiting_until.set_moment(None);
        }
        self.turns.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    fn turns(requests_per_minute: usize, spent: Spent) -> Arc<Turns> {
        let url = Url::parse("https://api.example").unwrap();
        let config = RestConfig { url, requests_per_minute, requests_per_day: 100 };
        Arc::new(Turns::new(&config, Account { spent, ..Account::default() }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_no_more_turns_than_allowed() {
        let turns = turns(3, Spent::default());
        let start = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..8 {
            turns.turn(Purpose::Repair).await;
            seconds.push(start.elapsed().as_secs());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(seconds, [0, 1, 2, 60, 61, 62, 120, 121]);
        assert_eq!(turns.spent().borrow().hours, [8]);
        assert_eq!(turns.metrics.day.value(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_urgent_overtake_and_a_hold_is_for_all() {
        let turns = turns(1, Spent::default());
        turns.turn(Purpose::Backfill).await;
        let start = Instant::now();
        let order = std::cell::RefCell::new(Vec::new());
        let ask = async |purpose| {
            turns.turn(purpose).await;
            order.borrow_mut().push((purpose, start.elapsed().as_secs()));
        };
        let hold = async {
            assert_eq!(turns.metrics.waiting.value(), 3);
            turns.hold(Duration::from_secs(90));
        };
        tokio::join!(ask(Purpose::Backfill), ask(Purpose::Due), ask(Purpose::Repair), hold);
        let order = order.into_inner();
        assert_eq!(order, [(Purpose::Repair, 90), (Purpose::Due, 150), (Purpose::Backfill, 210)]);
        assert_eq!((turns.metrics.waiting.value(), turns.metrics.waiting_until.moment()), (0, None));
        assert!(Purpose::ALL.into_iter().all(|purpose| turns.metrics.hindrance(purpose).is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_day_shows_how_long_it_waits_and_who_gives_up_takes_nothing() {
        let spent = Spent { at: Clock::default().now(), hours: vec![100] };
        let turns = turns(1_000, spent);
        let waited = tokio::time::timeout(Duration::from_secs(3600), turns.turn(Purpose::Repair));
        let shown = async {
            tokio::task::yield_now().await;
            assert_eq!(turns.metrics.hindrance(Purpose::Backfill), None);
            assert!(turns.metrics.hindrance(Purpose::Repair).is_some());
            turns.metrics.waiting_until.moment()
        };
        let (waited, shown) = tokio::join!(waited, shown);
        assert!(waited.is_err());
        let wait = shown.unwrap().since(Clock::default().now());
        assert!(wait > Duration::from_secs(24 * 3600), "{wait:?}");
        assert_eq!((turns.metrics.day.value(), turns.metrics.waiting.value()), (100, 0));
        turns.turn(Purpose::Backfill).await;
        assert_eq!(turns.metrics.day.value(), 1);
    }
}
