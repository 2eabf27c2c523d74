//! What one sink counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Counter, Gauge, Histogram};
use crate::clock::{Timestamp, monotonic};

#[derive(Debug, Default)]
pub(crate) struct SinkMetrics {
    pub(crate) delivered: Counter,
    /// Attempts that did not end in a delivery.
    pub(crate) failed_attempts: Counter,
    pub(crate) dead: Counter,
    /// Dropped by the backlog policy.
    pub(crate) expired: Counter,
    /// Deliveries accepted for this sink by this process.
    pub(crate) obligations: Counter,
    /// Deliveries that are not settled.
    pub(crate) pending: Gauge,
    /// Their bytes.
    pub(crate) pending_bytes: Gauge,
    /// Of these: failed at least once and due later.
    pub(crate) waiting: Gauge,
    /// Of these: behind a waiting one of their lane.
    pub(crate) held: Gauge,
    pub(crate) in_flight: Gauge,
    /// 1 while the breaker is open or probing.
    pub(crate) breaker_open: Gauge,
    /// When it opened.
    pub(crate) breaker_since: Gauge,
    /// 1 while nothing is attempted, by order or because the destination is gone (410).
    pub(crate) paused: Gauge,
    /// When the next attempt may start; none while there is nothing to attempt, or somebody has to act first.
    pub(crate) next_attempt_at: Gauge,
    pub(crate) delivered_at: Gauge,
    /// From acceptance to confirmation.
    pub(crate) latency: Histogram,
    /// From the start of an attempt to its end, whatever that was.
    pub(crate) attempts: Histogram,
    by_cause: Mutex<BTreeMap<&'static str, Failed>>,
    /// When, cause and detail.
    last_failure: Mutex<Option<(Timestamp, &'static str, String)>>,
    recent: Mutex<Recent>,
}

/// What ended badly for one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) attempts: u64,
    /// Deliveries given up.
    pub(crate) deliveries: u64,
}

impl SinkMetrics {
    /// An attempt ended; `failure` says how, if it was badly.
    pub(crate) fn note_attempt(&self, at: Timestamp, failure: Option<(&'static str, &str)>) {
        lock(&self.recent).note(monotonic(), failure.is_none());
        let Some((cause, detail)) = failure else {
            self.delivered_at.set_moment(Some(at));
            return;
        };
        self.failed_attempts.increment();
        lock(&self.by_cause).entry(cause).or_default().attempts += 1;
        *lock(&self.last_failure) = Some((at, cause, detail.to_owned()));
    }

    /// A delivery was given up.
    pub(crate) fn note_dead(&self, cause: &'static str) {
        self.dead.increment();
        lock(&self.by_cause).entry(cause).or_default().deliveries += 1;
    }

    pub(crate) fn by_cause(&self) -> BTreeMap<&'static str, Failed> {
        lock(&self.by_cause).clone()
    }

    pub(crate) fn last_failure(&self) -> Option<(Timestamp, &'static str, String)> {
        lock(&self.last_failure).clone()
    }

    /// Attempts of the last five minutes: those that delivered, and all.
    pub(crate) fn recent(&self) -> (u64, u64) {
        lock(&self.recent).sum(monotonic())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SLOTS: usize = 30;
const SLOT_SECONDS: u64 = 10;

/// Attempts by slots of ten seconds, for five minutes.
#[derive(Debug, Default)]
struct Recent {
    began: Option<Instant>,
    /// Number of the slot since then, attempts that delivered, all attempts.
    slots: [(u64, u64, u64); SLOTS],
}

impl Recent {
    fn note(&mut self, now: Instant, is_delivered: bool) {
        let number = now.saturating_duration_since(*self.began.get_or_insert(now)).as_secs() / SLOT_SECONDS;
        let Some(slot) = usize::try_from(number % SLOTS as u64).ok().and_then(|at| self.slots.get_mut(at)) else {
            return;
        };
        if slot.0 != number {
            *slot = (number, 0, 0);
        }
        slot.1 += u64::from(is_delivered);
        slot.2 += 1;
    }

    fn sum(&self, now: Instant) -> (u64, u64) {
        let Some(began) = self.began else { return (0, 0) };
        let newest = now.saturating_duration_since(began).as_secs() / SLOT_SECONDS;
        let present = self.slots.iter().filter(|(number, ..)| number + SLOTS as u64 > newest);
        present.fold((0, 0), |(delivered, all), slot| (delivered + slot.1, all + slot.2))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn attempts_are_recent_for_five_minutes() {
        let (mut recent, began) = (Recent::default(), monotonic());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(recent.sum(began), (0, 0));
        for (seconds, is_delivered) in [(0, true), (9, false), (10, true), (290, false)] {
            recent.note(at(seconds), is_delivered);
        }
        for (seconds, expected) in [(290, (2, 4)), (300, (1, 2)), (310, (0, 1)), (599, (0, 0)), (9_999, (0, 0))] {
            assert_eq!(recent.sum(at(seconds)), expected, "at {seconds}");
        }
        recent.note(at(300), true);
        assert_eq!(recent.sum(at(300)), (2, 3), "a slot is used again");
    }
}
