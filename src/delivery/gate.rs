//! Everything that can keep the attempts of a sink from starting: a pause, a slow-down that the destination asked for,
//! the breaker, the rate limit. It decides; the loop waits.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, Sign};
use super::rate::Limiter;
use crate::config::RateLimit;
use crate::store::Paused;

pub(super) struct Gate {
    breaker: Breaker,
    /// The destination asked for a slow-down until then.
    slow_until: Option<Instant>,
    paused: Option<Paused>,
    limit: Option<RateLimit>,
    limiter: Option<Limiter>,
}

impl Gate {
    pub(super) fn new(limit: Option<RateLimit>, paused: Option<Paused>, now: Instant) -> Self {
        let limiter = limit.map(|limit| Limiter::new(limit, now));
        Self { breaker: Breaker::default(), slow_until: None, paused, limit, limiter }
    }

    /// A corrected sink deserves to be tried at once, whatever became of the last one. A pause stays.
    pub(super) fn renew(&mut self, limit: Option<RateLimit>, now: Instant) {
        let is_same_limit = self.limit == limit;
        let limiter = self.limiter.take().filter(|_| is_same_limit);
        *self = Self::new(limit, self.paused.take(), now);
        self.limiter = limiter.or(self.limiter.take());
    }

    pub(super) fn paused(&self) -> Option<&Paused> {
        self.paused.as_ref()
    }

    /// Pauses, or ends the pause; what was before.
    pub(super) fn set_paused(&mut self, paused: Option<Paused>) -> Option<Paused> {
        std::mem::replace(&mut self.paused, paused)
    }

    pub(super) fn slow_down(&mut self, now: Instant, pause: Duration) {
        self.slow_until = self.slow_until.max(Some(now + pause));
    }

    pub(super) fn breaker_is_open(&self) -> bool {
        self.breaker.is_open()
    }

    pub(super) fn note(&mut self, seq: u64, sign: Sign, now: Instant, random: f64) {
        self.breaker.note(seq, sign, now, random);
    }

    /// Whether an attempt may start now, which [`Self::started`] or [`Self::cancel`] has to follow.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.paused.is_none() && self.opens_by_time().is_none_or(|at| at <= now) && self.breaker.admit(now)
    }

    pub(super) fn started(&mut self, now: Instant) {
        if let Some(limiter) = &mut self.limiter {
            limiter.take(now);
        }
    }

    /// There was nothing to send.
    pub(super) fn cancel(&mut self, now: Instant) {
        self.breaker.cancel_probe(now);
    }

    /// Whether it is worth reading ahead.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.paused.is_none() && self.breaker.would_admit(now)
    }

    /// Whether only something else than time can let an attempt through.
    pub(super) fn waits_for_somebody(&self) -> bool {
        self.paused.is_some() || self.breaker.is_probing()
    }

    /// When time alone will let an attempt through, if that is later than now.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.opens_by_time().max(self.breaker.opens_at()).filter(|at| *at > now)
    }

    fn opens_by_time(&self) -> Option<Instant> {
        self.slow_until.max(self.limiter.as_ref().map(Limiter::ready_at))
    }
}
