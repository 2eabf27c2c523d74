//! Small sorted indexes over closed ranges of events: id → sequence number, lane → sequence number.
//!
//! An index of random keys over all events would cost most of the write path's speed. So a range of [`RANGE`]
//! sequence numbers gets its own index once events have been accepted beyond it: the heads of its keys, sorted, cut
//! into [`BUCKETS`] rows. A search asks each range for one row, newest range first, and reads the batch records where
//! a range has no index yet. With five million events it takes a few milliseconds; building an index takes ten to
//! fifteen, and it has about 22 bytes for each event.
//!
//! # Invariants
//! 1. Ranges get their indexes in ascending order, so at most the newest index is incomplete.
//! 2. The row of the last bucket of lanes is written last. Without it the range counts as having no index.
//! 3. An index only proposes: what it names counts only if the batch record agrees, since heads may collide and what
//!    retention removed may still be named. A damaged or missing row has its range searched as if it had no index.
//!
//! A row is a sealed array of entries, each the head of a key (8 bytes) and the offset in the range (2 bytes), both
//! big-endian. Rows are small enough not to leave their page.

mod newest;
mod search;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::format::{Batch, Damaged, Keys, Table, open, seal};
use crate::event::EventId;

pub(super) use newest::{newest_of_ids, newest_of_lanes};
pub(super) use search::{Search, Wanted, batch_row, report_batch};

/// Sequence numbers of a range; offsets have two bytes. Small in tests, so that they have many.
const RANGE: u64 = if cfg!(test) { 64 } else { 1 << 16 };
const BUCKET_BITS: u32 = if cfg!(test) { 3 } else { 9 };
const BUCKETS: u64 = 1 << BUCKET_BITS;
/// A quarter of one kind's rows: about 160 KiB.
pub(super) const COMMIT_ROWS_MAX: usize = 1 << (BUCKET_BITS - 2);
const ENTRY_BYTES: usize = 10;

/// What a key is; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Id = 1,
    Lane = 2,
}

/// One bucket of one range, sealed.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// The first number of the range.
    pub(super) first: u64,
    pub(super) bucket: u64,
    pub(super) row: Vec<u8>,
}

/// The index of a range.
pub(super) struct Index {
    /// In the order in which they are to be written.
    pub(super) rows: Vec<Row>,
    /// Batches whose records could not be read.
    pub(super) damaged: Vec<u64>,
}

/// The head of a key and the offset in the range.
type Entry = (u64, u16);

