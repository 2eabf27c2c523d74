//! The thread that writes.
//!
//! It takes every command that has gathered (see [`Plan`]), applies them in one transaction and commits; while that
//! fsync runs, the next batch gathers. An accept that finds no room (quota reached, disk full) is put aside, and intake
//! with it, while settlements go on; it is tried again with every later commit.
//!
//! Woken by a command, ticks included; stopped by [`Command::Close`] or by the end of all handles; ends the process on
//! any error but "no space".

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::accept::Accepting;
use super::bell::Bell;
use super::gap;
use super::job::{Handed, Job, Step};
use super::lock::Lock;
use super::lookup;
use super::owned::{Mark, Observed};
use super::plan::Plan;
use super::room::{Room, Waits, Want};
use super::roster::RosterChange;
use super::space::{Space, is_full};
use super::transaction::Transaction;
use super::vouch::Vouch;
use super::{Candidate, Change, End, Quarantined, SinkId};
use crate::budget::Spent;
use crate::clock::{Clock, monotonic};
use crate::config::{OnFull, SinkName};
use crate::lifecycle::kill_point;
use crate::metrics::{Metrics, SinkMetrics};

const FULL_PAUSE: Duration = Duration::from_millis(200);

pub(super) enum Command {
    Accept {
        events: Vec<Candidate>,
        marks: Vec<Mark>,
        permit: OwnedSemaphorePermit,
    },
    /// What was observed of owners and the events about it, in one transaction; answered when it is durable.
    Observe {
        observed: Vec<Observed>,
        events: Vec<Candidate>,
        done: oneshot::Sender<()>,
    },
    Changes {
        sink: SinkId,
        changes: Vec<Change>,
        places: OwnedSemaphorePermit,
    },
    Quarantine(Quarantined),
    /// The newest counts.
    Spent(Spent),
    Gap(gap::Pending),
    /// Answered when the rows are durable; the answer is dropped with them if there is no room.
    Index {
        rows: Vec<lookup::Row>,
        done: oneshot::Sender<()>,
    },
    /// Answered with the job as it stands when the step is durable; the answer is dropped if its sink has enough to do,
    /// or if there is no room.
    Step {
        step: Box<Step>,
        done: oneshot::Sender<Job>,
    },
    Tick,
    Roster(RosterChange),
    /// Answered when everything before it is durable.
    Sync {
        done: oneshot::Sender<()>,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

/// What the writer keeps of a configured sink.
pub(super) struct SinkState {
    pub(super) id: SinkId,
    pub(super) name: SinkName,
    pub(super) on_full: OnFull,
    pub(super) backlog_bytes_max: u64,
    pub(super) bell: Arc<Bell>,
    pub(super) metrics: Arc<SinkMetrics>,
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) clock: Clock,
    pub(super) accepting: Accepting,
    pub(super) sinks: Vec<SinkState>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) space: Space,
    pub(super) waits: Waits,
    pub(super) vouch: Vouch,
    pub(super) lock: Lock,
}

