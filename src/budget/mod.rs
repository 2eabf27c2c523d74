//! How often CSPR.cloud's REST API may be asked: by the minute, by the day, and by whom first. A pure structure.
//!
//! The rule, in full:
//! - In any 60 seconds at most `per_minute` requests, in any 24 hours at most `per_day`. The day is counted in hours, and
//!   an hour is forgotten when all of it is a day old, so the count may only be too high.
//! - Whoever waits for a more urgent [`Purpose`] goes first, and within a purpose whoever came first.
//! - Each purpose leaves a part of both limits to those more urgent ([`Purpose::share`]): a backfill never takes the
//!   last request of a day in which there may be a gap to repair.
//! - When the server wants fewer requests, nobody asks until the moment that it named.
//!
//! The day survives restarts as [`Spent`]. Within a process it runs on monotonic time; over a restart the wall clock
//! says how long the process was away. One set back counts as no time, one set forth forgets too early, and then the
//! server's own limit holds.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Those of a day, and the one under way.
const HOURS_MAX: usize = 25;

/// What a request is for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// What happened in a gap.
    Repair,
    /// Who owns what, where something just changed.
    Due,
    /// Who owns what, all of it.
    Reconcile,
    /// What was there before, what an operator looks up, and whether a stream has told everything.
    Backfill,
}

/// What was asked in the last day, as it is kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// When the newest of the hours began.
    pub(crate) at: Timestamp,
    /// Requests by the hour, the newest first.
    pub(crate) hours: Vec<u64>,
}

/// The limits, and what was spent of them.
#[derive(Debug)]
pub(crate) struct Budget {
    per_minute: usize,
    per_day: u64,
    /// The turns of the last minute, oldest first.
    minute: VecDeque<Instant>,
    /// The turns of the last hours, the newest first; never empty.
    hours: VecDeque<u64>,
    hour_began: Instant,
    held_until: Option<Instant>,
    waiting: BTreeSet<Ticket>,
    tickets: u64,
}

/// A place among those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    purpose: Purpose,
    number: u64,
}

/// Whether a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    /// Not before this moment.
    At(Instant),
    /// When those ahead have had their turn.
    Behind,
}

impl Purpose {
    pub(crate) const ALL: [Self; 4] = [Self::Repair, Self::Due, Self::Reconcile, Self::Backfill];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Due => "due",
            Self::Reconcile => "reconcile",
            Self::Backfill => "backfill",
        }
    }

    /// How much of `limit` it may use. What it leaves to others is rounded down, so a limit of one is for everybody.
    fn share(self, limit: u64) -> u64 {
        let left_percent = match self {
            Self::Repair => 0,
            Self::Due => 10,
            Self::Reconcile => 30,
            Self::Backfill => 50,
        };
        limit - limit.saturating_mul(left_percent) / 100
    }
}

impl Budget {
    pub(crate) fn new(per_minute: usize, per_day: u64, now: Instant) -> Self {
        Self {
            per_minute,
            per_day,
            minute: VecDeque::new(),
            hours: VecDeque::from([0]),
            hour_began: now,
            held_until: None,
            waiting: BTreeSet::new(),
            tickets: 0,
        }
    }

    /// Goes on with what an earlier process spent.
    pub(crate) fn resume(&mut self, spent: &Spent, wall: Timestamp, now: Instant) {
        if spent.hours.is_empty() {
            return;
        }
        let away = wall.since(spent.at);
        let into_hour = Duration::from_secs(away.as_secs() % HOUR.as_secs());
        let whole_hours = usize::try_from(away.as_secs() / HOUR.as_secs()).unwrap_or(usize::MAX);
        // Soon after the machine started there may be no such moment; then the hour ends later.
        self.hour_began = now.checked_sub(into_hour).unwrap_or(now);
        self.hours = std::iter::repeat_n(0, whole_hours.min(HOURS_MAX)).chain(spent.hours.iter().copied()).collect();
        self.hours.truncate(HOURS_MAX);
    }

    /// What is to be kept, at a moment that the wall clock calls `wall`.
    pub(crate) fn spent(&self, wall: Timestamp, now: Instant) -> Spent {
        let into_hour = u64::try_from(now.saturating_duration_since(self.hour_began).as_millis()).unwrap_or(u64::MAX);
        Spent { at: Timestamp(wall.0.saturating_sub(into_hour)), hours: self.hours.iter().copied().collect() }
    }

    /// Requests of the last day.
    pub(crate) fn day(&self) -> u64 {
        self.hours.iter().sum()
    }

    /// Joins those who wait; [`Self::leave`] has to follow.
    pub(crate) fn join(&mut self, purpose: Purpose) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket { purpose, number: self.tickets };
        self.waiting.insert(ticket);
        ticket
    }

    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The server wants nobody to ask before `until`.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// Whether `ticket` may ask now; then it is counted.
    pub(crate) fn turn(&mut self, ticket: Ticket, now: Instant) -> Turn {
        self.forget(now);
        if self.waiting.first() != Some(&ticket) {
            return Turn::Behind;
        }
        let waits = [self.held_until, self.minute_frees(ticket.purpose), self.day_frees(ticket.purpose)];
        if let Some(until) = waits.into_iter().flatten().filter(|until| *until > now).max() {
            return Turn::At(until);
        }
        self.minute.push_back(now);
        if let Some(newest) = self.hours.front_mut() {
            *newest += 1;
        }
        Turn::Now
    }

    fn forget(&mut self, now: Instant) {
        while self.minute.front().is_some_and(|turn| *turn + MINUTE <= now) {
            self.minute.pop_front();
        }
        while self.hour_began + HOUR <= now {
            self.hour_began += HOUR;
            self.hours.push_front(0);
            self.hours.truncate(HOURS_MAX);
        }
    }

    /// When the last minute has room, if it has none now.
    fn minute_frees(&self, purpose: Purpose) -> Option<Instant> {
        let share = usize::try_from(purpose.share(self.per_minute as u64)).unwrap_or(usize::MAX);
        let blocking = self.minute.len().checked_sub(share)?;
        self.minute.get(blocking).map(|turn| *turn + MINUTE)
    }

    /// When the last day has room, if it has none now.
    fn day_frees(&self, purpose: Purpose) -> Option<Instant> {
        let mut left = self.day();
        let share = purpose.share(self.per_day);
        if left < share {
            return None;
        }
        // The oldest goes first: the last of the hours when the next one begins, each other an hour after that.
        let mut goes = self.hour_began + HOUR * u32::try_from(HOURS_MAX - self.hours.len() + 1).unwrap_or(1);
        for turns in self.hours.iter().rev() {
            left -= turns;
            if left < share {
                break;
            }
            goes += HOUR;
        }
        Some(goes)
    }
}

#[cfg(test)]
mod tests;
