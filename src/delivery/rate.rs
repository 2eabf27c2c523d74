//! The limit on the attempts of one sink: a pure function of time.
//!
//! Attempts may come `interval` apart on average. One that comes after a quiet time finds up to a tenth of a second's
//! worth of them saved up, so that a small burst passes at once, and no more: the destination asked for an even flow.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::RateLimit;

/// What may be saved up.
const BURST: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(super) struct Limiter {
    interval: Duration,
    /// How far ahead of an even flow an attempt may come.
    ahead_max: Duration,
    /// When the next attempt is due in an even flow.
    even: Instant,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        let interval = limit.per / limit.count.max(1);
        Self { interval, ahead_max: BURST.saturating_sub(interval), even: now }
    }

    /// When an attempt may start.
    pub(super) fn ready_at(&self) -> Instant {
        self.even.checked_sub(self.ahead_max).unwrap_or(self.even)
    }

    /// An attempt starts.
    pub(super) fn take(&mut self, now: Instant) {
        self.even = self.even.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts that start within `time`, asked for as soon as they may.
    fn started(count: u32, per: u64, time: Duration) -> u32 {
        let began = Instant::now();
        let mut limiter = Limiter::new(RateLimit { count, per: Duration::from_secs(per) }, began);
        let (mut now, mut attempts) = (began, 0);
        while now < began + time {
            limiter.take(now);
            attempts += 1;
            now = now.max(limiter.ready_at());
        }
        attempts
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_any_time_but_for_the_burst() {
        let cases = [
            (200, 1, 1, 200 + 19),
            (200, 1, 60, 12_000 + 19),
            (1, 1, 10, 10),
            (30, 60, 60, 30),
            (5, 1, 10, 50),
            (100_000, 1, 1, 100_000 + 9_999),
        ];
        for (count, per, seconds, expected) in cases {
            assert_eq!(started(count, per, Duration::from_secs(seconds)), expected, "{count} in {per} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_hour_saves_up_no_more_than_the_burst() {
        let now = Instant::now();
        let mut limiter = Limiter::new(RateLimit { count: 100, per: Duration::from_secs(1) }, now);
        let later = now + Duration::from_secs(3600);
        let mut at_once = 0;
        while limiter.ready_at() <= later {
            limiter.take(later);
            at_once += 1;
        }
        assert_eq!(at_once, 10);
    }
}
