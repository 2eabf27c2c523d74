//! What became of an event at each sink.

use rusqlite::{Connection, OptionalExtension, params};

use super::dead::DeadLetter;
use super::format::{Damaged, Record, Table, Target, open};
use super::settled::{Outcome, Settled};
use super::{PastAttempt, SinkId, Waiting};
use crate::clock::Timestamp;
use crate::config::SinkName;

/// What became of an event at one sink.
#[derive(Clone, Debug)]
pub(crate) struct PastDelivery {
    pub(crate) sink: SinkName,
    /// None, if it went there by a replay alone.
    pub(crate) routes: Vec<String>,
    pub(crate) state: State,
    /// When it was delivered, if a replay of it stands or ended otherwise since.
    pub(crate) delivered_before: Option<Timestamp>,
    /// The failed attempts, oldest first.
    pub(crate) failed: Vec<PastAttempt>,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not attempted yet.
    Pending,
    /// Failed at least once, or replayed.
    Waiting(Waiting),
    /// Behind a waiting one of its lane.
    Held,
    Delivered {
        at: Timestamp,
        attempts: u32,
        status: Option<u16>,
    },
    Dead {
        at: Timestamp,
        attempts: u32,
        /// Cause and reason, as long as the dead letter is kept.
        letter: Option<(String, String)>,
    },
    Expired {
        at: Timestamp,
        attempts: u32,
    },
    /// It is over, and the record of how is gone, by retention or by damage.
    Over,
    /// The row that says it cannot be read.
    Damaged,
}

/// The deliveries of an event: to the sinks that it was meant for, and then to those that it was replayed to.
pub(super) fn deliveries(connection: &Connection, seq: u64, record: &Record) -> rusqlite::Result<Vec<PastDelivery>> {
    let past = Past { connection, seq };
    let replayed = past.sinks()?.into_iter().filter(|sink| !record.names(*sink));
    let replayed: Vec<Target> = replayed.map(|sink| Target { sink, routes: Vec::new() }).collect();
    record.targets.iter().chain(&replayed).map(|target| past.delivery(target)).collect()
}

/// One event.
struct Past<'a> {
    connection: &'a Connection,
    seq: u64,
}

impl Past<'_> {
    /// The sinks that have rows of the event.
    fn sinks(&self) -> rusqlite::Result<Vec<SinkId>> {
        let sql = "SELECT sink FROM cursor WHERE EXISTS (SELECT 1 FROM settled AS s WHERE s.sink = cursor.sink AND s.seq = ?1)
                   OR EXISTS (SELECT 1 FROM waiting AS w WHERE w.sink = cursor.sink AND w.seq = ?1)
                   OR EXISTS (SELECT 1 FROM dead AS d WHERE d.sink = cursor.sink AND d.seq = ?1) ORDER BY sink";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_map([self.seq], |row| Ok(SinkId(row.get(0)?)))?.collect()
    }

    fn delivery(&self, target: &Target) -> rusqlite::Result<PastDelivery> {
        let sink = target.sink;
        let settled = Settled::find(self.connection, sink, self.seq)?;
        let state = self.state(sink, settled)?;
        let delivered = settled.and_then(Result::ok).and_then(|settled| settled.delivered_at());
        Ok(PastDelivery {
            sink: SinkName(self.name(sink.0)?.into()),
            routes: target.routes.iter().map(|number| self.name(*number)).collect::<Result<_, _>>()?,
            delivered_before: delivered.filter(|_| !matches!(state, State::Delivered { .. })),
            state,
            failed: PastAttempt::of(self.connection, sink, self.seq)?,
        })
    }

    fn state(&self, sink: SinkId, settled: Option<Result<Settled, Damaged>>) -> rusqlite::Result<State> {
        let key = [u64::from(sink.0), self.seq];
        // What is replayed has a settled row and waits.
        if let Some(row) = self.row("SELECT row FROM waiting WHERE sink = ?1 AND seq = ?2", &key)? {
            let waiting = open(Table::Waiting, &key, &row).and_then(|payload| Waiting::decode(self.seq, payload));
            return Ok(waiting.map_or(State::Damaged, State::Waiting));
        }
        if self.row("SELECT row FROM held WHERE sink = ?1 AND seq = ?2", &key)?.is_some() {
            return Ok(State::Held);
        }
        let letter = DeadLetter::find(self.connection, sink, self.seq)?;
        match (settled, letter) {
            (Some(settled), letter) => Ok(settled.map_or(State::Damaged, |settled| State::of(settled, letter))),
            (None, Some(DeadLetter { died_at: at, attempts, cause, reason, .. })) => {
                Ok(State::Dead { at, attempts, letter: Some((cause, reason)) })
            }
            (None, None) => {
                let low = "SELECT 1 FROM cursor WHERE sink = ?1 AND low >= ?2";
                let is_over = self.connection.prepare_cached(low)?.exists(params![sink.0, self.seq])?;
                Ok(if is_over { State::Over } else { State::Pending })
            }
        }
    }

    fn row(&self, sql: &str, key: &[u64]) -> rusqlite::Result<Option<Vec<u8>>> {
        let key = rusqlite::params_from_iter(key);
        self.connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
    }

    fn name(&self, number: u32) -> rusqlite::Result<String> {
        let mut statement = self.connection.prepare_cached("SELECT text FROM name WHERE number = ?1")?;
        statement.query_row([number], |row| row.get(0))
    }
}

impl State {
    fn of(settled: Settled, letter: Option<DeadLetter>) -> Self {
        let Settled { at, attempts, outcome, .. } = settled;
        match outcome {
            Outcome::Delivered { status } => Self::Delivered { at, attempts, status },
            Outcome::Dead => Self::Dead { at, attempts, letter: letter.map(|letter| (letter.cause, letter.reason)) },
            Outcome::Expired => Self::Expired { at, attempts },
            Outcome::Over => Self::Over,
        }
    }
}
