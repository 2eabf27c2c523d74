//! The rows that say that nothing is attempted at a sink.
//!
//! One outlives restarts, reloads and the time in which its sink is parked, and ends only by [`Change::Resume`].
//!
//! [`Change::Resume`]: super::Change::Resume

use rusqlite::{Connection, OptionalExtension, params};

use super::format::{Damaged, Decoder, Encoder, Table, open, seal};
use super::{Paused, PausedBy, SinkId};
use crate::clock::Timestamp;

impl PausedBy {
    /// The number on disk; never reused.
    fn code(self) -> u8 {
        match self {
            Self::Operator => 1,
            Self::Destination => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Operator, Self::Destination].into_iter().find(|by| by.code() == code)
    }
}

impl Paused {
    pub(super) fn write(&self, connection: &Connection, sink: SinkId) -> rusqlite::Result<()> {
        let mut out = Encoder::default();
        out.number(self.since.0).raw(&[self.by.code()]).bytes(self.reason.as_bytes());
        let row = seal(Table::Pause, &[sink.0.into()], &out.0);
        let sql = "INSERT OR REPLACE INTO pause VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![sink.0, row]).map(drop)
    }

    pub(super) fn remove(connection: &Connection, sink: SinkId) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM pause WHERE sink = ?1")?.execute([sink.0]).map(drop)
    }

    pub(super) fn read(connection: &Connection, sink: SinkId) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare_cached("SELECT row FROM pause WHERE sink = ?1")?;
        let row: Option<Vec<u8>> = statement.query_row([sink.0], |row| row.get(0)).optional()?;
        Ok(row.map(|row| Self::decode(sink, &row).unwrap_or_else(|damage| Self::damaged(sink, damage))))
    }

    fn decode(sink: SinkId, row: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(open(Table::Pause, &[sink.0.into()], row)?);
        Ok(Self {
            since: Timestamp(input.number()?),
            by: PausedBy::from_code(input.byte()?).ok_or(Damaged)?,
            reason: input.text()?.to_owned(),
        })
    }

    /// Somebody wanted the sink to be left alone: it stays so until somebody wants it otherwise.
    fn damaged(sink: SinkId, damage: Damaged) -> Self {
        tracing::error!(sink = sink.0, %damage, "the row of a pause is damaged: the sink stays paused");
        let reason = "the stored reason is damaged".to_owned();
        Self { since: Timestamp::default(), by: PausedBy::Operator, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_kept_until_it_is_removed_and_damage_does_not_end_it() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE pause (sink INTEGER PRIMARY KEY, row BLOB NOT NULL)").unwrap();
        let sink = SinkId(7);
        assert_eq!(Paused::read(&connection, sink).unwrap(), None);
        for by in [PausedBy::Operator, PausedBy::Destination] {
            let paused = Paused { since: Timestamp(5), by, reason: "maintenance".to_owned() };
            paused.write(&connection, sink).unwrap();
            assert_eq!(Paused::read(&connection, sink).unwrap(), Some(paused));
        }
        connection.execute("UPDATE pause SET row = substr(row, 2)", []).unwrap();
        assert_eq!(Paused::read(&connection, sink).unwrap().unwrap().by, PausedBy::Operator);
        Paused::remove(&connection, sink).unwrap();
        assert_eq!(Paused::read(&connection, sink).unwrap(), None);
    }
}
