//! Opening a store: what is on disk becomes what is known in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Semaphore, mpsc};

use super::accept::Accepting;
use super::epoch::Epochs;
use super::error::OpenError;
use super::format::{Batch, Damaged, Table, open as open_row};
use super::known::Known;
use super::reader::{self, Reader};
use super::recent::Recent;
use super::space::Space;
use super::transaction::{NameKind, number_of};
use super::writer::{SinkState, Writer};
use super::{ACCEPTS_MAX, Bell, COMMANDS_MAX, Found, Held, Opened, Settings, SinkId, SinkStore, Store, Waiting};
use super::{lock, schema, wal};
use crate::clock::{Clock, Timestamp, monotonic};
use crate::config::{BacklogConfig, SinkName};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, SinkMetrics};

pub(super) fn open(
    settings: Settings,
    clock: Clock,
    metrics: Arc<Metrics>,
    lifecycle: &Lifecycle,
) -> Result<Opened, OpenError> {
    let directory = settings.store.path.clone();
    let lock = lock::lock(&directory)?;
    let is_log_whole = inspect_log(&directory, clock.now())?;
    let connection = schema::open(&directory, clock.now().0)?;
    if !is_log_whole {
        Epochs::begin(&connection, next_seq(&connection)?, clock.now())?;
    }
    let mut scan = Scan::new(&connection, &settings, clock.now(), Arc::clone(&metrics))?;
    scan.run(&connection)?;
    let epochs = Epochs::read(&connection)?;
    let recent = Arc::new(Recent::default());
    let tail_at_start = scan.next_seq - 1;
    let facts = reader::Facts {
        network: settings.network,
        epochs: epochs.clone(),
        tail_at_start,
        metrics: Arc::clone(&metrics),
    };
    let reader = Reader::start(&directory, facts, lifecycle)?;
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (mut queues, mut states) = (Vec::new(), Vec::new());
    for (name, backlog) in &settings.sinks {
        let Some(queue) = scan.queues.remove(name) else { continue };
        let bell = Arc::new(Bell::default());
        bell.newest.store(queue.newest, Ordering::Release);
        bell.seen.store(queue.found.low, Ordering::Release);
        states.push(state(&queue, backlog, &bell, metrics.sink(name)));
        let (commands, reader, recent) = (commands.clone(), reader.clone(), Arc::clone(&recent));
        queues.push((name.clone(), SinkStore { id: queue.id, found: queue.found, bell, commands, reader, recent }));
    }
    let sinks = queues.iter().map(|(name, queue)| (name.clone(), queue.id)).collect();
    // A sink that is neither configured nor owed anything must not hold back what is behind it.
    for queue in scan.queues.values().filter(|queue| queue.pending == 0) {
        connection.execute("UPDATE cursor SET low = ?1 WHERE sink = ?2", params![tail_at_start, queue.id.0])?;
    }
    let parked = scan.queues.iter().filter(|(_, queue)| queue.pending > 0);
    let parked = parked.map(|(name, queue)| (name.clone(), queue.pending)).collect();
    metrics.store.known_ids.set(scan.known.len() as u64);
    let space = Space::new(&connection, &settings, Arc::clone(&metrics), scan.keys_from)?;
    let accepting = Accepting {
        network: settings.network,
        epochs,
        next_seq: scan.next_seq,
        known: scan.known,
        routes: HashMap::new(),
        recent: Arc::clone(&recent),
        metrics: Arc::clone(&metrics),
    };
    let writer = Writer { connection, clock, accepting, sinks: states, metrics, space, lock };
    let watch = lifecycle.clone();
    let work = move || writer.run(inbox).unwrap_or_else(|reason| watch.fail(reason));
    lifecycle.spawn_thread("store-writer", work).map_err(OpenError::Thread)?;
    let accepts = Arc::new(Semaphore::new(ACCEPTS_MAX));
    Ok(Opened { store: Store { commands, reader, accepts, sinks, parked }, queues })
}