fn id_head(id: EventId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn bucket(head: u64) -> u64 {
    head >> (u64::BITS - BUCKET_BITS)
}

/// The first number of the range that holds `seq`.
fn range_of(seq: u64) -> u64 {
    seq.saturating_sub(1) / RANGE * RANGE + 1
}

/// The oldest closed range that has batches and no index.
pub(super) fn due(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let Some((oldest, newest)) = extent(connection)? else { return Ok(None) };
    let first = indexed_end(connection)?.max(range_of(oldest));
    Ok((newest >= first + RANGE).then_some(first))
}

/// Where the oldest and the newest batch begin.
fn extent(connection: &Connection) -> rusqlite::Result<Option<(u64, u64)>> {
    let sql = "SELECT (SELECT min(first) FROM batch), (SELECT max(first) FROM batch)";
    let read = |row: &rusqlite::Row<'_>| Ok(row.get::<_, Option<u64>>(0)?.zip(row.get::<_, Option<u64>>(1)?));
    connection.prepare_cached(sql)?.query_row([], read)
}

/// The ranges from here on have no index.
fn indexed_end(connection: &Connection) -> rusqlite::Result<u64> {
    let newest = "SELECT max(first) FROM lookup WHERE kind = ?1";
    let first: Option<u64> = connection.prepare_cached(newest)?.query_row([Kind::Lane as u8], |row| row.get(0))?;
    let Some(first) = first else { return Ok(1) };
    let last_row = "SELECT 1 FROM lookup WHERE kind = ?1 AND first = ?2 AND bucket = ?3";
    let is_complete = connection.prepare_cached(last_row)?.exists(params![Kind::Lane as u8, first, BUCKETS - 1])?;
    Ok(if is_complete { first + RANGE } else { first })
}

/// The index of the range that begins at `first`, from its batch records.
pub(super) fn build(connection: &Connection, first: u64) -> rusqlite::Result<Index> {
    let (mut ids, mut lanes, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    let mut statement = connection.prepare_cached(
        "SELECT first, row FROM batch
         WHERE first BETWEEN coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0) AND ?2 ORDER BY first",
    )?;
    let mut rows = statement.query([first, first + RANGE - 1])?;
    while let Some(row) = rows.next()? {
        let begin: u64 = row.get(0)?;
        let Ok(batch) = Batch::keys(begin, row.get_ref(1)?.as_blob()?) else {
            damaged.push(begin);
            continue;
        };
        for Keys { seq, id, lane } in batch {
            let offset = seq.checked_sub(first).filter(|offset| *offset < RANGE);
            let Some(offset) = offset.and_then(|offset| u16::try_from(offset).ok()) else { continue };
            ids.push((id_head(id), offset));
            if lane != 0 {
                lanes.push((lane, offset));
            }
        }
    }
    let mut rows = cut(Kind::Id, first, ids);
    rows.extend(cut(Kind::Lane, first, lanes));
    Ok(Index { rows, damaged })
}

/// All the buckets of one kind, ascending, empty ones included.
fn cut(kind: Kind, first: u64, mut entries: Vec<Entry>) -> Vec<Row> {
    entries.sort_unstable();
    let mut rest = entries.as_slice();
    let rows = (0..BUCKETS).map(|number| {
        let (own, later) = rest.split_at(rest.partition_point(|(head, _)| bucket(*head) <= number));
        rest = later;
        let mut payload = Vec::with_capacity(own.len() * ENTRY_BYTES);
        for (head, offset) in own {
            payload.extend_from_slice(&head.to_be_bytes());
            payload.extend_from_slice(&offset.to_be_bytes());
        }
        let row = seal(Table::Lookup, &[kind as u64, first, number], &payload);
        Row { kind, first, bucket: number, row }
    });
    rows.collect()
}

/// The sequence numbers that a row has for a head, ascending.
fn seqs(kind: Kind, first: u64, head: u64, row: &[u8]) -> Result<Vec<u64>, Damaged> {
    let entries = entries(kind, first, bucket(head), row)?;
    let (_, from) = entries.split_at(entries.partition_point(|bytes| entry(*bytes).0 < head));
    let own = from.iter().map(|bytes| entry(*bytes)).take_while(|(key, _)| *key == head);
    Ok(own.map(|(_, offset)| first + u64::from(offset)).collect())
}

fn entry([a, b, c, d, e, f, g, h, x, y]: [u8; ENTRY_BYTES]) -> Entry {
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u16::from_be_bytes([x, y]))
}

/// The first numbers of the ranges that have an index.
pub(super) fn indexed(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    let end = indexed_end(connection)?;
    let mut statement = connection.prepare("SELECT DISTINCT first FROM lookup WHERE first < ?1 ORDER BY first")?;
    statement.query_map([end], |row| row.get(0))?.collect()
}

/// How many keys of events that are still known an index lacks.
pub(super) fn misses(connection: &Connection, first: u64) -> rusqlite::Result<u64> {
    let stored = "SELECT row FROM lookup WHERE kind = ?1 AND first = ?2 AND bucket = ?3";
    let mut statement = connection.prepare_cached(stored)?;
    let mut missing = 0;
    for Row { kind, first, bucket, row } in build(connection, first)?.rows {
        let key = params![kind as u8, first, bucket];
        let stored: Option<Vec<u8>> = statement.query_row(key, |row| row.get(0)).optional()?;
        let stored = stored.as_deref().map(|row| entries(kind, first, bucket, row).unwrap_or_default());
        let stored: HashSet<&[u8; ENTRY_BYTES]> = stored.into_iter().flatten().collect();
        let expected = entries(kind, first, bucket, &row).unwrap_or_default();
        missing += expected.iter().filter(|entry| !stored.contains(entry)).count() as u64;
    }
    Ok(missing)
}

/// The entries of a row.
fn entries(kind: Kind, first: u64, bucket: u64, row: &[u8]) -> Result<&[[u8; ENTRY_BYTES]], Damaged> {
    let (entries, rest) = open(Table::Lookup, &[kind as u64, first, bucket], row)?.as_chunks::<ENTRY_BYTES>();
    if rest.is_empty() { Ok(entries) } else { Err(Damaged) }
}

/// Deletes the oldest index if all the batches of its range are gone.
pub(super) fn drop_gone(connection: &Connection) -> rusqlite::Result<()> {
    let Some((oldest, _)) = extent(connection)? else { return Ok(()) };
    let sql = "DELETE FROM lookup WHERE kind = ?1 AND first <= ?2
               AND first = (SELECT min(first) FROM lookup WHERE kind = ?1)";
    for kind in [Kind::Id, Kind::Lane] {
        connection.prepare_cached(sql)?.execute(params![kind as u8, oldest.saturating_sub(RANGE)])?;
    }
    Ok(())
}
