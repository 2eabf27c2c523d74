//! The writes of one commit, row by row.

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::dead::DeadLetter;
use super::format::{Batch, Decoder, Encoder, Table, name_sum, seal, seal_into};
use super::gap;
use super::job::{Handed, Job, Step};
use super::lookup;
use super::settled::Settled;
use super::spent;
use super::{Attempt, Change, End, Held, Paused, Quarantined, Settlement, SinkId, Waiting};
use crate::budget::Spent;
use crate::clock::Timestamp;

/// Failed attempts of one delivery that are kept.
const ATTEMPTS_MAX: u64 = 200;

/// An open write transaction. Dropping it without [`Self::commit`] rolls it back.
pub(super) struct Transaction<'c> {
    inner: rusqlite::Transaction<'c>,
    row: Vec<u8>,
}

impl<'c> Transaction<'c> {
    pub(super) fn begin(connection: &'c mut rusqlite::Connection) -> rusqlite::Result<Self> {
        let inner = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self { inner, row: Vec::new() })
    }

    /// For what is read in it, and rows that only one place writes.
    pub(super) fn connection(&self) -> &rusqlite::Connection {
        &self.inner
    }

    /// The one fsync.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.inner.commit()
    }

    pub(super) fn event(&mut self, seq: u64, body: &[u8]) -> rusqlite::Result<()> {
        seal_into(&mut self.row, Table::Event, &[seq], body);
        self.inner.prepare_cached("INSERT INTO event VALUES (?1, ?2)")?.execute(params![seq, self.row])?;
        Ok(())
    }

    pub(super) fn batch(&self, batch: &Batch) -> rusqlite::Result<()> {
        let row = batch.encode();
        self.inner.prepare_cached("INSERT INTO batch VALUES (?1, ?2)")?.execute(params![batch.first, row])?;
        Ok(())
    }

    /// The number of a name, given to it now if it is new.
    pub(super) fn name(&self, kind: NameKind, text: &str) -> rusqlite::Result<u32> {
        number_of(&self.inner, kind, text)
    }

    pub(super) fn quarantine(&self, message: &Quarantined, at: Timestamp) -> rusqlite::Result<()> {
        let next = "SELECT coalesce(max(number), 0) + 1 FROM quarantine";
        let number: u64 = self.inner.prepare_cached(next)?.query_row([], |row| row.get(0))?;
        let mut out = Encoder::default();
        out.number(at.0).raw(&[message.stream.code()]).bytes(message.reason.as_bytes()).raw(&message.body);
        let row = seal(Table::Quarantine, &[number], &out.0);
        self.inner.prepare_cached("INSERT INTO quarantine VALUES (?1, ?2)")?.execute(params![number, row])?;
        Ok(())
    }

    pub(super) fn spent(&self, spent: &Spent) -> rusqlite::Result<()> {
        spent::write(&self.inner, spent)
    }

    pub(super) fn gap(&self, change: &gap::Pending) -> rusqlite::Result<()> {
        change.apply(&self.inner)
    }

    pub(super) fn leave_quarantine(&self, number: u64) -> rusqlite::Result<()> {
        self.inner.prepare_cached("DELETE FROM quarantine WHERE number = ?1")?.execute([number]).map(drop)
    }

    pub(super) fn index(&self, row: &lookup::Row) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO lookup VALUES (?1, ?2, ?3, ?4)";
        self.inner.prepare_cached(sql)?.execute(params![row.kind as u8, row.first, row.bucket, row.row]).map(drop)
    }

    pub(super) fn step(&self, step: &Step, served: &[SinkId], now: Timestamp) -> rusqlite::Result<(Job, Handed)> {
        step.apply(&self.inner, served, now)
    }

    pub(super) fn change(&self, sink: SinkId, change: &Change, now: Timestamp) -> rusqlite::Result<()> {
        match change {
            Change::Settle(settlement) => self.settle(sink, settlement, now),
            Change::Wait(waiting) => self.wait(sink, waiting),
            Change::Hold(held) => self.hold(sink, held),
            Change::Attempt(attempt) => self.attempt(sink, attempt),
            Change::Low(low) => {
                let sql = "INSERT INTO cursor VALUES (?1, ?2) ON CONFLICT DO UPDATE SET low = max(low, excluded.low)";
                self.inner.prepare_cached(sql)?.execute(params![sink.0, low]).map(drop)
            }
            Change::Pause(paused) => paused.write(&self.inner, sink),
            Change::Resume => Paused::remove(&self.inner, sink),
        }
    }

    fn settle(&self, sink: SinkId, settlement: &Settlement, now: Timestamp) -> rusqlite::Result<()> {
        let seq = settlement.seq;
        let waited =
            settlement.has_waited && self.delete("DELETE FROM waiting WHERE sink = ?1 AND seq = ?2", sink, seq)?;
        let mut settled = Settled::of(settlement, now);
        // Only a replay, which waits on disk, finds that it has ended before.
        if waited && settled.delivered_at().is_none() {
            let earlier = Settled::find(&self.inner, sink, seq)?.and_then(Result::ok);
            settled.before = earlier.and_then(|earlier| earlier.delivered_at());
        }
        settled.write(&self.inner, sink, seq)?;
        match &settlement.end {
            End::Dead { cause, reason } => self.bury(sink, settlement, cause, reason, now),
            // A replayed dead letter that arrived, or expired, is none any more.
            _ if waited => DeadLetter::remove(&self.inner, sink, seq),
            _ => Ok(()),
        }
    }

    fn wait(&self, sink: SinkId, waiting: &Waiting) -> rusqlite::Result<()> {
        let row = seal(Table::Waiting, &[sink.0.into(), waiting.seq], &waiting.encode());
        let sql = "INSERT OR REPLACE INTO waiting VALUES (?1, ?2, ?3)";
        self.inner.prepare_cached(sql)?.execute(params![sink.0, waiting.seq, row])?;
        self.delete("DELETE FROM held WHERE sink = ?1 AND seq = ?2", sink, waiting.seq).map(drop)
    }

    fn hold(&self, sink: SinkId, held: &Held) -> rusqlite::Result<()> {
        let row = seal(Table::Held, &[sink.0.into(), held.seq], &held.encode());
        let sql = "INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3)";
        self.inner.prepare_cached(sql)?.execute(params![sink.0, held.seq, row]).map(drop)
    }

    /// Attempts get numbers of the record's own: a replay counts anew, and a slow-down does not count at all. Beyond
    /// [`ATTEMPTS_MAX`] the last row is written over.
    fn attempt(&self, sink: SinkId, attempt: &Attempt) -> rusqlite::Result<()> {
        let next = "SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE sink = ?1 AND seq = ?2";
        let key = params![sink.0, attempt.seq];
        let number: u64 = self.inner.prepare_cached(next)?.query_row(key, |row| row.get(0))?;
        let number = number.min(ATTEMPTS_MAX);
        let row = seal(Table::Attempt, &[sink.0.into(), attempt.seq, number], &attempt.encode());
        let sql = "INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4)";
        self.inner.prepare_cached(sql)?.execute(params![sink.0, attempt.seq, number, row]).map(drop)
    }

    /// Copies all that is known of an event into a dead letter.
    fn bury(
        &self,
        sink: SinkId,
        settlement: &Settlement,
        cause: &str,
        reason: &str,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let seq = settlement.seq;
        let found = "SELECT first, row FROM batch WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
        let batch = self
            .inner
            .prepare_cached(found)?
            .query_row([seq], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?
            .and_then(|(first, row)| Batch::decode(first, &row).ok());
        let record = batch.as_ref().and_then(|batch| batch.numbered().find(|(number, _)| *number == seq));
        let (Some(batch), Some((_, record))) = (&batch, record) else {
            // Either it is a replay that died again, so that its letter stands, or the record is damaged.
            return DeadLetter::amend(&self.inner, sink, settlement, cause, reason, now);
        };
        let letter = DeadLetter::new(sink, settlement, record, batch.accepted_at);
        letter.with_end(cause, reason, now).insert(&self.inner)
    }

    fn delete(&self, sql: &str, sink: SinkId, seq: u64) -> rusqlite::Result<bool> {
        Ok(self.inner.prepare_cached(sql)?.execute(params![sink.0, seq])? > 0)
    }
}