impl Writer {
    /// Serves commands until the end. The error is the reason why the process has to end.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), String> {
        match self.serve(&mut commands) {
            Ok(Some(done)) => self.close(done),
            Ok(None) => Ok(()),
            Err(error) => {
                // To fold the log into the file now would rest on a sync that may say it worked and has not.
                let _kept = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                Err(describe(&error))
            }
        }
    }

    /// Who asked for the end, if anybody did.
    fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> rusqlite::Result<Option<oneshot::Sender<()>>> {
        let mut plan = Plan::default();
        while plan.gather(commands).is_some() {
            self.commit(&mut plan)?;
            plan.answer_synced();
            if !plan.has_changes() {
                plan.roster.drain(..).try_for_each(|change| self.change_roster(change))?;
            }
            if std::mem::take(&mut plan.has_tick) || self.space.is_pressed() {
                self.look_after()?;
            }
            if let Some(done) = plan.close.take() {
                return Ok(Some(done));
            }
        }
        Ok(None)
    }

    fn close(self, done: oneshot::Sender<()>) -> Result<(), String> {
        let Self { connection, lock, .. } = self;
        connection.close().map_err(|(_, error)| format!("cannot close the store: {error}"))?;
        drop(lock);
        // An error says that the caller no longer waits.
        let _unwanted = done.send(());
        Ok(())
    }

    /// Commits what has gathered. Events that find no room stay in the plan, and whoever handed them over waits.
    fn commit(&mut self, plan: &mut Plan) -> rusqlite::Result<()> {
        let has_room = self.has_room()?;
        plan.steps.retain(|(step, _)| self.takes(step));
        if !has_room {
            plan.indexes.clear();
        }
        let with_events = has_room && (!plan.events.is_empty() || !plan.owned.is_empty());
        if !with_events && !plan.has_changes() {
            return Ok(());
        }
        match self.try_commit(plan, with_events) {
            Err(error) if is_full(&error) => self.commit_without_room(plan, &error),
            other => other,
        }
    }

    /// The disk is full: settlements go first, with the room that was kept for them; events wait.
    fn commit_without_room(&mut self, plan: &mut Plan, error: &rusqlite::Error) -> rusqlite::Result<()> {
        self.space.disk_is_full(error);
        plan.indexes.clear();
        plan.steps.clear();
        self.waits.set(Some(Want::Disk));
        match self.try_commit(plan, false) {
            Err(error) if is_full(&error) => {
                std::thread::park_timeout(FULL_PAUSE);
                Ok(())
            }
            other => other,
        }
    }

    fn has_room(&mut self) -> rusqlite::Result<bool> {
        let full = self.sinks.iter().find(|sink| sink.makes_intake_wait());
        let room = match full {
            Some(sink) => Room::None(Want::Backlog(sink.name.clone())),
            None => self.space.room(&self.connection)?,
        };
        let has_room = room == Room::Some;
        self.waits.set(if let Room::None(want) = room { Some(want) } else { None });
        Ok(has_room)
    }

    fn try_commit(&mut self, plan: &mut Plan, with_events: bool) -> rusqlite::Result<()> {
        let started = monotonic();
        let now = self.clock.now();
        let events = if with_events { std::mem::take(&mut plan.events) } else { Vec::new() };
        let offer = self.accepting.judge(events, now);
        kill_point("store-before-commit");
        let served: Vec<SinkId> = self.sinks.iter().map(|sink| sink.id).collect();
        let (connection, accepting) = (&mut self.connection, &mut self.accepting);
        let steps = match write(connection, accepting, &offer, &Written { plan, with_events, served: &served, now }) {
            Ok(steps) => steps,
            Err(error) => {
                let events = self.accepting.take_back(offer);
                if with_events {
                    plan.events = events;
                }
                return Err(error);
            }
        };
        if let Some(newest) = offer.newest() {
            self.vouch.note(newest);
        }
        kill_point("store-after-commit");
        self.metrics.store.commits.observe(started.elapsed());
        self.count(plan);
        plan.changes.clear();
        plan.quarantine.clear();
        plan.spent = None;
        plan.gaps.drain(..).for_each(gap::Pending::answer);
        for (_, done) in plan.indexes.drain(..) {
            // Whoever no longer waits was aborted.
            let _unwanted = done.send(());
        }
        self.finish_steps(plan, steps);
        if with_events {
            self.accepting.publish(offer, &self.sinks);
            plan.permits.clear();
            plan.owned.finish();
        }
        Ok(())
    }

    /// Whether there is place for the replays of a step.
    fn takes(&self, step: &Step) -> bool {
        let mut has_place = true;
        for (id, bytes) in step.replay_bytes() {
            let sink = self.sinks.iter().find(|sink| sink.id == id);
            has_place &= sink.is_none_or(|sink| sink.has_place_for(bytes));
        }
        has_place
    }

    /// What steps have made wait goes to the sinks, now that it is durable.
    fn finish_steps(&self, plan: &mut Plan, steps: Vec<(Job, Handed)>) {
        for ((_, done), (job, handed)) in plan.steps.drain(..).zip(steps) {
            for sink in &self.sinks {
                let own = handed.iter().filter(|(id, _)| *id == sink.id);
                sink.replay(own.map(|(_, replay)| replay.clone()).collect());
            }
            // Whoever no longer waits finds the job's row.
            let _unwanted = done.send(job);
        }
    }

    /// Brings the sinks' gauges and counts up to date with changes that are durable now.
    fn count(&self, plan: &Plan) {
        self.metrics.intake.quarantined.add(plan.quarantine.len() as u64);
        for (id, changes, _) in &plan.changes {
            let Some(sink) = self.sinks.iter().find(|sink| sink.id == *id) else { continue };
            changes.iter().for_each(|change| sink.count(change));
        }
    }

    /// Retention, space and memory, a step at a time.
    fn look_after(&mut self) -> rusqlite::Result<()> {
        let now = self.clock.now();
        let known = self.accepting.known_mut();
        self.space.step(&mut self.connection, known, now)?;
        self.metrics.store.known_ids.set(self.accepting.known_mut().len() as u64);
        Ok(())
    }
}

