//! What may become of a delivery, as the sinks tell the store.

use std::time::Duration;

use crate::clock::Timestamp;

/// A change of one sink's queue. The changes of one [`SinkStore::record`] are one transaction.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is over. A waiting row of it goes, if it has one.
    Settle(Settlement),
    /// It failed, or was released from behind one that did: due again later. A held row of it goes.
    Wait(Waiting),
    /// It waits behind an earlier one of its lane.
    Hold(Held),
    /// A failed attempt, for the record.
    Attempt(Attempt),
    /// All deliveries up to here are settled, waiting or held.
    Low(u64),
    /// Nothing is attempted from now on.
    Pause(Paused),
    /// The pause is over.
    Resume,
}

/// Why nothing is attempted at a sink; durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    pub(crate) since: Timestamp,
    pub(crate) by: PausedBy,
    /// One line.
    pub(crate) reason: String,
}

/// Who paused a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PausedBy {
    Operator,
    /// It says that it is gone (410).
    Destination,
}

#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) seq: u64,
    /// Whether there may be a waiting row: most deliveries arrive at once and never had one.
    pub(crate) has_waited: bool,
    pub(crate) attempts: u32,
    pub(crate) body_bytes: u32,
    pub(crate) end: End,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Delivered { status: Option<u16> },
    Dead { cause: &'static str, reason: String },
    Expired,
}

/// A delivery that failed at least once, or was released to go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) seq: u64,
    /// 0: unordered.
    pub(crate) lane: u64,
    pub(crate) body_bytes: u32,
    pub(crate) attempts: u32,
    pub(crate) is_replay: bool,
    /// The whole delay as planned; bounds what remains of it after a restart, whatever the wall clock says.
    pub(crate) delay: Duration,
    /// When the delay ends.
    pub(crate) due_at: Timestamp,
    /// When the first attempt failed, if one did: from then on it holds back its lane for a limited time only.
    pub(crate) blocking_since: Option<Timestamp>,
}

/// A delivery that was over and is to be made again, durably waiting.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) waiting: Waiting,
    /// `None`: to be read from the store.
    pub(crate) claimed: Option<super::Claimed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) seq: u64,
    pub(crate) lane: u64,
    pub(crate) body_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) cause: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) detail: String,
}
