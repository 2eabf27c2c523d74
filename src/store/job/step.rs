//! One step of a job, inside the transaction of a commit.

use rusqlite::{Connection, params};

use super::parked::Parked;
use super::{Counts, Job, JobState, Order, Page};
use crate::clock::Timestamp;
use crate::store::Claimed;
use crate::store::dead::DeadLetter;
use crate::store::format::{Damaged, Table, seal};
use crate::store::settled::Settled;
use crate::store::{Replay, SinkId, Waiting};

/// What a job wants done in the next commit: a page, or only its own row written.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) job: Job,
    pub(crate) page: Page,
}

/// A row that a job may do something with.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) sink: SinkId,
    /// Of the event; of a message of the quarantine its number.
    pub(super) seq: u64,
    pub(super) lane: u64,
    pub(super) body_bytes: u32,
    /// Whether the event was meant for this sink when it was accepted.
    pub(super) is_named: bool,
    pub(super) is_superseded: bool,
    pub(super) claimed: Option<Claimed>,
}

impl Candidate {
    pub(super) fn of_quarantine(number: u64) -> Self {
        let (sink, lane, body_bytes) = (SinkId(0), 0, 0);
        Self { sink, seq: number, lane, body_bytes, is_named: false, is_superseded: false, claimed: None }
    }
}

/// Replays to be handed to their sinks once they are durable.
pub(in crate::store) type Handed = Vec<(SinkId, Replay)>;

/// What is to become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Do,
    Delivered,
    Waiting,
    Skipped,
    Gone,
    Left,
}

impl Counts {
    pub(super) fn note(&mut self, verdict: Verdict) {
        self.matched += 1;
        *match verdict {
            Verdict::Do => &mut self.done,
            Verdict::Delivered => &mut self.delivered,
            Verdict::Waiting => &mut self.waiting,
            Verdict::Skipped => &mut self.skipped,
            Verdict::Gone => &mut self.gone,
            Verdict::Left => &mut self.left,
        } += 1;
    }
}

/// Judges rows as of one moment.
pub(super) struct Judge<'a> {
    pub(super) connection: &'a Connection,
    /// The sinks that are configured.
    pub(super) served: &'a [SinkId],
}

impl Judge<'_> {
    pub(super) fn judge(&self, order: &Order, row: &Candidate) -> rusqlite::Result<Verdict> {
        match order {
            order if order.is_replay() && !self.served.contains(&row.sink) => Ok(Verdict::Left),
            Order::ReplayDeadLetters { skip_superseded: true, .. } if row.is_superseded => Ok(Verdict::Skipped),
            Order::ReplayDeadLetters { .. } | Order::DropDeadLetters { .. } => self.letter(row),
            Order::ReplayEvents { again, .. } | Order::Backfill { again, .. } => self.event(row, *again),
            Order::RerouteQuarantined { .. } | Order::DropQuarantined { .. } => {
                let is_kept = self.has("SELECT 1 FROM quarantine WHERE number = ?1", &[row.seq])?;
                Ok(if is_kept { Verdict::Do } else { Verdict::Gone })
            }
            Order::DropParked { .. } => Ok(Verdict::Do),
        }
    }

    fn letter(&self, row: &Candidate) -> rusqlite::Result<Verdict> {
        let key = [u64::from(row.sink.0), row.seq];
        if self.waits(&key)? {
            return Ok(Verdict::Waiting);
        }
        let is_kept = self.has("SELECT 1 FROM dead WHERE sink = ?1 AND seq = ?2", &key)?;
        Ok(if is_kept { Verdict::Do } else { Verdict::Gone })
    }

    /// Invariant 2 of the store, read as a question.
    fn event(&self, row: &Candidate, again: bool) -> rusqlite::Result<Verdict> {
        let key = [u64::from(row.sink.0), row.seq];
        if self.waits(&key)? {
            return Ok(Verdict::Waiting);
        }
        match Settled::find(self.connection, row.sink, row.seq)? {
            Some(Ok(settled)) if !again && settled.delivered_at().is_some() => return Ok(Verdict::Delivered),
            // What is not known is not repeated unless that is asked for.
            Some(Err(Damaged)) if !again => return Ok(Verdict::Delivered),
            None if row.is_named && self.is_beyond_low(&key)? => return Ok(Verdict::Waiting),
            _ => {}
        }
        let is_kept = self.has("SELECT 1 FROM event WHERE seq = ?1", &[row.seq])?;
        Ok(if is_kept { Verdict::Do } else { Verdict::Gone })
    }

    fn waits(&self, key: &[u64]) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM waiting WHERE sink = ?1 AND seq = ?2
                   UNION ALL SELECT 1 FROM held WHERE sink = ?1 AND seq = ?2";
        self.has(sql, key)
    }

    fn is_beyond_low(&self, key: &[u64]) -> rusqlite::Result<bool> {
        self.has("SELECT 1 FROM cursor WHERE sink = ?1 AND low < ?2", key)
    }

    fn has(&self, sql: &str, key: &[u64]) -> rusqlite::Result<bool> {
        self.connection.prepare_cached(sql)?.exists(rusqlite::params_from_iter(key))
    }
}