/// What a commit is made of, beside events.
struct Written<'a> {
    plan: &'a Plan,
    with_events: bool,
    /// The sinks that are configured.
    served: &'a [SinkId],
    now: crate::clock::Timestamp,
}

fn write(
    connection: &mut Connection,
    accepting: &mut Accepting,
    offer: &super::accept::Offer,
    written: &Written<'_>,
) -> rusqlite::Result<Vec<(Job, Handed)>> {
    let Written { plan, with_events, served, now } = *written;
    let mut transaction = Transaction::begin(connection)?;
    let new_routes = accepting.write(offer, &mut transaction)?;
    if with_events {
        accepting.owned.write(transaction.connection(), &plan.owned)?;
    }
    for (sink, changes, _) in &plan.changes {
        changes.iter().try_for_each(|change| transaction.change(*sink, change, now))?;
    }
    plan.quarantine.iter().try_for_each(|message| transaction.quarantine(message, now))?;
    plan.spent.iter().try_for_each(|spent| transaction.spent(spent))?;
    plan.gaps.iter().try_for_each(|gap| transaction.gap(gap))?;
    plan.indexes.iter().flat_map(|(rows, _)| rows).try_for_each(|row| transaction.index(row))?;
    // After the changes, so that what was settled by now is seen.
    let steps = plan.steps.iter().map(|(step, _)| transaction.step(step, served, now)).collect::<Result<_, _>>()?;
    kill_point("store-in-commit");
    transaction.commit()?;
    accepting.learn(new_routes);
    Ok(steps)
}

fn describe(error: &rusqlite::Error) -> String {
    format!(
        "cannot write the store: {error}; nothing more is written or sent, and what was accepted is safe; before the \
         relay is started again look at the volume (`dmesg`) and, if that is well, at the store (`cspr-relay store verify`)"
    )
}

impl SinkState {
    fn makes_intake_wait(&self) -> bool {
        self.on_full == OnFull::Wait && self.metrics.pending_bytes.value() > self.backlog_bytes_max
    }

    /// Replays must neither crowd out what is new, nor be what a backlog expires for.
    fn has_place_for(&self, bytes: u64) -> bool {
        !self.bell.is_busy() && self.metrics.pending_bytes.value() + bytes <= self.backlog_bytes_max
    }

    fn replay(&self, replays: Vec<super::Replay>) {
        if replays.is_empty() {
            return;
        }
        self.metrics.pending.add(replays.len() as u64);
        self.metrics.pending_bytes.add(replays.iter().map(|replay| u64::from(replay.waiting.body_bytes)).sum());
        self.bell.replay(replays);
    }

    fn count(&self, change: &Change) {
        let Change::Settle(settlement) = change else { return };
        self.metrics.pending.subtract(1);
        self.metrics.pending_bytes.subtract(settlement.body_bytes.into());
        match &settlement.end {
            End::Delivered { .. } => self.metrics.delivered.increment(),
            End::Dead { cause, .. } => self.metrics.note_dead(cause),
            End::Expired => self.metrics.expired.increment(),
        }
    }
}
