//! What others see of the loop of a sink.

use super::Group;
use super::attempt::Ended;
use crate::clock::Timestamp;
use crate::delivery::queue::Now;

impl Group {
    /// Counts an attempt that came to its end.
    pub(super) fn count(&self, ended: &Ended, now: Now) {
        self.metrics.attempts.observe(ended.took);
        let failure = ended.outcome.failure();
        self.metrics.note_attempt(now.wall, failure.map(|failure| (failure.cause.as_str(), &*failure.detail)));
        if let (None, Some(accepted_at)) = (failure, ended.accepted_at) {
            self.metrics.latency.observe(now.wall.since(accepted_at));
        }
    }

    pub(super) fn show(&self) {
        let metrics = &self.metrics;
        metrics.waiting.set(self.queue.waiting_count() as u64);
        metrics.held.set(self.queue.held_count() as u64);
        metrics.in_flight.set(self.queue.in_flight_count() as u64);
        let is_open = self.gate.breaker_is_open();
        if is_open != (metrics.breaker_open.value() > 0) {
            metrics.breaker_since.set_moment(Some(self.clock.now()).filter(|_| is_open));
        }
        metrics.breaker_open.set(is_open.into());
        metrics.paused.set(self.gate.paused().is_some().into());
        metrics.next_attempt_at.set_moment(self.next_attempt_at());
    }

    /// When the next attempt may start, if that is a matter of time.
    fn next_attempt_at(&self) -> Option<Timestamp> {
        let now = self.now();
        if self.gate.waits_for_somebody() {
            return None;
        }
        let gate = self.gate.opens_at(now.instant);
        let has_more = self.has_work(now) || self.store.has_fresh(self.queue.cursor());
        let at = match (has_more, self.queue.wakes_at()) {
            (true, _) => gate.unwrap_or(now.instant),
            (false, due) => due?.max(gate.unwrap_or(now.instant)),
        };
        let delay = at.saturating_duration_since(now.instant);
        Some(Timestamp(now.wall.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))))
    }
}
