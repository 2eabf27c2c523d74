//! Counters and gauges, as plain atomics that any part may touch and anybody may read.
//!
//! Every value is a count of things since the process started, or a present amount. Nothing here blocks or allocates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::SinkName;

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

/// What the whole relay counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) source: SourceMetrics,
    pub(crate) intake: IntakeMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) reload: ReloadMetrics,
    /// Sinks come and go with the configuration.
    sinks: RwLock<BTreeMap<SinkName, Arc<SinkMetrics>>>,
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
    pub(crate) commits: Counter,
    /// Microseconds spent in commits.
    pub(crate) commit_micros: Counter,
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
        let sinks: BTreeMap<_, _> = sinks.into_iter().map(|name| (name.clone(), Arc::default())).collect();
        Arc::new(Self { sinks: sinks.into(), ..Self::default() })
    }

    /// The row of a sink; `None` for one that is not configured.
    pub(crate) fn sink(&self, name: &SinkName) -> Option<Arc<SinkMetrics>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The row of a sink that joins; the one it has, if it has one.
    pub(crate) fn add_sink(&self, name: &SinkName) -> Arc<SinkMetrics> {
        Arc::clone(self.sinks.write().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default())
    }

    pub(crate) fn remove_sink(&self, name: &SinkName) {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
