//! The queue of one sink in memory: what goes next, what waits for what. No clock, no disk, no network of its own.
//!
//! Deliveries come in order of sequence. With lanes, one delivery of a lane is its *head*: in flight, or waiting for
//! its next attempt. What comes after a head in flight is *behind* it, in memory; what comes after a waiting head is
//! *held*, on disk. When a head is settled the next one of its lane takes its place; a waiting head holds its lane
//! for at most [`BLOCKING_MAX`], then it goes on alone. Every method that changes what a restart must know returns or
//! collects the changes to record.
//!
//! Bounds: fresh deliveries are taken only while there are fewer than [`WAITING_MAX`] waiting, [`HELD_MAX`] held and
//! [`BEHIND_MAX`] behind.

mod lane;
mod order;
mod replays;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use lane::{Behind, Entry, InFlight, Lane};
use replays::{Replays, is_untried};

use crate::clock::Timestamp;
use crate::config::Ordering;
use crate::store::{Change, Claimed, End, Found, Held, Replay, Settlement, Waiting};

const WAITING_MAX: usize = 100_000;
const HELD_MAX: usize = 1_000_000;
const BEHIND_MAX: usize = 50_000;
/// Bodies kept with what is behind; beyond that only the number is kept and the body is read again.
const BEHIND_BODIES_MAX: usize = 256;
/// How long a failing event holds back its lane.
pub(super) const BLOCKING_MAX: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub(super) struct Queue {
    ordering: Ordering,
    /// Fresh deliveries were read up to here.
    cursor: u64,
    /// Read, but not looked at.
    fresh: VecDeque<Claimed>,
    /// Next of a lane whose head was settled.
    ready: VecDeque<Behind>,
    lanes: HashMap<u64, Lane>,
    waiting: BTreeMap<u64, Entry>,
    due: BTreeSet<(Instant, u64)>,
    /// When a waiting head stops holding back its lane.
    blocking: BTreeSet<(Instant, u64, u64)>,
    in_flight: HashMap<u64, InFlight>,
    replays: Replays,
    /// Read, and neither settled, waiting nor held.
    unsettled: BTreeSet<u64>,
    /// Found waiting, held or settled at start beyond where the reading begins: it passes them by, whatever became of them.
    found_beyond: HashSet<u64>,
    held: usize,
    behind: usize,
    changes: Vec<Change>,
    recorded_low: u64,
}

/// A delivery to attempt now.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) seq: u64,
    /// 1 for the first.
    pub(super) number: u32,
    pub(super) is_replay: bool,
    /// `None`: to be read from the store.
    pub(super) claimed: Option<Claimed>,
}

/// Both clocks, read once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
}

impl Queue {
    /// The queue as it was left by an earlier run.
    pub(super) fn new(ordering: Ordering, found: Found, now: Now) -> Self {
        let mut queue = Self {
            ordering,
            cursor: found.low,
            recorded_low: found.low,
            fresh: VecDeque::new(),
            ready: VecDeque::new(),
            lanes: HashMap::new(),
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            blocking: BTreeSet::new(),
            in_flight: HashMap::new(),
            replays: Replays::default(),
            unsettled: BTreeSet::new(),
            found_beyond: found.beyond().collect(),
            held: 0,
            behind: 0,
            changes: Vec::new(),
        };
        let (replays, mut waiting): (Vec<Waiting>, Vec<Waiting>) = found.waiting.into_iter().partition(is_untried);
        // Otherwise ascending, so the newest waiting one of a lane ends up as its head; a replay only if it is alone.
        waiting.sort_by_key(|waiting| !waiting.is_replay);
        for waiting in waiting {
            let left = Duration::from_millis(waiting.due_at.0.saturating_sub(now.wall.0)).min(waiting.delay);
            queue.insert_waiting(waiting, now, left);
        }
        for held in found.held {
            match queue.lanes.get_mut(&held.lane) {
                Some(lane) => {
                    lane.held.push_back(held);
                    queue.held += 1;
                }
                None => queue.release(held, now),
            }
        }
        queue.add_replays(replays.into_iter().map(|waiting| Replay { waiting, claimed: None }));
        queue
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len() + self.replays.count
    }

