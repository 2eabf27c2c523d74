//! Dead letters: deliveries that were given up, with all that is known of them.
//!
//! A letter holds its own copy of the message and of what the sink needs to know of it, so it outlives the event's
//! retention. It is removed when a replay of it is settled as delivered, when an operator drops it, and by the policy
//! of `dead_letters`.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::format::{Damaged, Decoder, Encoder, Record, Table, Target, open, seal};
use super::{Settlement, SinkId};
use crate::clock::Timestamp;
use crate::config::DeadLettersConfig;
use crate::event::{EventId, Origin, Stream};

/// The message of letters goes with the last of them.
const REMOVE_UNUSED_BODY: &str = "DELETE FROM dead_body WHERE seq = ?1 AND NOT EXISTS
    (SELECT 1 FROM name, dead WHERE name.kind = 1 AND dead.sink = name.number AND dead.seq = ?1)";

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(super) sink: SinkId,
    /// The sequence number of the event.
    pub(crate) seq: u64,
    pub(crate) id: EventId,
    pub(crate) stream: Stream,
    pub(super) origin: Origin,
    pub(super) lane: u64,
    pub(crate) accepted_at: Timestamp,
    pub(crate) died_at: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(super) body_bytes: u32,
    pub(super) routes: Vec<u32>,
}

impl DeadLetter {
    pub(super) fn new(sink: SinkId, settlement: &Settlement, record: &Record, accepted_at: Timestamp) -> Self {
        let routes = record.targets.iter().filter(|target| target.sink == sink);
        Self {
            sink,
            seq: settlement.seq,
            id: record.id,
            stream: record.stream,
            origin: record.origin,
            lane: record.lane,
            accepted_at,
            died_at: Timestamp::default(),
            attempts: settlement.attempts,
            cause: String::new(),
            reason: String::new(),
            body_bytes: record.body_bytes,
            routes: routes.flat_map(|target| target.routes.iter().copied()).collect(),
        }
    }

    pub(super) fn with_end(mut self, cause: &str, reason: &str, now: Timestamp) -> Self {
        cause.clone_into(&mut self.cause);
        reason.clone_into(&mut self.reason);
        self.died_at = now;
        self
    }

