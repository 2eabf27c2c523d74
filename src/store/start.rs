//! Opening a store: what is on disk becomes what is known in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Semaphore, mpsc};

use super::accept::Accepting;
use super::epoch::Epochs;
use super::error::OpenError;
use super::format::{Batch, Damaged, Record};
use super::known::Known;
use super::owned::Owned;
use super::queue::{Queue, for_batches_from};
use super::reader::{self, Reader};
use super::recent::Recent;
use super::room::Waits;
use super::space::Space;
use super::transaction::{NameKind, number_of};
use super::vouch::{self, Vouch, Vouched};
use super::writer::{Command, Writer};
use super::{ACCEPTS_MAX, COMMANDS_MAX, Opened, Roster, Settings, SinkId, SinkStore, Store};
use super::{job, lock, schema, small, wal};
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
    check_presence(&directory)?;
    let is_log_whole = inspect_log(&directory, clock.now(), &metrics)?;
    let connection = schema::open(&directory, clock.now().0)?;
    check_small(&connection)?;
    let next = next_seq(&connection)?;
    if !is_log_whole | !is_vouched_for(&directory, next - 1, &metrics)? {
        Epochs::begin(&connection, next, clock.now())?;
    }
    let vouch =
        Vouch::open(&directory, next - 1).map_err(|source| OpenError::Directory { path: directory.clone(), source })?;
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
        let state = queue.state(name, backlog, metrics.sink(name).unwrap_or_default());
        let (bell, commands) = (Arc::clone(&state.bell), commands.clone());
        let (reader, recent) = (reader.clone(), Arc::clone(&recent));
        states.push(state);
        let (id, found, unrecorded) = (queue.id, queue.found, super::unrecorded());
        let store = SinkStore { id, found, bell, tail_at_start, commands, unrecorded, reader, recent };
        queues.push((name.clone(), store));
    }
    let sinks = queues.iter().map(|(name, queue)| (name.clone(), queue.id)).collect();
    let parked = park(&connection, &scan.queues, tail_at_start)?;
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
    let waits = Waits::new(Arc::clone(&metrics));
    let writer = Writer { connection, clock, accepting, sinks: states, metrics, space, waits, vouch, lock };
    start_writer(writer, inbox, lifecycle)?;
    let accepts = Arc::new(Semaphore::new(ACCEPTS_MAX));
    let roster = Arc::new(Mutex::new(Roster { sinks, parked }));
    let epochs = known_epochs;
    Ok(Opened { store: Store { commands, reader, accepts, recent, roster, surveys, marks, epochs }, queues })
}

/// What is owed to sinks that are not configured. One that is owed nothing must not hold back what is behind it.
fn park(
    connection: &Connection,
    queues: &BTreeMap<SinkName, Queue>,
    tail: u64,
) -> rusqlite::Result<BTreeMap<SinkName, u64>> {
    for queue in queues.values().filter(|queue| queue.pending() == 0) {
        connection.execute("UPDATE cursor SET low = ?1 WHERE sink = ?2", params![tail, queue.id.0])?;
    }
    let owed = queues.iter().filter(|(_, queue)| queue.pending() > 0);
    Ok(owed.map(|(name, queue)| (name.clone(), queue.pending())).collect())
}

fn start_writer(writer: Writer, inbox: mpsc::Receiver<Command>, lifecycle: &Lifecycle) -> Result<(), OpenError> {
    let watch = lifecycle.clone();
    let work = move || writer.run(inbox).unwrap_or_else(|reason| watch.fail(reason));
    lifecycle.spawn_thread("store-writer", work).map(drop).map_err(OpenError::Thread)
}

