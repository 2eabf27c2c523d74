//! What the store holds at a glance: found by keys, never by reading all of something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::dead::DeadLetter;
use super::error::OpenError;
use super::format::Batch;
use super::lookup::batch_row;
use super::transaction::NameKind;
use super::{SinkId, schema};
use crate::clock::{Timestamp, monotonic};
use crate::config::SinkName;

/// How long the oldest fresh delivery of a sink is looked for. It stands where the sink's queue begins, unless almost
/// nothing there is for that sink: then what is told is a little too old.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(20);

/// What the store holds at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overview {
    pub(crate) oldest_event_at: Option<Timestamp>,
    pub(crate) quarantined: u64,
    /// Gaps that nobody has seen to.
    pub(crate) gaps: u64,
    /// When the oldest of them began.
    pub(crate) oldest_gap_at: Option<Timestamp>,
    pub(crate) sinks: BTreeMap<SinkName, SinkOverview>,
}

/// What the store holds for a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkOverview {
    /// When its oldest pending event was accepted, if it was looked for.
    pub(crate) oldest_pending_at: Option<Timestamp>,
    pub(crate) dead_letters: u64,
}

/// Looks into the directory of a relay, for the oldest pending event of those sinks alone that are `owed` something:
/// for another one it would look through all that came since.
pub(crate) fn overview(directory: &Path, owed: &BTreeSet<SinkName>) -> Result<Overview, OpenError> {
    let connection = schema::open_reader(directory)?;
    let look = Look { connection: &connection };
    let mut found = Overview { oldest_event_at: look.oldest_event()?, ..Overview::default() };
    // They are few: the store keeps the newest ones only.
    found.quarantined = connection.query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))?;
    (found.gaps, found.oldest_gap_at) = super::gap::open_ones(&connection)?;
    let sql = "SELECT name.number, name.text, cursor.low, coalesce(letter_count.letters, 0) FROM name
               LEFT JOIN cursor ON cursor.sink = name.number LEFT JOIN letter_count ON letter_count.sink = name.number
               WHERE name.kind = ?1";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([NameKind::Sink as u8], |row| {
        Ok((SinkId(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, Option<u64>>(2)?, row.get(3)?))
    })?;
    for row in rows {
        let (sink, name, low, dead_letters) = row?;
        let name = SinkName(name.into());
        let oldest_pending_at = match owed.contains(&name) {
            true => look.oldest_pending(sink, low.unwrap_or_default())?,
            false => None,
        };
        found.sinks.insert(name, SinkOverview { oldest_pending_at, dead_letters });
    }
    Ok(found)
}

struct Look<'c> {
    connection: &'c Connection,
}

impl Look<'_> {
    fn oldest_event(&self) -> rusqlite::Result<Option<Timestamp>> {
        let oldest: Option<u64> = self.connection.query_row("SELECT min(seq) FROM event", [], |row| row.get(0))?;
        oldest.map_or(Ok(None), |seq| self.accepted_at(seq))
    }

    fn oldest_pending(&self, sink: SinkId, low: u64) -> rusqlite::Result<Option<Timestamp>> {
        let first = |table: &str| -> rusqlite::Result<Option<u64>> {
            let sql = format!("SELECT min(seq) FROM {table} WHERE sink = ?1");
            self.connection.prepare_cached(&sql)?.query_row([sink.0], |row| row.get(0))
        };
        let behind = [first("waiting")?, first("held")?].into_iter().flatten().min();
        let fresh = self.first_fresh(sink, low, behind.unwrap_or(i64::MAX.unsigned_abs()))?;
        let Some(oldest) = fresh.into_iter().chain(behind).min() else { return Ok(None) };
        if let Some(letter) = DeadLetter::find(self.connection, sink, oldest)? {
            return Ok(Some(letter.accepted_at));
        }
        self.accepted_at(oldest)
    }

    /// The first delivery beyond `low` and before `end` that is not settled.
    fn first_fresh(&self, sink: SinkId, low: u64, end: u64) -> rusqlite::Result<Option<u64>> {
        let began = monotonic();
        let settled = "SELECT 1 FROM settled WHERE sink = ?1 AND seq = ?2";
        let mut settled = self.connection.prepare_cached(settled)?;
        let mut next = low + 1;
        while next < end
            && let Some(batch) = self.batch_from(next)?
        {
            let own = batch.numbered().filter(|(seq, record)| (next..end).contains(seq) && record.names(sink));
            let mut own = own.map(|(seq, _)| settled.exists(params![sink.0, seq]).map(|is| (!is).then_some(seq)));
            if let Some(fresh) = own.find_map(Result::transpose) {
                return fresh.map(Some);
            }
            next = batch.last() + 1;
            if began.elapsed() > PATIENCE {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// The batch that holds `seq`, or else the next one that can be read.
    fn batch_from(&self, seq: u64) -> rusqlite::Result<Option<Batch>> {
        if let Some((first, row)) = batch_row(self.connection, seq)?
            && let Ok(batch) = Batch::decode(first, &row)
            && batch.last() >= seq
        {
            return Ok(Some(batch));
        }
        let sql = "SELECT first, row FROM batch WHERE first > ?1 ORDER BY first LIMIT 8";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([seq])?;
        while let Some(row) = rows.next()? {
            if let Ok(batch) = Batch::decode(row.get(0)?, row.get_ref(1)?.as_blob()?) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn accepted_at(&self, seq: u64) -> rusqlite::Result<Option<Timestamp>> {
        let Some((first, row)) = batch_row(self.connection, seq).optional()?.flatten() else { return Ok(None) };
        Ok(Batch::decode(first, &row).ok().map(|batch| batch.accepted_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::tests::{Fixture, candidate, settings};

    #[tokio::test]
    async fn the_oldest_is_looked_for_where_something_is_owed() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        fixture.store.accept(vec![candidate(&fixture.store, 1, 1, &["a", "b"])]).await.unwrap();
        fixture.sync().await;
        let name = |name: &str| SinkName(name.into());
        let found = overview(directory.path(), &BTreeSet::from([name("a"), name("c")])).unwrap().sinks;
        let oldest = ["a", "b", "c"].map(|sink| found[&name(sink)].oldest_pending_at);
        assert_eq!(oldest.map(|at| at.is_some()), [true, false, false], "`b` was not asked about, `c` is owed nothing");
        fixture.close().await;
    }
}
