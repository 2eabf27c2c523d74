//! The jobs as everybody sees them, and how to cancel those at work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::store::Job;

/// Ended jobs that are shown.
const ENDED_MAX: usize = 200;

/// The jobs as they stand on disk.
#[derive(Default)]
pub(super) struct Board(Mutex<BTreeMap<u64, Entry>>);

/// A job and two signals about it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) job: Job,
    /// Somebody wants it to end.
    pub(super) cancel: CancellationToken,
    /// It has ended, durably.
    pub(super) ended: CancellationToken,
}

impl Board {
    pub(super) fn one(&self, number: u64) -> Option<Entry> {
        self.entries().get(&number).cloned()
    }

    /// Newest first.
    pub(super) fn list(&self) -> Vec<Job> {
        self.entries().values().rev().map(|entry| entry.job.clone()).collect()
    }

    pub(super) fn running(&self) -> usize {
        self.entries().values().filter(|entry| entry.job.is_running()).count()
    }

    /// Shows a job as it stands on disk now; how to hear that it is to be cancelled.
    pub(super) fn show(&self, job: Job) -> CancellationToken {
        let mut entries = self.entries();
        let (number, has_ended) = (job.number, !job.is_running());
        let new = || Entry { job: job.clone(), cancel: CancellationToken::new(), ended: CancellationToken::new() };
        let entry = entries.entry(number).or_insert_with(new);
        entry.job = job;
        if has_ended {
            entry.ended.cancel();
        }
        let cancel = entry.cancel.clone();
        let ended: Vec<u64> =
            entries.iter().filter(|(_, entry)| !entry.job.is_running()).map(|(number, _)| *number).collect();
        for old in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
            entries.remove(old);
        }
        cancel
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
