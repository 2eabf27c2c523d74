//! Looking at the messages that could not be handled.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::OpenError;
use super::format::{Damaged, Decoder, Table, open};
use super::schema;
use crate::clock::Timestamp;
use crate::event::Stream;

/// The quarantine of a data directory.
pub(crate) struct Quarantine {
    connection: Connection,
}

/// A message that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuarantinedMessage {
    pub(crate) number: u64,
    /// `None` where the stored row is damaged.
    pub(crate) content: Option<QuarantinedContent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuarantinedContent {
    pub(crate) at: Timestamp,
    pub(crate) stream: Stream,
    pub(crate) reason: String,
    pub(crate) body: Bytes,
}

/// The quarantined messages in the directory of a relay, running or not. Reads only.
pub(crate) fn quarantine(directory: &Path) -> Result<Quarantine, OpenError> {
    Quarantine::open(directory)
}

impl Quarantine {
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: schema::open_to_look(directory)? })
    }

    /// At most `max` messages with a number below `before`, newest first.
    pub(crate) fn page(&self, before: Option<u64>, max: usize) -> rusqlite::Result<Vec<QuarantinedMessage>> {
        let sql = "SELECT number, row FROM quarantine WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![before, max], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        rows.map(|row| row.map(|(number, row)| QuarantinedMessage::new(number, &row))).collect()
    }

    /// Shows every message with a number above `after`, oldest first, until `show` says no.
    pub(crate) fn each(&self, after: u64, mut show: impl FnMut(QuarantinedMessage) -> bool) -> rusqlite::Result<()> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut statement =
            self.connection.prepare("SELECT number, row FROM quarantine WHERE number > ?1 ORDER BY number")?;
        let mut rows = statement.query([after])?;
        while let Some(row) = rows.next()? {
            if !show(QuarantinedMessage::new(row.get(0)?, row.get_ref(1)?.as_bytes().unwrap_or_default())) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn find(&self, number: u64) -> rusqlite::Result<Option<QuarantinedMessage>> {
        let Ok(key) = i64::try_from(number) else { return Ok(None) };
        let mut statement = self.connection.prepare_cached("SELECT row FROM quarantine WHERE number = ?1")?;
        let row: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
        Ok(row.map(|row| QuarantinedMessage::new(number, &row)))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> rusqlite::Result<u64> {
        self.connection.query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))
    }
}

impl QuarantinedMessage {
    fn new(number: u64, row: &[u8]) -> Self {
        Self { number, content: decode(number, row).ok() }
    }
}

fn decode(number: u64, row: &[u8]) -> Result<QuarantinedContent, Damaged> {
    let mut input = Decoder(open(Table::Quarantine, &[number], row)?);
    let at = Timestamp(input.number()?);
    let stream = Stream::from_code(input.byte()?).ok_or(Damaged)?;
    let reason = input.text()?.to_owned();
    Ok(QuarantinedContent { at, stream, reason, body: Bytes::copy_from_slice(input.0) })
}