    pub(super) fn held_count(&self) -> usize {
        self.held
    }

    pub(super) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether fresh deliveries lie ready.
    pub(super) fn has_fresh_read(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether nothing is pending as far as was read.
    pub(super) fn is_empty(&self) -> bool {
        self.unsettled.is_empty() && self.waiting_count() == 0
    }

    /// How many more fresh deliveries to read, given that `wanted` lie ready at best.
    pub(super) fn appetite(&self, wanted: usize) -> usize {
        let is_full = self.waiting.len() >= WAITING_MAX || self.held >= HELD_MAX || self.behind >= BEHIND_MAX;
        if is_full { 0 } else { wanted.saturating_sub(self.fresh.len()) }
    }

    /// Takes deliveries that were read, and how far the reading went.
    pub(super) fn add_fresh(&mut self, claimed: Vec<Claimed>, scanned_to: u64) {
        for delivery in claimed {
            if !self.found_beyond.remove(&delivery.seq) {
                self.unsettled.insert(delivery.seq);
                self.fresh.push_back(delivery);
            }
        }
        self.cursor = self.cursor.max(scanned_to);
    }

    /// The next delivery to attempt, if any is due. It counts as in flight from here on.
    pub(super) fn next(&mut self, now: Now) -> Option<Work> {
        self.end_blocking(now);
        if let Some(behind) = self.ready.pop_front() {
            return Some(self.start_fresh(behind));
        }
        if let Some(&(due, seq)) = self.due.first()
            && due <= now.instant
        {
            self.due.remove(&(due, seq));
            return self.start_waiting(seq);
        }
        while let Some(claimed) = self.fresh.pop_front() {
            let behind = Behind::new(claimed, self.ordering);
            if let Some(first) = self.queue_up(behind) {
                return Some(self.start_fresh(first));
            }
        }
        None
    }

    /// Whether [`Self::next`] would find something.
    pub(super) fn has_next(&self, now: Now) -> bool {
        !self.ready.is_empty() || !self.fresh.is_empty() || self.due.first().is_some_and(|(due, _)| *due <= now.instant)
    }

    /// When time alone will change what is next.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let unblocked = self.blocking.first().map(|(at, ..)| *at);
        due.into_iter().chain(unblocked).min()
    }

    /// The attempt of `seq` ended for good.
    pub(super) fn settle(&mut self, seq: u64, counted: bool, end: End, now: Now) {
        let Some(flight) = self.end_flight(seq) else { return };
        let has_waited = self.waiting.remove(&seq).is_some();
        self.unsettled.remove(&seq);
        let attempts = flight.attempts + u32::from(counted);
        let settlement = Settlement { seq, has_waited, attempts, body_bytes: flight.body_bytes, end };
        self.changes.push(Change::Settle(settlement));
        self.advance(flight.lane, seq, now);
    }

