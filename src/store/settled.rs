//! Settled rows: how deliveries ended.
//!
//! A row says how the delivery ended last. A replay that ends otherwise than well does not make undone what was
//! delivered before it, so its row says that too. Rows of older relays end before that part, and older relays do not
//! read it.

use rusqlite::{Connection, OptionalExtension, params};

use super::format::{Damaged, Decoder, Encoder, Table, open, seal};
use super::{End, Settlement, SinkId};
use crate::clock::Timestamp;

/// What the row of a delivery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) at: Timestamp,
    pub(super) attempts: u32,
    pub(super) outcome: Outcome,
    /// When it was delivered, if it was and a later replay ended with `outcome`.
    pub(super) before: Option<Timestamp>,
}

/// How a delivery ended; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered {
        status: Option<u16>,
    },
    Dead,
    Expired,
    /// It is over: an operator let go of it, or the record of how it ended was lost.
    Over,
}

impl Outcome {
    fn code(self) -> (u8, u16) {
        match self {
            Self::Delivered { status } => (1, status.unwrap_or(0)),
            Self::Dead => (2, 0),
            Self::Expired => (3, 0),
            Self::Over => (4, 0),
        }
    }

    fn of(code: u8, status: u16) -> Result<Self, Damaged> {
        match code {
            1 => Ok(Self::Delivered { status: Some(status).filter(|status| *status != 0) }),
            2 => Ok(Self::Dead),
            3 => Ok(Self::Expired),
            4 => Ok(Self::Over),
            _ => Err(Damaged),
        }
    }
}

impl From<&End> for Outcome {
    fn from(end: &End) -> Self {
        match end {
            End::Delivered { status } => Self::Delivered { status: *status },
            End::Dead { .. } => Self::Dead,
            End::Expired => Self::Expired,
        }
    }
}

impl Settled {
    pub(super) fn of(settlement: &Settlement, at: Timestamp) -> Self {
        Self { at, attempts: settlement.attempts, outcome: (&settlement.end).into(), before: None }
    }

    pub(super) fn over(at: Timestamp) -> Self {
        Self { at, attempts: 0, outcome: Outcome::Over, before: None }
    }

    /// When it was delivered, if it ever was: the last time.
    pub(super) fn delivered_at(&self) -> Option<Timestamp> {
        if matches!(self.outcome, Outcome::Delivered { .. }) { Some(self.at) } else { self.before }
    }

    /// The row of a delivery; `None` if it has not ended.
    pub(super) fn find(
        connection: &Connection,
        sink: SinkId,
        seq: u64,
    ) -> rusqlite::Result<Option<Result<Self, Damaged>>> {
        let mut statement = connection.prepare_cached("SELECT row FROM settled WHERE sink = ?1 AND seq = ?2")?;
        let row: Option<Vec<u8>> = statement.query_row(params![sink.0, seq], |row| row.get(0)).optional()?;
        Ok(row.map(|row| Self::decode(open(Table::Settled, &[sink.0.into(), seq], &row)?)))
    }

    /// In place of what the row said before.
    pub(super) fn write(&self, connection: &Connection, sink: SinkId, seq: u64) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO settled VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![sink.0, seq, self.row(sink, seq)]).map(drop)
    }

    /// Unless it has ended before; false then.
    pub(super) fn write_first(&self, connection: &Connection, sink: SinkId, seq: u64) -> rusqlite::Result<bool> {
        let sql = "INSERT OR IGNORE INTO settled VALUES (?1, ?2, ?3)";
        Ok(connection.prepare_cached(sql)?.execute(params![sink.0, seq, self.row(sink, seq)])? > 0)
    }

    fn row(&self, sink: SinkId, seq: u64) -> Vec<u8> {
        let (code, status) = self.outcome.code();
        let mut out = Encoder::default();
        out.number(self.at.0).number(self.attempts.into()).raw(&[code]).number(status.into());
        if let Some(before) = self.before {
            out.number(before.0);
        }
        seal(Table::Settled, &[sink.0.into(), seq], &out.0)
    }

    fn decode(payload: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(payload);
        let (at, attempts) = (Timestamp(input.number()?), input.small()?);
        let outcome = Outcome::of(input.byte()?, u16::try_from(input.number()?).map_err(|_| Damaged)?)?;
        let before = if input.0.is_empty() { None } else { Some(Timestamp(input.number()?)) };
        Ok(Self { at, attempts, outcome, before })
    }
}
