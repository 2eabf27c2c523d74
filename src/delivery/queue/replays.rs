//! Replays: deliveries that were over and that an operator asked for again.
//!
//! On disk a replay is a waiting row like any other. In memory it stays apart until it was tried once: it goes when its
//! lane is free, so that a lane still has one delivery under way, and behind a busy lane it goes before what is held
//! there, which is newer as a rule. Replays of a lane keep the order in which they came. From its first failure on, a
//! replay is a waiting delivery and no different from the others.

use std::collections::VecDeque;

use super::lane::{Entry, InFlight, Lane, Replay};
use super::{Duration, Now, Ordering, Queue, Work};
use crate::store::Waiting;

#[derive(Debug, Default)]
pub(super) struct Replays {
    /// Not looked at yet, in the order in which they came.
    untried: VecDeque<Replay>,
    /// Of those in `untried` and those behind a busy lane.
    pub(super) count: usize,
    pub(super) in_flight: usize,
}

/// Whether nothing was tried of it since it was asked for.
pub(super) fn is_untried(waiting: &Waiting) -> bool {
    waiting.is_replay && waiting.attempts == 0 && waiting.blocking_since.is_none()
}

impl Queue {
    /// Takes replays that the store has made durable.
    pub(in crate::delivery) fn add_replays(&mut self, replays: impl IntoIterator<Item = Replay>) {
        for mut replay in replays {
            if self.ordering == Ordering::None {
                replay.waiting.lane = 0;
            }
            self.replays.untried.push_back(replay);
            self.replays.count += 1;
        }
    }

    pub(in crate::delivery) fn has_replay(&self) -> bool {
        !self.replays.untried.is_empty()
    }

    pub(in crate::delivery) fn replays_in_flight(&self) -> usize {
        self.replays.in_flight
    }

    /// The next replay to attempt, if one can go. It counts as in flight from here on.
    pub(in crate::delivery) fn next_replay(&mut self, now: Now) -> Option<Work> {
        while let Some(replay) = self.replays.untried.pop_front() {
            let lane = replay.waiting.lane;
            match self.lanes.get_mut(&lane).filter(|_| lane != 0) {
                Some(busy) => busy.replays.push_back(replay),
                None => return Some(self.start_replay(replay, now)),
            }
        }
        None
    }

    fn start_replay(&mut self, replay: Replay, now: Now) -> Work {
        let Replay { waiting, claimed } = replay;
        self.replays.count -= 1;
        if waiting.lane != 0 {
            self.lanes.insert(waiting.lane, Lane { head: waiting.seq, ..Lane::default() });
        }
        self.waiting.insert(waiting.seq, Entry { waiting, due: now.instant });
        self.start_flight(waiting.seq, InFlight::of(&waiting));
        Work { seq: waiting.seq, number: 1, is_replay: true, claimed }
    }

    /// A replay that was behind the head of its lane becomes the head, due at once.
    pub(super) fn promote(&mut self, replay: &Replay, now: Now) {
        self.replays.count -= 1;
        self.insert_waiting(replay.waiting, now, Duration::ZERO);
        self.hold_behind(replay.waiting.lane, replay.waiting.seq);
    }
}