    /// The attempt of `seq` failed, and it is due again after `delay`. One that does not count leaves the number of
    /// attempts as it was.
    pub(super) fn wait(&mut self, seq: u64, counted: bool, delay: Duration, now: Now) {
        let Some(flight) = self.end_flight(seq) else { return };
        self.unsettled.remove(&seq);
        let waiting = Waiting {
            seq,
            lane: flight.lane,
            body_bytes: flight.body_bytes,
            attempts: flight.attempts + u32::from(counted),
            is_replay: flight.is_replay,
            delay,
            due_at: Timestamp(now.wall.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))),
            blocking_since: flight.blocking_since.or(Some(now.wall)),
        };
        self.changes.push(Change::Wait(waiting));
        self.waiting.remove(&seq);
        let is_head = self.lanes.get(&flight.lane).is_some_and(|lane| lane.head == seq);
        if is_head {
            self.insert_waiting(waiting, now, delay);
        } else {
            self.insert_loose(waiting, now, delay);
        }
        self.hold_behind(flight.lane, seq);
    }

    /// Records a change that is about `seq` but not about the queue's order.
    pub(super) fn record(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Gives up the oldest delivery that is not in flight, for want of room; its bytes, or `None` if there is none.
    pub(super) fn expire_oldest(&mut self, now: Now) -> Option<(u64, u32)> {
        let waiting = self.waiting.keys().find(|seq| !self.in_flight.contains_key(seq)).copied();
        let fresh = self.fresh.front().map(|claimed| claimed.seq);
        let seq = waiting.into_iter().chain(fresh).min()?;
        let work = if Some(seq) == fresh {
            let claimed = self.fresh.pop_front()?;
            let behind = Behind::new(claimed, self.ordering);
            let is_free = behind.lane == 0 || !self.lanes.contains_key(&behind.lane);
            if is_free {
                let first = self.queue_up(behind)?;
                self.start_fresh(first)
            } else {
                // Its lane has an older head that is in flight, or would have been chosen: it is not in the lane yet.
                let bytes = behind.body_bytes;
                self.unsettled.remove(&seq);
                let settlement =
                    Settlement { seq, has_waited: false, attempts: 0, body_bytes: bytes, end: End::Expired };
                self.changes.push(Change::Settle(settlement));
                return Some((seq, bytes));
            }
        } else {
            let entry = self.waiting.get(&seq)?;
            self.due.remove(&(entry.due, seq));
            self.start_waiting(seq)?
        };
        let bytes = self.in_flight.get(&work.seq).map(|flight| flight.body_bytes);
        self.settle(work.seq, false, End::Expired, now);
        Some((work.seq, bytes?))
    }

    /// The changes since the last call, with the new lower bound if it moved.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let low = self.unsettled.first().map_or(self.cursor, |oldest| oldest - 1);
        if low > self.recorded_low {
            self.recorded_low = low;
            self.changes.push(Change::Low(low));
        }
        std::mem::take(&mut self.changes)
    }

    /// Puts a fresh delivery in its lane; gives it back if it is first there.
    fn queue_up(&mut self, behind: Behind) -> Option<Behind> {
        if behind.lane == 0 {
            return Some(behind);
        }
        let Some(lane) = self.lanes.get_mut(&behind.lane) else {
            self.lanes.insert(behind.lane, Lane { head: behind.seq, ..Lane::default() });
            return Some(behind);
        };
        if lane.is_waiting {
            let held = Held { seq: behind.seq, lane: behind.lane, body_bytes: behind.body_bytes };
            lane.held.push_back(held);
            self.held += 1;
            self.unsettled.remove(&behind.seq);
            self.changes.push(Change::Hold(held));
            return None;
        }
        let claimed = behind.claimed.filter(|_| self.behind < BEHIND_BODIES_MAX);
        lane.behind.push_back(Behind { claimed, ..behind });
        self.behind += 1;
        None
    }

    fn start_fresh(&mut self, behind: Behind) -> Work {
        let Behind { seq, lane, body_bytes, claimed } = behind;
        let flight = InFlight { lane, body_bytes, attempts: 0, is_replay: false, blocking_since: None };
        self.start_flight(seq, flight);
        Work { seq, number: 1, is_replay: false, claimed }
    }

    fn start_waiting(&mut self, seq: u64) -> Option<Work> {
        let waiting = self.waiting.get(&seq)?.waiting;
        self.start_flight(seq, InFlight::of(&waiting));
        Some(Work { seq, number: waiting.attempts + 1, is_replay: waiting.is_replay, claimed: None })
    }

    fn start_flight(&mut self, seq: u64, flight: InFlight) {
        self.replays.in_flight += usize::from(flight.is_replay);
        self.in_flight.insert(seq, flight);
    }

    fn end_flight(&mut self, seq: u64) -> Option<InFlight> {
        let flight = self.in_flight.remove(&seq)?;
        self.replays.in_flight -= usize::from(flight.is_replay);
        Some(flight)
    }
}

#[cfg(test)]
mod tests;