/// What a name names; the numbers are on disk.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum NameKind {
    Sink = 1,
    Route = 2,
}

pub(super) fn number_of(connection: &rusqlite::Connection, kind: NameKind, text: &str) -> rusqlite::Result<u32> {
    let find = "SELECT number FROM name WHERE kind = ?1 AND text = ?2";
    let found = connection.prepare_cached(find)?.query_row(params![kind as u8, text], |row| row.get(0)).optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    let next = "SELECT coalesce(max(number), 0) + 1 FROM name";
    let number = connection.prepare_cached(next)?.query_row([], |row| row.get(0))?;
    let add = "INSERT INTO name (number, kind, text, sum) VALUES (?1, ?2, ?3, ?4)";
    let sum = name_sum(number, kind as u8, text);
    connection.prepare_cached(add)?.execute(params![number, kind as u8, text, sum])?;
    Ok(number)
}

type Parsed<T> = Result<T, super::format::Damaged>;

impl Waiting {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&self.lane.to_be_bytes())
            .number(self.body_bytes.into())
            .number(self.attempts.into())
            .raw(&[u8::from(self.is_replay)])
            .number(u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX))
            .number(self.due_at.0)
            .number(self.blocking_since.map_or(0, |since| since.0));
        out.0
    }

    pub(super) fn decode(seq: u64, payload: &[u8]) -> Parsed<Self> {
        let mut input = Decoder(payload);
        Ok(Self {
            seq,
            lane: u64::from_be_bytes(input.array()?),
            body_bytes: input.small()?,
            attempts: input.small()?,
            is_replay: input.byte()? != 0,
            delay: std::time::Duration::from_millis(input.number()?),
            due_at: Timestamp(input.number()?),
            blocking_since: Some(input.number()?).filter(|since| *since != 0).map(Timestamp),
        })
    }
}

impl Held {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&self.lane.to_be_bytes()).number(self.body_bytes.into());
        out.0
    }

    pub(super) fn decode(seq: u64, payload: &[u8]) -> Parsed<Self> {
        let mut input = Decoder(payload);
        Ok(Self { seq, lane: u64::from_be_bytes(input.array()?), body_bytes: input.small()? })
    }
}

impl Attempt {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.number(self.at.0).number(self.status.unwrap_or(0).into());
        out.bytes(self.cause.as_bytes()).bytes(self.detail.as_bytes());
        out.0
    }
}
