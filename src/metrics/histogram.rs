//! How long things take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long things took: a count for each upper bound of [`BUCKETS`], and their sum.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Not cumulated; one more than there are bounds.
    counts: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// From a fast commit to a delivery that a night of repairs held up; about half a decade apart.
pub(crate) const BUCKETS: [Duration; 14] = [
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(5 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(12 * 60 * 60),
];

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let bucket = BUCKETS.partition_point(|bound| *bound < duration);
        // There is one more bucket than bounds.
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many took at most each bound, then how many there are.
    pub(crate) fn cumulated(&self) -> ([(Duration, u64); BUCKETS.len()], u64) {
        let mut sum = 0;
        let mut counts = self.counts.iter().map(|count| {
            sum += count.load(Ordering::Relaxed);
            sum
        });
        let buckets = BUCKETS.map(|bound| (bound, counts.next().unwrap_or_default()));
        (buckets, counts.next().unwrap_or_default())
    }

    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    pub(crate) fn count(&self) -> u64 {
        self.cumulated().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_value_once_below_all_bounds_that_it_does_not_pass() {
        let histogram = Histogram::default();
        let day = Duration::from_secs(24 * 60 * 60);
        for duration in [Duration::ZERO, Duration::from_millis(1), Duration::from_micros(1_001), day] {
            histogram.observe(duration);
        }
        let (buckets, count) = histogram.cumulated();
        assert_eq!((buckets[0].1, buckets[1].1, buckets[BUCKETS.len() - 1].1, count), (2, 3, 3, 4));
        assert_eq!(histogram.sum(), day + Duration::from_micros(2_001));
    }
}
