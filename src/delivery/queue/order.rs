//! Lanes: who is the head, what it holds back and for how long, and who comes next.

use std::time::Duration;

use super::lane::Entry;
use super::{BLOCKING_MAX, Now, Queue};
use crate::store::{Change, Held, Waiting};

impl Queue {
    /// Adds a waiting delivery as the head of its lane.
    pub(super) fn insert_waiting(&mut self, waiting: Waiting, now: Now, left: Duration) {
        if waiting.lane != 0 {
            let lane = self.lanes.entry(waiting.lane).or_default();
            if lane.head != waiting.seq
                && let Some(until) = lane.blocks_until.take()
            {
                self.blocking.remove(&(until, waiting.lane, lane.head));
            }
            (lane.head, lane.is_waiting) = (waiting.seq, true);
            if let (None, Some(since)) = (lane.blocks_until, waiting.blocking_since) {
                let until = now.instant + (BLOCKING_MAX - now.wall.since(since).min(BLOCKING_MAX));
                lane.blocks_until = Some(until);
                self.blocking.insert((until, waiting.lane, waiting.seq));
            }
        }
        self.insert_loose(waiting, now, left);
    }

    /// Adds a waiting delivery that holds nothing back.
    pub(super) fn insert_loose(&mut self, waiting: Waiting, now: Now, left: Duration) {
        let due = now.instant + left;
        self.due.insert((due, waiting.seq));
        self.waiting.insert(waiting.seq, Entry { waiting, due });
    }

    /// The head has begun to wait: what was behind it in memory is held on disk.
    pub(super) fn hold_behind(&mut self, lane: u64, seq: u64) {
        let Some(lane) = self.lanes.get_mut(&lane).filter(|lane| lane.head == seq) else { return };
        for behind in lane.behind.drain(..) {
            let held = Held { seq: behind.seq, lane: behind.lane, body_bytes: behind.body_bytes };
            lane.held.push_back(held);
            self.changes.push(Change::Hold(held));
            self.unsettled.remove(&behind.seq);
            self.behind -= 1;
            self.held += 1;
        }
    }

    /// The head of a lane is gone, or blocks it no longer: the next one takes its place.
    pub(super) fn advance(&mut self, number: u64, seq: u64, now: Now) {
        let Some(lane) = self.lanes.get_mut(&number).filter(|lane| lane.head == seq) else { return };
        if let Some(until) = lane.blocks_until.take() {
            self.blocking.remove(&(until, number, seq));
        }
        if let Some(replay) = lane.replays.pop_front() {
            self.promote(&replay, now);
        } else if let Some(held) = lane.held.pop_front() {
            self.held -= 1;
            self.release(held, now);
        } else if let Some(behind) = lane.behind.pop_front() {
            (lane.head, lane.is_waiting) = (behind.seq, false);
            self.behind -= 1;
            self.ready.push_back(behind);
        } else {
            self.lanes.remove(&number);
        }
    }

    /// A held delivery becomes the head of its lane, due at once.
    pub(super) fn release(&mut self, held: Held, now: Now) {
        let waiting = Waiting {
            seq: held.seq,
            lane: held.lane,
            body_bytes: held.body_bytes,
            attempts: 0,
            is_replay: false,
            delay: Duration::ZERO,
            due_at: now.wall,
            blocking_since: None,
        };
        self.changes.push(Change::Wait(waiting));
        self.insert_waiting(waiting, now, Duration::ZERO);
    }

    /// The time of a pause is over, and it was nobody's fault: failing heads hold back their lanes for as long as if
    /// they had begun to now.
    pub(in crate::delivery) fn renew_blocking(&mut self, now: Now) {
        let until = now.instant + BLOCKING_MAX;
        for (_, number, seq) in std::mem::take(&mut self.blocking) {
            if let Some(lane) = self.lanes.get_mut(&number) {
                lane.blocks_until = Some(until);
                self.blocking.insert((until, number, seq));
            }
        }
    }

    pub(super) fn end_blocking(&mut self, now: Now) {
        while let Some(&(at, lane, seq)) = self.blocking.first() {
            if at > now.instant {
                return;
            }
            self.blocking.remove(&(at, lane, seq));
            self.advance(lane, seq, now);
        }
    }
}
