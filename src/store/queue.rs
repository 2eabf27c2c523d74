//! The queue of one sink, as the disk has it: found at start, or when a sink joins a running relay.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::bell::Bell;
use super::format::{Batch, Damaged, Record, Table, open};
use super::writer::SinkState;
use super::{Found, Held, Paused, SinkId, Waiting};
use crate::clock::Timestamp;
use crate::config::{BacklogConfig, SinkName};
use crate::metrics::{Metrics, SinkMetrics};

/// A sink's queue, while it is being found.
pub(super) struct Queue {
    pub(super) id: SinkId,
    pub(super) found: Found,
    /// Settled beyond `low`.
    settled: HashSet<u64>,
    newest: u64,
    pending: u64,
    pending_bytes: u64,
    /// The bytes of those beyond `low` that have rows of their own, until their records have been seen: what remains
    /// are replays to a sink that the records do not name.
    unnamed: HashMap<u64, u32>,
}

impl Queue {
    /// What stands in rows of its own. The batch records after `low` are to follow, with [`Self::take`].
    pub(super) fn find(
        connection: &Connection,
        id: SinkId,
        low: u64,
        now: Timestamp,
        metrics: &Metrics,
    ) -> rusqlite::Result<Self> {
        let mut settled = connection.prepare_cached("SELECT seq FROM settled WHERE sink = ?1 AND seq > ?2")?;
        let settled: HashSet<u64> =
            settled.query_map(params![id.0, low], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let (waiting, held) = Rows { connection, now, metrics }.read(id)?;
        let counted = waiting.iter().map(|w| (w.seq, w.body_bytes)).chain(held.iter().map(|h| (h.seq, h.body_bytes)));
        // Those beyond `low` are counted with the batch records, but for dead letters that wait to be replayed: they
        // are settled.
        let is_counted_here = |(seq, _): &(u64, u32)| *seq <= low || settled.contains(seq);
        let (below, beyond): (Vec<_>, Vec<_>) = counted.partition(is_counted_here);
        let mut settled_beyond: Vec<u64> = settled.iter().copied().collect();
        settled_beyond.sort_unstable();
        Ok(Self {
            id,
            found: Found { low, waiting, held, settled: settled_beyond, paused: Paused::read(connection, id)? },
            settled,
            newest: 0,
            pending: below.len() as u64,
            pending_bytes: below.iter().map(|(_, bytes)| u64::from(*bytes)).sum(),
            unnamed: beyond.into_iter().collect(),
        })
    }

    /// As [`Self::find`], with the batch records.
    pub(super) fn find_whole(
        connection: &Connection,
        id: SinkId,
        low: u64,
        now: Timestamp,
        metrics: &Metrics,
    ) -> rusqlite::Result<Self> {
        let mut queue = Self::find(connection, id, low, now, metrics)?;
        for_batches_from(connection, low + 1, |first, batch| match batch {
            Ok(batch) => batch.numbered().for_each(|(seq, record)| queue.take(seq, record)),
            // It is told in detail by whoever reads the events.
            Err(Damaged) => tracing::error!(first, "the store is damaged: a batch record cannot be read"),
        })?;
        Ok(queue)
    }

    /// Takes an event of a batch record into account.
    pub(super) fn take(&mut self, seq: u64, record: &Record) {
        if !record.names(self.id) {
            return;
        }
        self.newest = seq;
        self.unnamed.remove(&seq);
        if seq > self.found.low && !self.settled.contains(&seq) {
            self.pending += 1;
            self.pending_bytes += u64::from(record.body_bytes);
        }
    }

    /// How many deliveries are pending.
    pub(super) fn pending(&self) -> u64 {
        self.pending + self.unnamed.len() as u64
    }

    /// What the writer keeps of it, with gauges that show it.
    pub(super) fn state(&self, name: &SinkName, backlog: &BacklogConfig, metrics: Arc<SinkMetrics>) -> SinkState {
        metrics.pending.set(self.pending());
        metrics
            .pending_bytes
            .set(self.pending_bytes + self.unnamed.values().map(|bytes| u64::from(*bytes)).sum::<u64>());
        let bell = Arc::new(Bell::at(self.newest, self.found.low));
        let (id, name) = (self.id, name.clone());
        SinkState { id, name, on_full: backlog.on_full, backlog_bytes_max: backlog.max_bytes, bell, metrics }
    }
}

/// Shows every batch record from the one that holds `seq` on.
pub(super) fn for_batches_from(
    connection: &Connection,
    seq: u64,
    mut show: impl FnMut(u64, Result<Batch, Damaged>),
) -> rusqlite::Result<()> {
    let sql = "SELECT first, row FROM batch WHERE first >= coalesce(
                 (SELECT max(first) FROM batch WHERE first <= ?1), 0) ORDER BY first";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let first: u64 = row.get(0)?;
        show(first, Batch::decode(first, row.get_ref(1)?.as_blob()?));
    }
    Ok(())
}

/// Reads the rows of a queue.
struct Rows<'a> {
    connection: &'a Connection,
    now: Timestamp,
    metrics: &'a Metrics,
}

impl Rows<'_> {
    fn read(&self, id: SinkId) -> rusqlite::Result<(Vec<Waiting>, Vec<Held>)> {
        let read = |sql| -> rusqlite::Result<Vec<(u64, Vec<u8>)>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map([id.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let (mut waiting, mut held) = (Vec::new(), Vec::new());
        for (seq, row) in read("SELECT seq, row FROM waiting WHERE sink = ?1 ORDER BY seq")? {
            let payload = open(Table::Waiting, &[id.0.into(), seq], &row);
            let decoded = payload.and_then(|payload| Waiting::decode(seq, payload));
            waiting.push(decoded.unwrap_or_else(|damage| self.due_at_once(seq, damage)));
        }
        for (seq, row) in read("SELECT seq, row FROM held WHERE sink = ?1 ORDER BY seq")? {
            let payload = open(Table::Held, &[id.0.into(), seq], &row);
            match payload.and_then(|payload| Held::decode(seq, payload)) {
                Ok(row) => held.push(row),
                Err(damage) => waiting.push(self.due_at_once(seq, damage)),
            }
        }
        Ok((waiting, held))
    }

    /// A damaged row of a queue still says which delivery it is: it goes at once and starts anew.
    fn due_at_once(&self, seq: u64, damage: Damaged) -> Waiting {
        self.metrics.store.damaged_rows.increment();
        tracing::error!(seq, %damage, "a waiting delivery's row is damaged: it is tried at once, its attempts count from zero");
        Waiting {
            seq,
            lane: 0,
            body_bytes: 0,
            attempts: 0,
            is_replay: false,
            delay: Duration::ZERO,
            due_at: self.now,
            blocking_since: None,
        }
    }
}
