//! What the store counts.

use std::sync::{Mutex, PoisonError};

use super::{Counter, Gauge, Histogram};

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
    /// What for, and what to do about it.
    intake_waits_for: Mutex<Option<String>>,
}

impl StoreMetrics {
    /// `None`: there is room.
    pub(crate) fn set_intake_waits_for(&self, what: Option<String>) {
        self.intake_waits.set(what.is_some().into());
        *self.intake_waits_for.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Why no events are taken, and what to do about it; `None` if they are.
    pub(crate) fn intake_waits_for(&self) -> Option<String> {
        self.intake_waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
