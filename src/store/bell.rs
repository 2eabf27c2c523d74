//! What the writer tells the loop of one sink, without waiting for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Replay;

/// Waiting deliveries of a sink beyond which nothing more is replayed to it: a tenth of a second's worth of a fast one,
/// and far below what keeps a sink from reading on.
const REPLAYS_MAX: usize = 2048;

/// Rings when there is something new for a sink, and knows what it may skip. A sink that joins has a new one, so that
/// what was rung for its forerunner does not reach it twice: it finds that on disk.
#[derive(Debug, Default)]
pub(super) struct Bell {
    pub(super) notify: Notify,
    /// The newest event for this sink.
    newest: AtomicU64,
    /// Up to here the sink has looked.
    seen: AtomicU64,
    /// Up to here there is nothing for this sink beyond what it has seen.
    skip_to: AtomicU64,
    /// Durable, and not taken by the sink yet.
    replays: Mutex<Vec<Replay>>,
    /// Deliveries that the sink has waiting.
    waiting: AtomicUsize,
}

impl Bell {
    /// For a queue whose newest event and lower bound are known.
    pub(super) fn at(newest: u64, seen: u64) -> Self {
        Self { newest: newest.into(), seen: seen.into(), ..Self::default() }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skip_to.load(Ordering::Acquire)
    }

    pub(super) fn saw(&self, seq: u64) {
        self.seen.fetch_max(seq, Ordering::Release);
    }

    /// Called by the writer alone, after the commit, with ascending numbers. If the sink had seen all that was for it,
    /// there is nothing for it before `seq`, so it need not read what lies between.
    pub(super) fn ring(&self, seq: u64) {
        if self.newest() <= self.seen.load(Ordering::Acquire) {
            self.skip_to.store(seq.saturating_sub(1), Ordering::Release);
        }
        self.newest.store(seq, Ordering::Release);
        self.notify.notify_one();
    }

    /// Hands over replays that are durable. Called by the writer alone.
    pub(super) fn replay(&self, replays: Vec<Replay>) {
        self.replays().extend(replays);
        self.notify.notify_one();
    }

    pub(super) fn take_replays(&self) -> Vec<Replay> {
        std::mem::take(&mut *self.replays())
    }

    pub(super) fn tell_waiting(&self, count: usize) {
        self.waiting.store(count, Ordering::Release);
    }

    /// Whether the sink has enough to do without replays.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Acquire) + self.replays().len() >= REPLAYS_MAX
    }

    fn replays(&self) -> MutexGuard<'_, Vec<Replay>> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
