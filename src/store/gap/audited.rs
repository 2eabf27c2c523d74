//! How far the audits of streams came: a row for each stream.

use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::event::Stream;
use crate::store::Store;
use crate::store::error::Stopped;
use crate::store::format::{Damaged, Decoder, Encoder, Table, open, seal};

/// What was told of a stream up to a moment was held against what REST lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audited {
    pub(crate) stream: Stream,
    pub(crate) until: Timestamp,
    /// A fingerprint of what routes wanted of it: what nobody wanted was not told, and was not missed either.
    pub(crate) routes: u64,
}

impl Store {
    /// How far the audits came; a damaged row counts as none.
    pub(crate) async fn audited(&self) -> Result<Vec<Audited>, Stopped> {
        self.reader.read(read_all).await
    }
}

pub(super) fn write(connection: &Connection, audited: &Audited) -> rusqlite::Result<()> {
    let Audited { stream, until, routes } = audited;
    let mut out = Encoder::default();
    out.number(until.0).raw(&routes.to_be_bytes());
    let row = seal(Table::Audited, &[stream.code().into()], &out.0);
    let sql = "INSERT OR REPLACE INTO audited VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![stream.code(), row]).map(drop)
}

pub(super) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Audited>> {
    let mut statement = connection.prepare("SELECT stream, row FROM audited ORDER BY stream")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u8>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let (code, row) = row?;
        match Stream::from_code(code).map(|stream| decode(stream, &row)) {
            Some(Ok(audited)) => all.push(audited),
            _ => tracing::error!(stream = code, "the row that says how far a stream was audited is damaged"),
        }
    }
    Ok(all)
}

fn decode(stream: Stream, row: &[u8]) -> Result<Audited, Damaged> {
    let mut input = Decoder(open(Table::Audited, &[stream.code().into()], row)?);
    let (until, routes) = (Timestamp(input.number()?), u64::from_be_bytes(input.array()?));
    Ok(Audited { stream, until, routes })
}