fn state(queue: &Queue, backlog: &BacklogConfig, bell: &Arc<Bell>, metrics: Option<&Arc<SinkMetrics>>) -> SinkState {
    let metrics = metrics.map(Arc::clone).unwrap_or_default();
    metrics.pending.set(queue.pending);
    metrics.pending_bytes.set(queue.pending_bytes);
    SinkState {
        id: queue.id,
        on_full: backlog.on_full,
        backlog_bytes_max: backlog.max_bytes,
        bell: Arc::clone(bell),
        metrics,
    }
}

/// The number of the next event.
fn next_seq(connection: &Connection) -> rusqlite::Result<u64> {
    let newest: Option<u64> = connection.query_row("SELECT max(seq) FROM event", [], |row| row.get(0))?;
    let sql = "SELECT first, row FROM batch ORDER BY first DESC LIMIT 1";
    let batch =
        connection.query_row(sql, [], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    // Retention may have removed the bodies of the newest batch.
    let last = batch.map_or(0, |(first, row)| Batch::decode(first, &row).map_or(first, |batch| batch.last()));
    Ok(last.max(newest.unwrap_or(0)) + 1)
}

/// Reports what a crash, or worse, has done to the log, and whether it is whole. One with a hole is kept aside before
/// SQLite cuts it. A last frame damaged later looks like a torn one.
fn inspect_log(directory: &Path, now: Timestamp) -> Result<bool, OpenError> {
    let path = directory.join(schema::WAL_FILE);
    let failed = |source| OpenError::Directory { path: path.clone(), source };
    let tail = wal::inspect(&path).map_err(failed)?;
    if tail.cut_off > 0 {
        let copy = directory.join(format!("{}.damaged-{}", schema::WAL_FILE, now.unix_seconds()));
        std::fs::copy(&path, &copy).map_err(failed)?;
        tracing::error!(
            valid_frames = tail.valid,
            cut_off_frames = tail.cut_off,
            copy = %copy.display(),
            "the write-ahead log is damaged in its middle: the newest commits behind the damage are not vouched for \
             and will not be read; a copy was kept"
        );
    } else if tail.is_torn {
        tracing::info!(valid_frames = tail.valid, "the write-ahead log has a torn tail, as after a crash: repaired");
    }
    Ok(tail.cut_off == 0 && !tail.is_torn)
}

fn meta(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
}

/// A sink's queue, while it is being found.
struct Queue {
    id: SinkId,
    found: Found,
    /// Settled beyond `low`.
    settled: HashSet<u64>,
    newest: u64,
    pending: u64,
    pending_bytes: u64,
}

impl Queue {
    fn take(&mut self, seq: u64, body_bytes: u32) {
        self.newest = seq;
        if seq > self.found.low && !self.settled.contains(&seq) {
            self.pending += 1;
            self.pending_bytes += u64::from(body_bytes);
        }
    }
}

/// One pass over the batch records.
struct Scan {
    queues: BTreeMap<SinkName, Queue>,
    known: Known,
    keys_from: u64,
    next_seq: u64,
    now: Timestamp,
    metrics: Arc<Metrics>,
}

impl Scan {
    fn new(
        connection: &Connection,
        settings: &Settings,
        now: Timestamp,
        metrics: Arc<Metrics>,
    ) -> rusqlite::Result<Self> {
        let next_seq = next_seq(connection)?;
        let known = Known::new(&settings.dedup);
        let keys_from = meta(connection, "keys_from")?;
        let mut scan = Self { queues: BTreeMap::new(), known, keys_from, next_seq, now, metrics };
        for (name, _) in &settings.sinks {
            let number = number_of(connection, NameKind::Sink, &name.0)?;
            connection.execute("INSERT OR IGNORE INTO cursor VALUES (?1, ?2)", params![number, next_seq - 1])?;
        }
        let sql = "SELECT name.text, cursor.sink, cursor.low FROM cursor JOIN name ON name.number = cursor.sink";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, SinkId(row.get(1)?), row.get(2)?)))?;
        for row in rows {
            let (name, id, low) = row?;
            let queue = scan.queue(connection, id, low)?;
            scan.queues.insert(SinkName(name.into()), queue);
        }
        Ok(scan)
    }

    fn queue(&self, connection: &Connection, id: SinkId, low: u64) -> rusqlite::Result<Queue> {
        let mut settled = connection.prepare_cached("SELECT seq FROM settled WHERE sink = ?1 AND seq > ?2")?;
        let settled: HashSet<u64> =
            settled.query_map(params![id.0, low], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let (waiting, held) = self.rows(connection, id)?;
        let counted = waiting.iter().map(|w| (w.seq, w.body_bytes)).chain(held.iter().map(|h| (h.seq, h.body_bytes)));
        // Those beyond `low` are counted with the batch records, but for dead letters that wait to be replayed: they
        // are settled.
        let is_counted_here = |(seq, _): &(u64, u32)| *seq <= low || settled.contains(seq);
        let below: Vec<u32> = counted.filter(is_counted_here).map(|(_, bytes)| bytes).collect();
        Ok(Queue {
            id,
            found: Found { low, waiting, held },
            settled,
            newest: 0,
            pending: below.len() as u64,
            pending_bytes: below.iter().map(|bytes| u64::from(*bytes)).sum(),
        })
    }

    fn rows(&self, connection: &Connection, id: SinkId) -> rusqlite::Result<(Vec<Waiting>, Vec<Held>)> {
        let read = |sql| -> rusqlite::Result<Vec<(u64, Vec<u8>)>> {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map([id.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let (mut waiting, mut held) = (Vec::new(), Vec::new());
        for (seq, row) in read("SELECT seq, row FROM waiting WHERE sink = ?1 ORDER BY seq")? {
            let payload = open_row(Table::Waiting, &[id.0.into(), seq], &row);
            let decoded = payload.and_then(|payload| Waiting::decode(seq, payload));
            waiting.push(decoded.unwrap_or_else(|damage| self.due_at_once(seq, damage)));
        }
        for (seq, row) in read("SELECT seq, row FROM held WHERE sink = ?1 ORDER BY seq")? {
            let payload = open_row(Table::Held, &[id.0.into(), seq], &row);
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
            delay: std::time::Duration::ZERO,
            due_at: self.now,
            blocking_since: None,
        }
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let low = self.queues.values().map(|queue| queue.found.low + 1).min().unwrap_or(self.next_seq);
        let from = low.min(self.keys_from);
        let sql = "SELECT first, row FROM batch WHERE first >= coalesce(
                     (SELECT max(first) FROM batch WHERE first <= ?1), 0) ORDER BY first";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([from])?;
        while let Some(row) = rows.next()? {
            let first: u64 = row.get(0)?;
            match Batch::decode(first, row.get_ref(1)?.as_blob()?) {
                Ok(batch) => self.take(&batch),
                Err(Damaged) => self.report(first),
            }
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch) {
        if batch.first >= self.keys_from {
            let age = self.now.since(batch.accepted_at);
            let accepted = monotonic().checked_sub(age);
            for record in &batch.records {
                self.known.restore(&record.identity(), accepted);
            }
        }
        for (seq, record) in batch.numbered() {
            let wanted_by = |queue: &&mut Queue| record.targets.iter().any(|target| target.sink == queue.id);
            self.queues.values_mut().filter(wanted_by).for_each(|queue| queue.take(seq, record.body_bytes));
        }
    }

    fn report(&self, first: u64) {
        self.metrics.store.damaged_rows.increment();
        tracing::error!(
            first,
            "the store is damaged: a batch record cannot be read; its events are no longer known, and what sinks \
             still needed of them is not delivered; their bytes are kept"
        );
    }
}
