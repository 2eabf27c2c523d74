//! The row that says how much CSPR.cloud's REST API was asked: see [`crate::budget`].

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{OpenError, Stopped};
use super::format::{Damaged, Decoder, Encoder, Table, open, seal};
use super::writer::Command;
use super::{Store, schema};
use crate::budget::Spent;
use crate::clock::Timestamp;

/// There is one row.
const KEY: u64 = 0;
/// Hours that a row may hold.
const HOURS_MAX: u64 = 25;

impl Store {
    /// What earlier runs have asked of the REST API; nothing if none did, or the row is damaged. Blocks for a moment.
    pub(crate) fn spent(&self) -> Result<Spent, OpenError> {
        Ok(read(&schema::open_reader(&self.surveys.directory)?)?)
    }

    /// Keeps what was asked with the next commit. Handing it over is all: a kill forgets what was asked since the last
    /// commit, which is a moment's worth.
    pub(crate) async fn keep_spent(&self, spent: Spent) -> Result<(), Stopped> {
        self.commands.send(Command::Spent(spent)).await.map_err(|_| Stopped)
    }
}

pub(super) fn write(connection: &Connection, spent: &Spent) -> rusqlite::Result<()> {
    let row = seal(Table::Spent, &[KEY], &encode(spent));
    connection.prepare_cached("INSERT OR REPLACE INTO spent VALUES (?1, ?2)")?.execute(params![KEY, row]).map(drop)
}

fn read(connection: &Connection) -> rusqlite::Result<Spent> {
    let mut statement = connection.prepare("SELECT row FROM spent WHERE key = ?1")?;
    let row: Option<Vec<u8>> = statement.query_row([KEY], |row| row.get(0)).optional()?;
    Ok(row.map_or_else(Spent::default, |row| {
        decode(&row).unwrap_or_else(|damage| {
            tracing::error!(%damage, "the row of the requests made so far is damaged: they are counted anew");
            Spent::default()
        })
    }))
}

fn encode(spent: &Spent) -> Vec<u8> {
    let mut out = Encoder::default();
    out.number(spent.at.0).number(spent.hours.len() as u64);
    spent.hours.iter().for_each(|turns| {
        out.number(*turns);
    });
    out.0
}

fn decode(row: &[u8]) -> Result<Spent, Damaged> {
    let mut input = Decoder(open(Table::Spent, &[KEY], row)?);
    let at = Timestamp(input.number()?);
    let hours = input.number()?;
    if hours > HOURS_MAX {
        return Err(Damaged);
    }
    Ok(Spent { at, hours: (0..hours).map(|_| input.number()).collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_kept_and_a_damaged_row_counts_anew() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE spent (key INTEGER PRIMARY KEY, row BLOB NOT NULL)").unwrap();
        assert_eq!(read(&connection).unwrap(), Spent::default());
        for hours in [vec![], vec![3], (0..25).collect()] {
            let spent = Spent { at: Timestamp(1_700_000_000_000), hours };
            write(&connection, &spent).unwrap();
            assert_eq!(read(&connection).unwrap(), spent);
        }
        connection.execute("UPDATE spent SET row = substr(row, 2)", []).unwrap();
        assert_eq!(read(&connection).unwrap(), Spent::default());
    }
}
