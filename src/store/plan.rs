//! What gathers for one commit.
//!
//! A batch is whatever has come while the last one was synced. Changes of queues alone wait a little longer, for
//! [`GATHERING`]: otherwise a sink that is slower than the disk would pay for a commit with every few of its
//! settlements. Nobody waits for them; whatever somebody waits for, an event above all, ends the waiting.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park_timeout};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::gap;
use super::job::{Job, Step};
use super::lookup;
use super::owned;
use super::roster::RosterChange;
use super::writer::Command;
use super::{Candidate, Change, Quarantined, SinkId, UNRECORDED_MAX};
use crate::budget::Spent;
use crate::clock::monotonic;

/// Commands taken into one commit.
const COMMIT_COMMANDS_MAX: usize = 512;
/// Events taken into one commit, beyond the accept that reaches it.
const COMMIT_EVENTS_MAX: usize = 1024;
/// How long changes of queues wait for others to share a commit with, while nobody waits for them.
const GATHERING: Duration = Duration::from_millis(5);
/// So many do not wait: half of what one sink may have unrecorded, so that it need not wait for their places.
const GATHERED_MAX: usize = UNRECORDED_MAX / 2;

/// What has gathered for the next commit. What a commit has done is gone from it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) events: Vec<Candidate>,
    /// The places of those who handed the events over.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
    /// Written together with the events, or not at all.
    pub(super) owned: owned::Plan,
    /// With the places of the settlements among them.
    pub(super) changes: Vec<(SinkId, Vec<Change>, OwnedSemaphorePermit)>,
    pub(super) quarantine: Vec<Quarantined>,
    pub(super) spent: Option<Spent>,
    pub(super) gaps: Vec<gap::Pending>,
    pub(super) indexes: Vec<(Vec<lookup::Row>, oneshot::Sender<()>)>,
    pub(super) steps: Vec<(Box<Step>, oneshot::Sender<Job>)>,
    pub(super) synced: Vec<oneshot::Sender<()>>,
    pub(super) roster: Vec<RosterChange>,
    pub(super) close: Option<oneshot::Sender<()>>,
    pub(super) has_tick: bool,
}

impl Plan {
    fn add(&mut self, command: Command) {
        match command {
            Command::Accept { events, marks, permit } => {
                self.events.extend(events);
                self.owned.marks.extend(marks);
                self.permits.push(permit);
            }
            Command::Observe { observed, events, done } => {
                self.events.extend(events);
                self.owned.observed.extend(observed);
                self.owned.done.push(done);
            }
            Command::Changes { sink, changes, places } => self.changes.push((sink, changes, places)),
            Command::Quarantine(message) => self.quarantine.push(message),
            Command::Spent(spent) => self.spent = Some(spent),
            Command::Gap(change) => self.gaps.push(change),
            Command::Index { rows, done } => self.indexes.push((rows, done)),
            Command::Step { step, done } => self.steps.push((step, done)),
            Command::Tick => self.has_tick = true,
            Command::Roster(change) => self.roster.push(change),
            Command::Sync { done } => self.synced.push(done),
            Command::Close { done } => self.close = Some(done),
        }
    }

    /// Waits for a command, then takes what else is there, and what comes while that can wait.
    pub(super) fn gather(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<()> {
        self.add(commands.blocking_recv()?);
        self.take_waiting(commands);
        let until = monotonic() + GATHERING;
        while self.can_wait()
            && let Some(next) = next_by(until, commands)
        {
            self.add(next);
            self.take_waiting(commands);
        }
        Some(())
    }

    fn take_waiting(&mut self, commands: &mut mpsc::Receiver<Command>) {
        for _ in 1..COMMIT_COMMANDS_MAX {
            if self.events.len() >= COMMIT_EVENTS_MAX {
                break;
            }
            let Ok(next) = commands.try_recv() else { break };
            self.add(next);
        }
    }

    /// Whether there is nothing in it that anybody waits for, and little of the rest.
    fn can_wait(&self) -> bool {
        let is_awaited = !self.permits.is_empty()
            || !self.owned.is_empty()
            || !self.quarantine.is_empty()
            || self.spent.is_some()
            || !self.indexes.is_empty()
            || !self.steps.is_empty()
            || !self.synced.is_empty()
            || !self.roster.is_empty()
            || self.close.is_some()
            || self.has_tick;
        !is_awaited && self.changes.iter().map(|(_, changes, _)| changes.len()).sum::<usize>() < GATHERED_MAX
    }

    /// Answers whoever waits for the changes to be durable, if they are.
    pub(super) fn answer_synced(&mut self) {
        if self.has_changes() {
            return;
        }
        for done in self.synced.drain(..) {
            // Whoever no longer waits was aborted.
            let _unwanted = done.send(());
        }
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
            || !self.quarantine.is_empty()
            || self.spent.is_some()
            || !self.gaps.is_empty()
            || !self.indexes.is_empty()
            || !self.steps.is_empty()
    }
}

/// The next command; none if it does not come by then, or no more can come. Without a timer of the runtime: this thread
/// does not depend on that to run.
fn next_by(until: Instant, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(next) = commands.poll_recv(&mut context) {
            return next;
        }
        let left = until.saturating_duration_since(monotonic());
        if left.is_zero() {
            return None;
        }
        park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
