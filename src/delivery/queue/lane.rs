//! What a queue keeps of lanes and of single deliveries.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::config::Ordering;
pub(super) use crate::store::Replay;
use crate::store::{Claimed, Held, Waiting};

/// A lane with a head. A lane without one is not kept.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) head: u64,
    pub(super) is_waiting: bool,
    /// When a waiting head stops holding back the rest.
    pub(super) blocks_until: Option<Instant>,
    /// They go before what is behind or held.
    pub(super) replays: VecDeque<Replay>,
    pub(super) behind: VecDeque<Behind>,
    pub(super) held: VecDeque<Held>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) waiting: Waiting,
    pub(super) due: Instant,
}

/// A delivery behind the head of its lane; without content it is read again.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    pub(super) seq: u64,
    pub(super) lane: u64,
    pub(super) body_bytes: u32,
    pub(super) claimed: Option<Claimed>,
}

/// What the queue must know of an attempt when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) lane: u64,
    pub(super) body_bytes: u32,
    /// Attempts that counted, before this one.
    pub(super) attempts: u32,
    pub(super) is_replay: bool,
    /// When it first failed.
    pub(super) blocking_since: Option<Timestamp>,
}

impl InFlight {
    /// An attempt of what has waited.
    pub(super) fn of(waiting: &Waiting) -> Self {
        Self {
            lane: waiting.lane,
            body_bytes: waiting.body_bytes,
            attempts: waiting.attempts,
            is_replay: waiting.is_replay,
            blocking_since: waiting.blocking_since,
        }
    }
}

impl Behind {
    pub(super) fn new(claimed: Claimed, ordering: Ordering) -> Self {
        Self {
            seq: claimed.seq,
            lane: if ordering == Ordering::Lane { claimed.lane } else { 0 },
            body_bytes: claimed.body_bytes,
            claimed: Some(claimed),
        }
    }
}