    /// Writes the letter and copies the message.
    pub(super) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO dead VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET row = excluded.row";
        connection.prepare_cached(sql)?.execute(params![self.sink.0, self.seq, self.encode()])?;
        let mut find = connection.prepare_cached("SELECT row FROM event WHERE seq = ?1")?;
        let row: Option<Vec<u8>> = find.query_row([self.seq], |row| row.get(0)).optional()?;
        // Damaged or missing bytes are the reason of this letter, and stay so.
        let Some(Ok(body)) = row.as_deref().map(|row| open(Table::Event, &[self.seq], row)) else { return Ok(()) };
        let copy = seal(Table::DeadBody, &[self.seq], body);
        let sql = "INSERT OR IGNORE INTO dead_body VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![self.seq, copy]).map(drop)
    }

    /// A replayed letter died again: its reason is the new one.
    pub(super) fn amend(
        connection: &Connection,
        sink: SinkId,
        settlement: &Settlement,
        cause: &str,
        reason: &str,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let Some(letter) = Self::find(connection, sink, settlement.seq)? else {
            tracing::error!(
                seq = settlement.seq,
                reason,
                "a delivery was given up, but its record is damaged: no dead letter"
            );
            return Ok(());
        };
        Self { attempts: settlement.attempts, ..letter }.with_end(cause, reason, now).insert(connection)
    }

    pub(super) fn find(connection: &Connection, sink: SinkId, seq: u64) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare_cached("SELECT row FROM dead WHERE sink = ?1 AND seq = ?2")?;
        let row: Option<Vec<u8>> = statement.query_row(params![sink.0, seq], |row| row.get(0)).optional()?;
        Ok(row.and_then(|row| Self::decode(sink, seq, &row).ok()))
    }

    pub(super) fn remove(connection: &Connection, sink: SinkId, seq: u64) -> rusqlite::Result<()> {
        let key = params![sink.0, seq];
        if connection.prepare_cached("DELETE FROM dead WHERE sink = ?1 AND seq = ?2")?.execute(key)? == 0 {
            return Ok(());
        }
        connection.prepare_cached("DELETE FROM attempt WHERE sink = ?1 AND seq = ?2")?.execute(key)?;
        connection.prepare_cached(REMOVE_UNUSED_BODY)?.execute([seq]).map(drop)
    }

    /// What the batch record said of the event, for its one sink.
    pub(super) fn record(self) -> Record {
        Record {
            stream: self.stream,
            origin: self.origin,
            id: self.id,
            base: self.id.0,
            lane: self.lane,
            has_deploy: true,
            body_bytes: self.body_bytes,
            targets: vec![Target { sink: self.sink, routes: self.routes }],
        }
    }

    /// The message.
    pub(super) fn body(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Bytes>> {
        let mut statement = connection.prepare_cached("SELECT row FROM dead_body WHERE seq = ?1")?;
        let row: Option<Vec<u8>> = statement.query_row([seq], |row| row.get(0)).optional()?;
        Ok(row.and_then(|row| open(Table::DeadBody, &[seq], &row).map(Bytes::copy_from_slice).ok()))
    }

    /// Removes the oldest letters that the policy no longer keeps, at most `max` of them; says so in the log. Those that
    /// wait to be replayed stay, since the delivery reads its message from there.
    pub(super) fn expire(
        connection: &Connection,
        policy: &DeadLettersConfig,
        now: Timestamp,
        max: u64,
    ) -> rusqlite::Result<()> {
        let bytes: u64 = connection.prepare_cached("SELECT bytes FROM letter_size")?.query_row([], |row| row.get(0))?;
        let mut excess = bytes.saturating_sub(policy.max_bytes);
        let mut expired = 0_u64;
        for (sink, seq, row) in oldest(connection, max)? {
            let letter = Self::decode(sink, seq, &row).ok();
            let is_old = letter.as_ref().is_some_and(|letter| now.since(letter.died_at) >= policy.retention);
            if excess == 0 && !is_old {
                continue;
            }
            excess = excess.saturating_sub(letter.map_or(0, |letter| letter.body_bytes.into()));
            Self::remove(connection, sink, seq)?;
            expired += 1;
        }
        if expired > 0 {
            tracing::warn!(expired, "dead letters were removed by dead_letters.retention or dead_letters.max_bytes");
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&[self.stream.code(), self.origin.code()]).raw(&self.id.0).raw(&self.lane.to_be_bytes());
        out.number(self.accepted_at.0)
            .number(self.died_at.0)
            .number(self.attempts.into())
            .number(self.body_bytes.into());
        out.bytes(self.cause.as_bytes()).bytes(self.reason.as_bytes()).number(self.routes.len() as u64);
        self.routes.iter().for_each(|route| {
            out.number((*route).into());
        });
        seal(Table::Dead, &[self.sink.0.into(), self.seq], &out.0)
    }

    pub(super) fn decode(sink: SinkId, seq: u64, row: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(open(Table::Dead, &[sink.0.into(), seq], row)?);
        let [stream, origin] = input.array()?;
        Ok(Self {
            sink,
            seq,
            stream: Stream::from_code(stream).ok_or(Damaged)?,
            origin: Origin::from_code(origin).ok_or(Damaged)?,
            id: EventId(input.array()?),
            lane: u64::from_be_bytes(input.array()?),
            accepted_at: Timestamp(input.number()?),
            died_at: Timestamp(input.number()?),
            attempts: input.small()?,
            body_bytes: input.small()?,
            cause: input.text()?.to_owned(),
            reason: input.text()?.to_owned(),
            routes: (0..input.number()?).map(|_| input.small()).collect::<Result<_, _>>()?,
        })
    }
}

/// The rows of the oldest letters that do not wait, at most `max`.
fn oldest(connection: &Connection, max: u64) -> rusqlite::Result<Vec<(SinkId, u64, Vec<u8>)>> {
    let sinks = "SELECT sink FROM letter_count WHERE letters > 0";
    let sinks: Vec<u32> =
        connection.prepare_cached(sinks)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let sql = "SELECT seq, row FROM dead WHERE sink = ?1 AND NOT EXISTS
               (SELECT 1 FROM waiting WHERE waiting.sink = dead.sink AND waiting.seq = dead.seq)
               ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut letters = Vec::new();
    for sink in sinks {
        let rows = statement.query_map(params![sink, max], |row| Ok((SinkId(sink), row.get(0)?, row.get(1)?)))?;
        letters.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    letters.sort_unstable_by_key(|(sink, seq, _)| (*seq, *sink));
    letters.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::schema;

    #[test]
    fn a_statement_is_planned_once_whatever_it_is_used_for() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(directory.path(), 1).unwrap();
        let mut statement = connection.prepare(REMOVE_UNUSED_BODY).unwrap();
        for seq in 0..10_u64 {
            statement.execute([seq]).unwrap();
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