/// The number of the next event.
pub(super) fn next_seq(connection: &Connection) -> rusqlite::Result<u64> {
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
fn inspect_log(directory: &Path, now: Timestamp, metrics: &Metrics) -> Result<bool, OpenError> {
    let path = directory.join(schema::WAL_FILE);
    let failed = |source| OpenError::Directory { path: path.clone(), source };
    let tail = wal::Log::read(&path).map_err(failed)?.tail();
    if tail.cut_off > 0 {
        metrics.store.damaged_rows.increment();
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

/// Going on with these damaged would lose deliveries or park them, in silence.
fn check_small(connection: &Connection) -> Result<(), OpenError> {
    let mut faults = small::structure(connection)?;
    if faults.is_empty() {
        faults = small::faults(connection)?;
    }
    let Some(first) = faults.first() else { return Ok(()) };
    Err(OpenError::Damaged { what: format!("table {}, {}", first.table, first.what) })
}

/// A directory in which events were accepted has to have its database: to begin anew would lose them in silence.
fn check_presence(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(schema::FILE);
    let is_there = path.metadata().is_ok_and(|file| file.len() > 0);
    match vouched(directory)? {
        Vouched::Newest(newest) if !is_there => Err(OpenError::Vanished { path, newest }),
        _ => Ok(()),
    }
}

pub(super) fn vouched(directory: &Path) -> Result<Vouched, OpenError> {
    vouch::vouched(directory).map_err(|source| OpenError::Directory { path: directory.join(vouch::FILE), source })
}

/// Whether all the events that were ever accepted are there; reports those that are not.
fn is_vouched_for(directory: &Path, newest: u64, metrics: &Metrics) -> Result<bool, OpenError> {
    match vouched(directory)? {
        Vouched::Newest(accepted) if accepted > newest => {
            metrics.store.damaged_rows.increment();
            tracing::error!(
                first = newest + 1,
                last = accepted,
                "the store has lost its newest events: these were accepted, and nothing is left of them; their numbers \
                 are given again in a new epoch"
            );
            Ok(false)
        }
        Vouched::Damaged => {
            tracing::warn!("the file `{}` is damaged: nothing vouches for the end of the store", vouch::FILE);
            Ok(true)
        }
        Vouched::Newest(_) | Vouched::Nothing => Ok(true),
    }
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
        // Numbers have no gaps, so what is between two records that can be read was in records that cannot.
        let mut expected = None;
        for_batches_from(connection, low.min(self.keys_from), |first, batch| match batch {
            Ok(batch) => {
                if let Some(expected) = expected.filter(|expected| *expected < first) {
                    self.report(expected, first - 1);
                }
                expected = Some(batch.last() + 1);
                self.take(&batch);
            }
            Err(Damaged) => expected = expected.or(Some(first)),
        })?;
        if let Some(expected) = expected.filter(|expected| *expected < self.next_seq) {
            self.report(expected, self.next_seq - 1);
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch) {
        if batch.first >= self.keys_from {
            let age = self.now.since(batch.accepted_at);
            let accepted = monotonic().checked_sub(age);
            for (seq, record) in batch.numbered() {
                self.know(record, seq, accepted);
            }
        }
        for (seq, record) in batch.numbered() {
            self.queues.values_mut().for_each(|queue| queue.take(seq, record));
        }
    }

    fn know(&mut self, record: &Record, seq: u64, accepted: Option<Instant>) {
        let identity = record.identity();
        if record.origin.is_for_all() {
            return self.known.restore(&identity, seq, accepted);
        }
        record.targets.iter().for_each(|target| self.known.fill(&identity, target.sink, seq));
    }

    /// Names the events, and the sinks that may be owed some of them.
    fn report(&self, first: u64, last: u64) {
        self.metrics.store.damaged_rows.increment();
        let owed = self.queues.iter().filter(|(_, queue)| queue.found.low < last);
        let sinks: Vec<&str> = owed.map(|(name, _)| &*name.0).collect();
        tracing::error!(
            first,
            last,
            sinks = sinks.join(", "),
            "the store is damaged: the record of these events cannot be read, so they are no longer known and are not \
             delivered to the sinks named, if any of them were for these; their bytes are kept. `cspr-relay store \
             rebuild` puts them into quarantine, from where they can be routed again"
        );
    }
}
