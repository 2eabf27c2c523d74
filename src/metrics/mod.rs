//! Counters and gauges, as plain atomics that any part may touch and anybody may read.
//!
//! Every value is a count of things since the process started, or a present amount. Nothing here blocks or allocates.

mod histogram;
mod ownership;
mod rest;
mod sink;
mod source;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub(crate) use histogram::Histogram;
pub(crate) use ownership::OwnershipMetrics;
pub(crate) use rest::RestMetrics;
pub(crate) use sink::{Failed, SinkMetrics};
pub(crate) use source::{ConnectionMetrics, SourceMetrics};
pub(crate) use store::StoreMetrics;

use crate::clock::Timestamp;
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

    /// A moment; [`Self::moment`] reads it.
    pub(crate) fn set_moment(&self, at: Option<Timestamp>) {
        self.set(at.map_or(0, |at| at.0));
    }

    /// The moment that was set, if one was.
    pub(crate) fn moment(&self) -> Option<Timestamp> {
        Some(Timestamp(self.value())).filter(|at| at.0 > 0)
    }
}

/// What the whole relay counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) source: SourceMetrics,
    pub(crate) rest: Arc<RestMetrics>,
    /// Gaps that began.
    pub(crate) gaps: Counter,
    /// Audits of streams that came to their end, and what they found missing.
    pub(crate) audits: Counter,
    pub(crate) audit_missed: Counter,
    pub(crate) intake: IntakeMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) ownership: OwnershipMetrics,
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

/// New configurations while the relay runs.
#[derive(Debug, Default)]
pub(crate) struct ReloadMetrics {
    pub(crate) done: Counter,
    /// Refused, for their faults or since they need a restart.
    pub(crate) refused: Counter,
    /// The newest one, and why it was refused if it was: then an older one is at work.
    last: Mutex<Option<Reload>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Reload {
    pub(crate) at: Timestamp,
    pub(crate) refused: Option<String>,
}

impl ReloadMetrics {
    pub(crate) fn note(&self, reload: Reload) {
        if reload.refused.is_some() { &self.refused } else { &self.done }.increment();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
    }

    pub(crate) fn last(&self) -> Option<Reload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the newest configuration was refused.
    pub(crate) fn is_stale(&self) -> bool {
        self.last().is_some_and(|reload| reload.refused.is_some())
    }
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
