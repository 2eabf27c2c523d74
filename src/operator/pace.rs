//! How fast a job may go.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Job;

/// Rows of a step. New events wait for the commit that it is part of, so it is short where commits are; where a disk
/// takes long for each, it may be longer, since that costs them less than it gains.
const ROWS: std::ops::RangeInclusive<usize> = 32..=256;
/// Rows for each second of a commit: those of a step take a quarter of it.
const ROWS_PER_SECOND: f64 = 8_000.0;
/// What is limited comes in portions of so long, so that it flows evenly: what comes at once keeps others from the
/// processor for as long as it takes.
const PORTION: Duration = Duration::from_millis(2);

/// What could not be done in time, because the commit took long or the sink had no place, may be made up for as far as
/// this. Beyond it, it comes later: the limit spares somebody, and holds in every second.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// The rate of a job.
pub(super) struct Pace {
    /// In a second.
    rate: Option<u32>,
    /// What was done so far.
    done: u64,
    /// When the next is due.
    due: Instant,
    /// Of a step.
    rows_max: usize,
}

impl Pace {
    pub(super) fn new(job: &Job, now: Instant) -> Self {
        Self { rate: job.order.rate(), done: job.counts.done, due: now, rows_max: *ROWS.start() }
    }

    /// The commit of a step has taken so long.
    pub(super) fn took(&mut self, commit: Duration) {
        self.rows_max = ((commit.as_secs_f64() * ROWS_PER_SECOND) as usize).clamp(*ROWS.start(), *ROWS.end());
    }

    /// How much the next step may do: what is due by the end of a portion from now.
    pub(super) fn rows(&mut self, now: Instant) -> usize {
        let Some(rate) = self.rate else { return self.rows_max };
        self.due = self.due.max(now.checked_sub(BEHIND_MAX).unwrap_or(now));
        let due = (now + PORTION).duration_since(self.due).as_secs_f64() * f64::from(rate);
        (due as usize).clamp(1, self.rows_max)
    }

    /// When the next step is due after `done`.
    pub(super) fn next(&mut self, done: u64) -> Instant {
        let did = done.saturating_sub(self.done);
        self.done = done;
        self.due +=
            self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(did as f64 / f64::from(rate.max(1))));
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u32, due: Instant) -> Pace {
        Pace { rate: Some(rate), done: 0, due, rows_max: *ROWS.start() }
    }

    /// Seconds for so many rows, and the largest step, if each commit takes so long.
    fn run(rate: u32, count: u64, commit: Duration) -> (f64, usize) {
        let began = Instant::now();
        let mut pace = pace(rate, began);
        let (mut now, mut done, mut largest) = (began, 0, 0);
        while done < count {
            now = now.max(pace.next(done));
            let rows = pace.rows(now);
            largest = largest.max(rows);
            (done, now) = (done + rows as u64, now + commit);
            pace.took(commit);
        }
        (now.duration_since(began).as_secs_f64(), largest)
    }

    #[test]
    fn a_rate_flows_evenly_and_is_kept_on_average() {
        for (rate, count, commit, (at_least, at_most), largest) in [
            (1_000, 10_000, 1, (9.9, 10.1), 2..=3),
            (10_000, 100_000, 1, (9.9, 10.1), 20..=30),
            // Each commit takes longer than a portion.
            (1_000, 10_000, 50, (9.8, 10.2), 50..=60),
            (1, 10, 1, (8.9, 10.1), 1..=1),
            // More than can be done.
            (1_000_000, 25_600, 1, (0.79, 0.81), 32..=32),
            (1_000_000, 25_600, 10, (3.1, 3.3), 80..=80),
            (1_000_000, 25_600, 100, (9.9, 10.2), 256..=256),
        ] {
            let (took, most) = run(rate, count, Duration::from_millis(commit));
            assert!((at_least..=at_most).contains(&took), "{rate}/s: {took} s");
            assert!(largest.contains(&most), "{rate}/s: {most} at once");
        }
    }

    #[test]
    fn what_a_pause_has_left_undone_does_not_come_at_once() {
        let began = Instant::now();
        let mut pace = pace(1_000, began);
        let (mut now, mut done) = (began + Duration::from_secs(60), 0);
        let second = now + Duration::from_secs(1);
        while now < second {
            done += pace.rows(now) as u64;
            now = now.max(pace.next(done));
        }
        assert!((1_000..=1_120).contains(&done), "{done} in the second after a pause");
    }
}
