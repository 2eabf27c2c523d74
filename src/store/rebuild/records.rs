//! Batch records of a store that is being rebuilt: numbers have no gaps, so what is lost gets records that say nothing.

use rusqlite::{Connection, params};

use super::mend::Losses;
use crate::clock::Timestamp;
use crate::event::{EventId, Origin, Stream};
use crate::store::SinkId;
use crate::store::format::{Batch, Record};
use crate::store::lookup::batch_row;
use crate::store::ranges::Ranges;
use crate::store::settled::{Outcome, Settled};

/// Events in one record of lost ones.
const RECORDS_MAX: u64 = 1024;

/// What is left of an event whose record is lost: its number is taken.
fn lost() -> Record {
    Record {
        stream: Stream::NftTokens,
        origin: Origin::Stream,
        id: EventId([0; 16]),
        base: [0; 16],
        lane: 0,
        has_deploy: true,
        body_bytes: 0,
        targets: Vec::new(),
    }
}

pub(super) fn is_lost(record: &Record) -> bool {
    record.targets.is_empty()
}

/// Fills the gaps up to `newest` and gives the number of the newest event.
pub(super) fn complete(connection: &Connection, newest: u64, losses: &mut Losses) -> rusqlite::Result<u64> {
    let mut gaps = Ranges::default();
    let mut next = None;
    let mut statement = connection.prepare("SELECT first, row FROM batch ORDER BY first")?;
    let mut rows = statement.query([])?;
    let mut overlapping = Vec::new();
    while let Some(row) = rows.next()? {
        let first: u64 = row.get(0)?;
        let expected = next.unwrap_or(first);
        let Some(batch) = Batch::decode(first, row.get_ref(1)?.as_bytes().unwrap_or_default()).ok() else { continue };
        if first < expected {
            overlapping.push(first);
            continue;
        }
        if first > expected {
            gaps.extend(expected, first - 1);
        }
        next = Some(batch.last() + 1);
    }
    drop(rows);
    let next = next.unwrap_or(newest.max(1));
    if newest >= next {
        gaps.extend(next, newest);
    }
    for first in overlapping {
        connection.execute("DELETE FROM batch WHERE first = ?1", [first])?;
    }
    fill(connection, &gaps)?;
    if !gaps.is_empty() {
        let what = "the records are lost: ids, and which sinks wanted them (their numbers stay taken)";
        losses.insert(what.to_owned(), gaps);
    }
    Ok(newest.max(next - 1))
}

fn fill(connection: &Connection, gaps: &Ranges) -> rusqlite::Result<()> {
    for (first, last) in gaps.parts() {
        let mut first = first;
        while first <= last {
            let count = (last - first + 1).min(RECORDS_MAX);
            let records = (0..count).map(|_| lost()).collect();
            let row = Batch { first, accepted_at: Timestamp::default(), records }.encode();
            connection.execute("INSERT INTO batch VALUES (?1, ?2)", params![first, row])?;
            first += count;
        }
    }
    Ok(())
}

/// Whether the record of an event is there.
pub(super) fn is_known(connection: &Connection, seq: u64) -> rusqlite::Result<bool> {
    Ok(record(connection, seq)?.is_some_and(|record| !is_lost(&record)))
}

/// The sinks at which an event ended as a dead letter.
pub(super) fn dead_at(connection: &Connection, seq: u64) -> rusqlite::Result<Vec<SinkId>> {
    let Some(record) = record(connection, seq)? else { return Ok(Vec::new()) };
    let mut sinks = Vec::new();
    for target in record.targets {
        if let Some(Ok(Settled { outcome: Outcome::Dead, .. })) = Settled::find(connection, target.sink, seq)? {
            sinks.push(target.sink);
        }
    }
    Ok(sinks)
}

fn record(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Record>> {
    let Some((first, row)) = batch_row(connection, seq)? else { return Ok(None) };
    Ok(Batch::decode(first, &row).ok().and_then(|batch| batch.record(seq).cloned()))
}
