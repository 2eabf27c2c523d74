//! Reading the messages that could not be handled.

use std::path::Path;

use rusqlite::Connection;

use super::error::OpenError;
use super::format::{Damaged, Decoder, Table, open};
use super::schema;
use crate::clock::Timestamp;
use crate::event::Stream;

/// A message in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) stream: Stream,
    pub(crate) reason: String,
    pub(crate) body: Vec<u8>,
}

/// Shows every quarantined message, oldest first, until `show` says no; gives the number of damaged ones.
pub(crate) fn quarantine(directory: &Path, mut show: impl FnMut(Kept) -> bool) -> Result<u64, OpenError> {
    let connection: Connection = schema::open_to_look(directory)?;
    let mut damaged = 0;
    let mut statement = connection.prepare("SELECT number, row FROM quarantine ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match Kept::decode(row.get(0)?, row.get_ref(1)?.as_bytes().unwrap_or_default()) {
            Ok(kept) => {
                if !show(kept) {
                    break;
                }
            }
            Err(Damaged) => damaged += 1,
        }
    }
    Ok(damaged)
}

impl Kept {
    fn decode(number: u64, row: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(open(Table::Quarantine, &[number], row)?);
        let at = Timestamp(input.number()?);
        let stream = Stream::from_code(input.byte()?).ok_or(Damaged)?;
        Ok(Self { number, at, stream, reason: input.text()?.to_owned(), body: input.0.to_vec() })
    }
}
