//! `store inspect`: what is in a data directory, by a few look-ups that do not depend on how much there is, but for
//! counting what waits.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::error::OpenError;
use super::format::Batch;
use super::verify::Snapshot;
use super::vouch::Vouched;
use super::{Job, Paused, SinkId, schema, start};
use crate::clock::Timestamp;
use crate::config::SinkName;
use crate::event::Sequence;

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inspection {
    pub(crate) format: i64,
    /// The first sequence of each epoch.
    pub(crate) epochs: Vec<Sequence>,
    pub(crate) oldest: Option<Known>,
    pub(crate) newest: Option<Known>,
    /// Messages that are kept, between these numbers.
    pub(crate) bodies: Option<(u64, u64)>,
    pub(crate) known_ids: u64,
    pub(crate) quarantined: u64,
    pub(crate) sinks: Vec<SinkContent>,
    /// Sinks at which nothing is attempted, and why.
    pub(crate) pauses: Vec<(SinkName, Paused)>,
    /// Those at work and those that ended lately, oldest first.
    pub(crate) jobs: Vec<Job>,
    pub(crate) file_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) log_bytes: u64,
    /// The newest event ever accepted, as noted beside the database.
    pub(crate) vouched: Option<u64>,
    /// Only if asked for, since it reads every page.
    pub(crate) table_bytes: Vec<(String, u64)>,
}

/// An event whose record is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) seq: u64,
    pub(crate) accepted_at: Timestamp,
}

/// The queue of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkContent {
    pub(crate) name: SinkName,
    pub(crate) low: u64,
    /// Events after `low`, for whatever sinks they are.
    pub(crate) ahead: u64,
    pub(crate) waiting: u64,
    pub(crate) held: u64,
    pub(crate) dead: u64,
}

/// Looks at a stopped relay's store without changing it, or into that of a running one.
pub(crate) fn inspect(directory: &Path, with_tables: bool) -> Result<Inspection, OpenError> {
    match Snapshot::open(directory) {
        Ok(snapshot) => {
            schema::check_ours(&snapshot.connection, directory)?;
            look(&snapshot.connection, directory, with_tables)
        }
        Err(OpenError::Locked { .. }) => look(&schema::open_to_look(directory)?, directory, with_tables),
        Err(other) => Err(other),
    }
}

fn look(connection: &Connection, directory: &Path, with_tables: bool) -> Result<Inspection, OpenError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    let oldest = known(connection, "SELECT first, row FROM batch ORDER BY first LIMIT 1", |batch| batch.first)?;
    let newest = known(connection, "SELECT first, row FROM batch ORDER BY first DESC LIMIT 1", Batch::last)?;
    let (first, last) = (oldest.map_or(0, |known| known.seq), newest.map_or(0, |known| known.seq));
    let keys_from = number("SELECT value FROM meta WHERE key = 'keys_from'")?.max(first);
    let page_bytes = number("PRAGMA page_size")?;
    let vouched = start::vouched(directory)?;
    Ok(Inspection {
        format: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        epochs: epochs(connection)?,
        oldest,
        newest,
        bodies: connection.query_row("SELECT min(seq), max(seq) FROM event", [], |row| {
            Ok(row.get::<_, Option<u64>>(0)?.zip(row.get::<_, Option<u64>>(1)?))
        })?,
        known_ids: if newest.is_some() { (last + 1).saturating_sub(keys_from) } else { 0 },
        quarantined: number("SELECT count(*) FROM quarantine")?,
        sinks: sinks(connection, last)?,
        pauses: pauses(connection)?,
        jobs: Job::read_all(connection)?,
        file_bytes: number("PRAGMA page_count")? * page_bytes,
        free_bytes: number("PRAGMA freelist_count")? * page_bytes,
        log_bytes: directory.join(schema::WAL_FILE).metadata().map_or(0, |file| file.len()),
        vouched: if let Vouched::Newest(newest) = vouched { Some(newest) } else { None },
        table_bytes: if with_tables { table_bytes(connection)? } else { Vec::new() },
    })
}

/// The first or last event of a record; `None` if there is none, or it is damaged.
fn known(connection: &Connection, sql: &str, which: fn(&Batch) -> u64) -> rusqlite::Result<Option<Known>> {
    let row = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    let batch = row.and_then(|(first, row)| Batch::decode(first, &row).ok());
    Ok(batch.map(|batch| Known { seq: which(&batch), accepted_at: batch.accepted_at }))
}

fn epochs(connection: &Connection) -> rusqlite::Result<Vec<Sequence>> {
    let mut statement = connection.prepare("SELECT first, value FROM epoch ORDER BY first")?;
    statement.query_map([], |row| Ok(Sequence { number: row.get(0)?, epoch: row.get(1)? }))?.collect()
}

fn sinks(connection: &Connection, newest: u64) -> rusqlite::Result<Vec<SinkContent>> {
    let mut statement = connection.prepare(
        "SELECT text, low, (SELECT count(*) FROM waiting WHERE sink = number),
                (SELECT count(*) FROM held WHERE sink = number), (SELECT count(*) FROM dead WHERE sink = number)
         FROM name JOIN cursor ON sink = number WHERE kind = 1 ORDER BY text",
    )?;
    let content = |row: &rusqlite::Row<'_>| {
        let low: u64 = row.get(1)?;
        Ok(SinkContent {
            name: SinkName(row.get::<_, String>(0)?.into()),
            low,
            ahead: newest.saturating_sub(low),
            waiting: row.get(2)?,
            held: row.get(3)?,
            dead: row.get(4)?,
        })
    };
    statement.query_map([], content)?.collect()
}

fn pauses(connection: &Connection) -> rusqlite::Result<Vec<(SinkName, Paused)>> {
    let sql = "SELECT number, text FROM name JOIN pause ON sink = number WHERE kind = 1 ORDER BY text";
    let mut statement = connection.prepare(sql)?;
    let sinks = statement.query_map([], |row| Ok((SinkId(row.get(0)?), row.get::<_, String>(1)?)))?;
    let mut pauses = Vec::new();
    for sink in sinks {
        let (sink, name) = sink?;
        pauses.extend(Paused::read(connection, sink)?.map(|paused| (SinkName(name.into()), paused)));
    }
    Ok(pauses)
}

fn table_bytes(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC";
    connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
