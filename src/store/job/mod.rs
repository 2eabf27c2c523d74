//! Jobs: an operator's work on what is stored, in small steps.
//!
//! A job looks at rows in the order of their keys, a page at a time, on a connection that only reads ([`Survey`]). Each
//! page becomes one [`Step`] in the writer's next commit: there every row is judged again, what is to be done with it is
//! done, and the job's own row moves on with it. So a commit is never held up, and a crash leaves a job where its last
//! commit was: nothing is done twice, nothing is left out.
//!
//! A replay makes a delivery wait that is over: due at once, with the event id it always had. Nothing is replayed that
//! is pending (waiting, held, under way or not reached yet), or that was delivered, unless that is asked for.

mod door;
mod order;
mod parked;
mod row;
mod step;
mod stored;
mod superseded;
mod survey;
#[cfg(test)]
pub(super) mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use order::{EventChoice, LetterChoice, Order, QuarantineChoice};
pub(super) use step::Handed;
pub(crate) use step::Step;
pub(crate) use stored::Stored;
pub(crate) use survey::{Kept, Page, Survey, Surveys};

use crate::clock::Timestamp;

/// A piece of an operator's work, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) order: Order,
    pub(crate) state: JobState,
    pub(crate) counts: Counts,
    pub(crate) created_at_ms: u64,
    pub(crate) ended_at_ms: Option<u64>,
    /// Everything up to here was looked at; of what REST lists, so many rows.
    pub(super) cursor: Cursor,
    /// Events accepted and messages put into quarantine later than this are not meant.
    pub(super) last: u64,
    /// Why it does not move, while it does not; nobody needs to know after a restart.
    #[serde(skip)]
    pub(crate) trouble: Option<String>,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub(crate) enum JobState {
    Running,
    Done,
    /// By an operator; what was done stays done.
    Cancelled,
    /// It cannot go on, for this reason.
    Failed(String),
}

/// What a job has done, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Rows looked at.
    pub(crate) seen: u64,
    /// Of these: meant by the filter. The sum of all below but `superseded`.
    pub(crate) matched: u64,
    /// Replayed, dropped, or accepted from quarantine.
    pub(crate) done: u64,
    /// Left alone: the sink had it already.
    pub(crate) delivered: u64,
    /// Left alone: on its way already.
    pub(crate) waiting: u64,
    /// Left alone: `skip_superseded` was asked for, and a newer event of the lane went to the sink since.
    pub(crate) skipped: u64,
    /// Gone meanwhile, or the message is no longer kept.
    pub(crate) gone: u64,
    /// Left alone: its sink is not configured, or the message is still unusable or wanted by no route.
    pub(crate) left: u64,
    /// Of those matched: a newer event of the lane went to the same sink since; as far as that was looked for.
    pub(crate) superseded: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.matched += other.matched;
        self.done += other.done;
        self.delivered += other.delivered;
        self.waiting += other.waiting;
        self.skipped += other.skipped;
        self.gone += other.gone;
        self.left += other.left;
        self.superseded += other.superseded;
    }
}

/// The key of the last row that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(super) sink: u32,
    pub(super) seq: u64,
}

impl Job {
    /// One that has not begun. Its number is given with its first commit.
    pub(crate) fn new(order: Order, now: Timestamp) -> Self {
        Self {
            number: 0,
            order,
            state: JobState::Running,
            counts: Counts::default(),
            created_at_ms: now.0,
            ended_at_ms: None,
            cursor: Cursor::default(),
            last: u64::MAX,
            trouble: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// Rows that were looked at, of those that REST lists.
    pub(crate) fn looked_at(&self) -> u64 {
        self.cursor.seq
    }

    /// As it will be when it has ended in that way.
    pub(crate) fn ended(mut self, state: JobState, now: Timestamp) -> Self {
        (self.state, self.ended_at_ms, self.trouble) = (state, Some(now.0), None);
        self
    }
}
