//! Counters and gauges, as plain atomics that any part may touch and anybody may read.
//!
//! Every value is a count of things since the process started, or a present amount. Nothing here blocks or allocates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::config::{SinkConfig, SinkName};

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A present amount.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, n: u64) {
        // Saturating, so that an accounting slip shows as zero and not as 2^64.
        let lower = |now: u64| Some(now.saturating_sub(n));
        let _previous = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

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

/// What the whole relay counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) source: SourceMetrics,
    pub(crate) intake: IntakeMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) reload: ReloadMetrics,
    /// Sinks come and go with the configuration.
    sinks: RwLock<BTreeMap<SinkName, Row>>,
}

/// A sink among the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) metrics: Arc<SinkMetrics>,
    pub(crate) about: Arc<About>,
}

/// What the configuration says of a sink, as far as it is shown beside its numbers.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// `webhook`, `kafka`, `amqp` or `stdout`.
    pub(crate) kind: &'static str,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) backlog_max_bytes: u64,
}

impl About {
    pub(crate) fn of(config: &SinkConfig) -> Self {
        Self { kind: config.kind.name(), labels: config.labels.clone(), backlog_max_bytes: config.backlog.max_bytes }
    }
}

/// The connections to CSPR.cloud, all streams together.
#[derive(Debug, Default)]
pub(crate) struct SourceMetrics {
    /// Connections that are up now.
    pub(crate) connected: Gauge,
    /// Handshakes that succeeded.
    pub(crate) connects: Counter,
    /// Handshakes that failed and connections that ended.
    pub(crate) disconnects: Counter,
    /// Messages that look like events.
    pub(crate) messages: Counter,
    /// Text `Ping` keep-alives.
    pub(crate) pings: Counter,
    /// Other texts that are not JSON objects.
    pub(crate) ignored_texts: Counter,
    /// Messages or frames over the size limit; each also ended its connection.
    pub(crate) too_large: Counter,
    /// Connections ended since the peer broke the protocol, invalid UTF-8 included.
    pub(crate) protocol_errors: Counter,
}

/// New configurations while the relay runs.
#[derive(Debug, Default)]
pub(crate) struct ReloadMetrics {
    pub(crate) done: Counter,
    /// Refused, for their faults or since they need a restart.
    pub(crate) refused: Counter,
    /// 1 while the newest configuration was refused and an older one is at work.
    pub(crate) is_stale: Gauge,
}

/// What became of the messages.
#[derive(Debug, Default)]
pub(crate) struct IntakeMetrics {
    pub(crate) accepted: Counter,
    /// Known ids, dropped.
    pub(crate) duplicates: Counter,
    /// Same package, token and deploy as the lane's last event, but another state.
    pub(crate) variants: Counter,
    /// Known ids that differ from their lane's last event, dropped: perhaps A→B→A inside one deploy.
    pub(crate) recurred: Counter,
    /// No route wanted them.
    pub(crate) unmatched: Counter,
    /// Kept raw, since they could not be handled.
    pub(crate) quarantined: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct StoreMetrics {
    /// How long commits took.
    pub(crate) commits: Histogram,
    /// Used bytes of the store.
    pub(crate) bytes: Gauge,
    /// Known ids held in memory.
    pub(crate) known_ids: Gauge,
    /// Known ids forgotten before their window ended, because of `dedup.max_keys`.
    pub(crate) ids_forgotten: Counter,
    /// Rows whose checksum did not fit.
    pub(crate) damaged_rows: Counter,
    /// 1 while intake waits for space.
    pub(crate) intake_waits: Gauge,
}

/// One sink.
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
    /// 1 while nothing is attempted because the destination is gone (410).
    pub(crate) paused: Gauge,
}

impl Metrics {
    /// Metrics with a row for each of `sinks`.
    pub(crate) fn new<'a>(sinks: impl IntoIterator<Item = &'a SinkName>) -> Arc<Self> {
        let sinks: BTreeMap<_, _> = sinks.into_iter().map(|name| (name.clone(), Row::default())).collect();
        Arc::new(Self { sinks: sinks.into(), ..Self::default() })
    }

    /// The row of a sink; `None` for one that is not configured.
    pub(crate) fn sink(&self, name: &SinkName) -> Option<Arc<SinkMetrics>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).get(name).map(|row| Arc::clone(&row.metrics))
    }

    /// All rows, in the order of their names.
    pub(crate) fn sinks(&self) -> BTreeMap<SinkName, Row> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what a sink is, which may change while it has its row.
    pub(crate) fn describe(&self, name: &SinkName, about: About) {
        let mut sinks = self.sinks.write().unwrap_or_else(PoisonError::into_inner);
        sinks.entry(name.clone()).or_default().about = Arc::new(about);
    }

    /// The row of a sink that joins; the one it has, if it has one.
    pub(crate) fn add_sink(&self, name: &SinkName) -> Arc<SinkMetrics> {
        let mut sinks = self.sinks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&sinks.entry(name.clone()).or_default().metrics)
    }

    pub(crate) fn remove_sink(&self, name: &SinkName) {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).remove(name);
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