impl Step {
    /// Only the job's own row is to be written.
    pub(crate) fn note(job: Job) -> Self {
        Self { job, page: Page::default() }
    }

    /// The job with what was done for its page already, and none of its rows.
    pub(crate) fn without_rows(self) -> Job {
        let Self { mut job, page } = self;
        job.counts.add(page.counts);
        job
    }

    /// Does what the page is about, or as much of it as fits a commit; the job as it stands then, and what is to be
    /// handed to sinks once this is durable.
    pub(in crate::store) fn apply(
        &self,
        connection: &Connection,
        served: &[SinkId],
        now: Timestamp,
    ) -> rusqlite::Result<(Job, Handed)> {
        let mut job = self.job.clone();
        if job.number == 0 {
            return Ok((job.begin(connection)?, Handed::new()));
        }
        if job.is_running() {
            let handed = self.work(connection, served, now, &mut job)?;
            job.write(connection)?;
            return Ok((job, handed));
        }
        job.write(connection)?;
        Ok((job, Handed::new()))
    }

    /// Works through the page, and moves the job on.
    fn work(
        &self,
        connection: &Connection,
        served: &[SinkId],
        now: Timestamp,
        job: &mut Job,
    ) -> rusqlite::Result<Handed> {
        let mut handed = Handed::new();
        let judge = Judge { connection, served };
        job.counts.add(self.page.counts);
        for row in &self.page.rows {
            let verdict = judge.judge(&job.order, row)?;
            job.counts.note(verdict);
            job.counts.superseded += u64::from(row.is_superseded);
            if verdict == Verdict::Do {
                let replay = row.carry_out(connection, &job.order, now)?;
                handed.extend(replay.map(|replay| (row.sink, replay)));
            }
        }
        job.cursor = self.page.cursor;
        let ended = match &job.order {
            Order::DropParked { sink } => Parked { connection, now, served }.drop_some(sink, &mut job.counts)?,
            _ => self.page.is_last.then_some(JobState::Done),
        };
        if let Some(state) = ended {
            (job.state, job.ended_at_ms) = (state, Some(now.0));
        }
        Ok(handed)
    }

    pub(in crate::store) fn replay_bytes(&self) -> impl Iterator<Item = (SinkId, u64)> {
        let rows = if self.job.order.is_replay() { self.page.rows.as_slice() } else { &[] };
        rows.iter().map(|row| (row.sink, row.body_bytes.into()))
    }
}

impl Candidate {
    fn carry_out(&self, connection: &Connection, order: &Order, now: Timestamp) -> rusqlite::Result<Option<Replay>> {
        match order {
            order if order.is_replay() => self.replay(connection, now).map(Some),
            Order::DropDeadLetters { .. } => DeadLetter::remove(connection, self.sink, self.seq).map(|()| None),
            Order::DropQuarantined { .. } => {
                let sql = "DELETE FROM quarantine WHERE number = ?1";
                connection.prepare_cached(sql)?.execute([self.seq]).map(|_| None)
            }
            _ => Ok(None),
        }
    }

    /// Makes the delivery wait, due at once.
    fn replay(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<Replay> {
        let waiting = Waiting {
            seq: self.seq,
            lane: self.lane,
            body_bytes: self.body_bytes,
            attempts: 0,
            is_replay: true,
            delay: std::time::Duration::ZERO,
            due_at: now,
            blocking_since: None,
        };
        let row = seal(Table::Waiting, &[self.sink.0.into(), self.seq], &waiting.encode());
        let sql = "INSERT INTO waiting VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![self.sink.0, self.seq, row])?;
        Ok(Replay { waiting, claimed: self.claimed.clone() })
    }
}

impl Order {
    /// What lies beyond is not meant: it came later.
    pub(super) fn extent(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let sql = match self {
            Self::RerouteQuarantined { .. } | Self::DropQuarantined { .. } => {
                "SELECT coalesce(max(number), 0) FROM quarantine"
            }
            _ => "SELECT coalesce(max(seq), 0) FROM event",
        };
        connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
    }
}
