//! Letting go of what a sink that is no longer configured was owed, a part with each commit.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Counts, JobState};
use crate::clock::Timestamp;
use crate::store::SinkId;
use crate::store::format::Batch;
use crate::store::settled::Settled;

/// Rows of a parked queue that go in one step.
const PARKED_MAX: u64 = 1024;
/// Events that one step looks at for what was never tried.
const PARKED_EVENTS_MAX: u64 = 16_384;

/// The queues of sinks that are not configured.
pub(super) struct Parked<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: Timestamp,
    /// The sinks that are configured.
    pub(super) served: &'a [SinkId],
}

impl Parked<'_> {
    /// Removes a part of a queue; how the job ends, if that was the last of it. Dead letters stay, those that were being
    /// replayed included.
    pub(super) fn drop_some(&self, name: &str, counts: &mut Counts) -> rusqlite::Result<Option<JobState>> {
        let find = "SELECT number FROM name WHERE kind = 1 AND text = ?1";
        let found = self.connection.prepare_cached(find)?.query_row([name], |row| row.get(0)).optional()?;
        match found {
            Some(sink) if self.served.contains(&SinkId(sink)) => {
                Ok(Some(JobState::Failed("the sink is configured again: its deliveries are on their way".to_owned())))
            }
            Some(sink) => Ok(drop_rows(self.connection, sink, self.now, counts)?.then_some(JobState::Done)),
            None => Ok(Some(JobState::Done)),
        }
    }
}

/// True if nothing is left.
fn drop_rows(connection: &Connection, sink: u32, now: Timestamp, counts: &mut Counts) -> rusqlite::Result<bool> {
    let attempts = "DELETE FROM attempt WHERE sink = ?1
                    AND seq IN (SELECT seq FROM waiting WHERE sink = ?1 ORDER BY seq LIMIT ?2)
                    AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.sink = ?1 AND dead.seq = attempt.seq)";
    connection.prepare_cached(attempts)?.execute(params![sink, PARKED_MAX])?;
    for table in ["held", "waiting"] {
        let sql = format!(
            "DELETE FROM {table} WHERE sink = ?1
             AND seq IN (SELECT seq FROM {table} WHERE sink = ?1 ORDER BY seq LIMIT ?2) RETURNING seq"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let gone: Vec<u64> =
            statement.query_map(params![sink, PARKED_MAX], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for seq in &gone {
            settle_as_over(connection, SinkId(sink), *seq, now)?;
        }
        counts.seen += gone.len() as u64;
        if gone.len() as u64 == PARKED_MAX {
            return Ok(false);
        }
    }
    drop_fresh(connection, SinkId(sink), now, counts)
}

/// Lets go of what was never tried, which has no rows of its own: it is pending by lying beyond the lower bound.
fn drop_fresh(connection: &Connection, sink: SinkId, now: Timestamp, counts: &mut Counts) -> rusqlite::Result<bool> {
    let low = "SELECT low FROM cursor WHERE sink = ?1";
    let Some(low) = connection.prepare_cached(low)?.query_row([sink.0], |row| row.get::<_, u64>(0)).optional()? else {
        return Ok(true);
    };
    let (mut last, mut dropped) = (low, 0);
    let sql = "SELECT first, row FROM batch WHERE first >= coalesce(
                 (SELECT max(first) FROM batch WHERE first <= ?1), 0) ORDER BY first";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([low + 1])?;
    let mut is_done = true;
    while let Some(row) = rows.next()? {
        is_done = dropped < PARKED_MAX && last - low < PARKED_EVENTS_MAX;
        if !is_done {
            break;
        }
        let first: u64 = row.get(0)?;
        // What a damaged record is about is not known, so nothing is owed by it.
        let Ok(batch) = Batch::decode(first, row.get_ref(1)?.as_blob()?) else { continue };
        let own = batch.numbered().filter(|(seq, record)| *seq > low && record.names(sink));
        for (seq, _) in own {
            dropped += u64::from(settle_as_over(connection, sink, seq, now)?);
        }
        last = last.max(batch.last());
    }
    counts.seen += dropped;
    connection.prepare_cached("UPDATE cursor SET low = ?2 WHERE sink = ?1")?.execute(params![sink.0, last])?;
    Ok(is_done)
}

/// Records that a delivery is over, unless it was before; false then.
fn settle_as_over(connection: &Connection, sink: SinkId, seq: u64, now: Timestamp) -> rusqlite::Result<bool> {
    Settled::over(now).write_first(connection, sink, seq)
}
