//! How fast a job may go.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Job;

/// Rows of a step: a few milliseconds of a commit.
pub(super) const ROWS_MAX: usize = 256;
/// What is limited comes in portions of so long, so that it flows evenly: what comes at once keeps others from the
/// processor for as long as it takes.
const PORTION: Duration = Duration::from_millis(10);

/// The rate of a job, kept on average: what one step could not do in time, the next may.
pub(super) struct Pace {
    /// In a second.
    rate: Option<u32>,
    began: Instant,
    /// What was done before.
    done: u64,
}

impl Pace {
    pub(super) fn new(job: &Job, now: Instant) -> Self {
        Self { rate: job.order.rate(), began: now, done: job.counts.done }
    }

    /// How much the next step may do after `done`: what is due by the end of a portion from now.
    pub(super) fn rows(&self, done: u64, now: Instant) -> usize {
        let Some(rate) = self.rate else { return ROWS_MAX };
        let due = (now + PORTION).duration_since(self.began).as_secs_f64() * f64::from(rate);
        let left = due as u64 - (due as u64).min(done.saturating_sub(self.done));
        usize::try_from(left).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX)
    }

    /// When the next step is due after `done`.
    pub(super) fn next(&self, done: u64) -> Instant {
        let taken = |rate: u32| Duration::from_secs_f64(done.saturating_sub(self.done) as f64 / f64::from(rate.max(1)));
        self.rate.map_or(self.began, |rate| self.began + taken(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds for so many rows, and the largest step, if each step takes so long.
    fn run(rate: u32, count: u64, step: Duration) -> (f64, usize) {
        let began = Instant::now();
        let pace = Pace { rate: Some(rate), began, done: 0 };
        let (mut now, mut done, mut largest) = (began, 0, 0);
        while done < count {
            now = now.max(pace.next(done));
            let rows = pace.rows(done, now);
            largest = largest.max(rows);
            (done, now) = (done + rows as u64, now + step);
        }
        (now.duration_since(began).as_secs_f64(), largest)
    }

    #[test]
    fn a_rate_flows_evenly_and_is_kept_on_average() {
        for (rate, count, step, (at_least, at_most), portion) in [
            (1_000, 10_000, 1, (9.9, 10.1), 10..=11),
            (10_000, 100_000, 1, (9.9, 10.1), 100..=110),
            // Each commit takes longer than a portion.
            (1_000, 10_000, 50, (9.8, 10.2), 50..=60),
            (1, 10, 1, (8.9, 10.1), 1..=1),
            // More than can be done.
            (1_000_000, 25_600, 10, (0.99, 1.01), ROWS_MAX..=ROWS_MAX),
        ] {
            let (took, largest) = run(rate, count, Duration::from_millis(step));
            assert!((at_least..=at_most).contains(&took), "{rate}/s: {took} s");
            assert!(portion.contains(&largest), "{rate}/s: {largest} at once");
        }
    }
}
