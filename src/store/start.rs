//! Opening a store: what is on disk becomes what is known in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Semaphore, mpsc};

use super::accept::Accepting;
use super::epoch::Epochs;
use super::error::OpenError;
use super::format::{Batch, Damaged};
use super::known::Known;
use super::owned::Owned;
use super::queue::{Queue, for_batches_from};
use super::reader::{self, Reader};
use super::recent::Recent;
use super::space::Space;
use super::transaction::{NameKind, number_of};
use super::writer::Writer;
use super::{ACCEPTS_MAX, COMMANDS_MAX, Opened, Roster, Settings, SinkId, SinkStore, Store};
use super::{job, lock, schema, wal};
use crate::clock::{Clock, Timestamp, monotonic};
use crate::config::SinkName;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

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
    let tail_at_start = scan.next_seq - 1;
    let recent = Arc::new(Recent::after(tail_at_start));
    let facts = reader::Facts { network: settings.network, epochs: epochs.clone(), metrics: Arc::clone(&metrics) };
    let surveys = job::Surveys::new(&directory, facts.clone());
    let reader = Reader::start(&directory, facts, lifecycle)?;
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (mut queues, mut states) = (Vec::new(), Vec::new());
    for (name, backlog) in &settings.sinks {
        let Some(queue) = scan.queues.remove(name) else { continue };
        let state = queue.state(backlog, metrics.sink(name).unwrap_or_default());
        let (bell, commands) = (Arc::clone(&state.bell), commands.clone());
        let (reader, recent) = (reader.clone(), Arc::clone(&recent));
        states.push(state);
        let (id, found, unrecorded) = (queue.id, queue.found, super::unrecorded());
        let store = SinkStore { id, found, bell, tail_at_start, commands, unrecorded, reader, recent };
        queues.push((name.clone(), store));
    }
    let sinks = queues.iter().map(|(name, queue)| (name.clone(), queue.id)).collect();
    // A sink that is neither configured nor owed anything must not hold back what is behind it.
    for queue in scan.queues.values().filter(|queue| queue.pending() == 0) {
        connection.execute("UPDATE cursor SET low = ?1 WHERE sink = ?2", params![tail_at_start, queue.id.0])?;
    }
    let parked = scan.queues.iter().filter(|(_, queue)| queue.pending() > 0);
    let parked = parked.map(|(name, queue)| (name.clone(), queue.pending())).collect();
    metrics.store.known_ids.set(scan.known.len() as u64);
    let space = Space::new(&connection, &settings, Arc::clone(&metrics), scan.keys_from)?;
    let owned = Owned::open(&connection)?;
    let (marks, known_epochs) = (owned.inbox(), epochs.clone());
    let accepting = Accepting {
        network: settings.network,
        epochs,
        next_seq: scan.next_seq,
        known: scan.known,
        routes: HashMap::new(),
        recent: Arc::clone(&recent),
        owned,
        metrics: Arc::clone(&metrics),
    };
    let writer = Writer { connection, clock, accepting, sinks: states, metrics, space, lock };
    let watch = lifecycle.clone();
    let work = move || writer.run(inbox).unwrap_or_else(|reason| watch.fail(reason));
    lifecycle.spawn_thread("store-writer", work).map_err(OpenError::Thread)?;
    let accepts = Arc::new(Semaphore::new(ACCEPTS_MAX));
    let roster = Arc::new(Mutex::new(Roster { sinks, parked }));
    let epochs = known_epochs;
    Ok(Opened { store: Store { commands, reader, accepts, recent, roster, surveys, marks, epochs }, queues })
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
            let queue = Queue::find(connection, id, low, scan.now, &scan.metrics)?;
            scan.queues.insert(SinkName(name.into()), queue);
        }
        Ok(scan)
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let low = self.queues.values().map(|queue| queue.found.low + 1).min().unwrap_or(self.next_seq);
        for_batches_from(connection, low.min(self.keys_from), |first, batch| match batch {
            Ok(batch) => self.take(&batch),
            Err(Damaged) => self.report(first),
        })
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
            self.queues.values_mut().for_each(|queue| queue.take(seq, record));
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
