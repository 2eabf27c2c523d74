//! Retention and space: what goes when, a small step at a time.
//!
//! Ids are forgotten after their window or beyond their number; bodies of settled events go after `retention`, and
//! sooner, oldest first, while more than [`HIGH_WATER`] of `max_bytes` is used; dead letters and quarantined messages
//! have limits of their own. What is pending is never touched here: a sink over its quota expires its own oldest, and
//! when nothing else helps, intake waits. A reserve file is given up when the disk itself is full, so that settlements
//! still find room.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::dead::DeadLetter;
use super::format::{Batch, Record};
use super::known::Known;
use super::lookup;
use super::room::{Room, Want};
use crate::clock::Timestamp;
use crate::config::{DeadLettersConfig, DedupConfig, StoreConfig};
use crate::metrics::Metrics;

/// The share of `max_bytes` from which settled history yields early.
const HIGH_WATER: f64 = 0.9;
/// Bounds on one step.
const EVENTS_MAX: u64 = 2048;
const BATCHES_MAX: usize = 512;
const VACUUM_PAGES: u64 = 256;
/// Free pages are given back to the file system beyond this many.
const FREE_PAGES_MIN: u64 = 4096;
/// Steps after which the pass over the history starts again at its oldest, to see what was pending then.
const STEPS_PER_PASS: u32 = 60;
const QUARANTINE_MAX: u64 = 10_000;
/// More than the write-ahead log grows to: given up, it lets the whole log be folded into the file, and the log then
/// serves the settlements as often as needed.
const RESERVE_BYTES: usize = 20 * 1024 * 1024;
const RESERVE_FILE: &str = "reserve";

pub(super) struct Space {
    store: StoreConfig,
    dedup: DedupConfig,
    dead_letters: DeadLettersConfig,
    metrics: Arc<Metrics>,
    reserve: PathBuf,
    page_bytes: u64,
    used: u64,
    /// The pass over the history goes on here.
    scan: u64,
    steps: u32,
    /// Ids of batches before this one are forgotten.
    keys_from: u64,
    is_disk_full: bool,
    is_high: bool,
}

/// Whether SQLite found no space; such a transaction is rolled back and may be tried again.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

impl Space {
    pub(super) fn new(
        connection: &Connection,
        settings: &super::Settings,
        metrics: Arc<Metrics>,
        keys_from: u64,
    ) -> rusqlite::Result<Self> {
        let page_bytes = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let mut space = Self {
            store: settings.store.clone(),
            dedup: settings.dedup,
            dead_letters: settings.dead_letters,
            metrics,
            reserve: settings.store.path.join(RESERVE_FILE),
            page_bytes,
            used: 0,
            scan: 0,
            steps: 0,
            keys_from,
            is_disk_full: false,
            is_high: false,
        };
        space.measure(connection)?;
        space.keep_reserve();
        Ok(space)
    }

    /// Whether the quota and the disk leave room for more events. What the reserve has freed is for settlements.
    pub(super) fn room(&mut self, connection: &Connection) -> rusqlite::Result<Room> {
        self.measure(connection)?;
        Ok(match self.is_disk_full {
            true => Room::None(Want::Disk),
            false if self.used > self.store.max_bytes => Room::None(Want::Quota),
            false => Room::Some,
        })
    }

    /// Whether a step is due before the next tick.
    pub(super) fn is_pressed(&self) -> bool {
        self.is_high
    }

    /// The disk is full: reports it once and gives up the reserve.
    pub(super) fn disk_is_full(&mut self, error: &rusqlite::Error) {
        if !self.is_disk_full {
            let path = self.store.path.display();
            tracing::error!(%error, %path, "the disk is full: intake waits, deliveries go on; make room on this volume");
        }
        self.is_disk_full = true;
        // It may be gone already; then there is nothing left to give up.
        let _gone = std::fs::remove_file(&self.reserve);
    }

    /// One bounded step of everything that this file is for, in one transaction of its own.
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        known: &mut Known,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_PASS) {
            self.scan = 0;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stepped = self.forget_ids(&transaction, known, now).and_then(|()| {
            self.drop_history(&transaction, now)?;
            self.drop_batches(&transaction)?;
            lookup::drop_gone(&transaction)?;
            DeadLetter::expire(&transaction, &self.dead_letters, now, EVENTS_MAX)?;
            drop_quarantine(&transaction)?;
            self.give_back(&transaction)?;
            transaction.commit()
        });
        match stepped {
            // There will be another step; what was forgotten in memory only is forgotten early.
            Err(error) if is_full(&error) => self.disk_is_full(&error),
            Err(error) => return Err(error),
            Ok(()) if self.is_disk_full => self.recover(),
            Ok(()) => {}
        }
        self.measure(connection)
    }

    fn recover(&mut self) {
        self.keep_reserve();
        if self.reserve.exists() {
            self.is_disk_full = false;
            tracing::info!("there is room on the disk again: intake goes on");
        }
    }

    fn keep_reserve(&self) {
        let is_there = self.reserve.metadata().is_ok_and(|meta| meta.len() >= RESERVE_BYTES as u64);
        if !is_there && fill(&self.reserve).is_err() {
            // A partial reserve would take room from the settlements that it is for.
            let _gone = std::fs::remove_file(&self.reserve);
        }
    }

    fn measure(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let pages: u64 = connection.prepare_cached("PRAGMA page_count")?.query_row([], |row| row.get(0))?;
        let free: u64 = connection.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))?;
        self.used = pages.saturating_sub(free) * self.page_bytes;
        self.metrics.store.bytes.set(self.used);
        let is_high = self.used as f64 > self.store.max_bytes as f64 * HIGH_WATER;
        if is_high && !self.is_high {
            let (used, max) = (self.used, self.store.max_bytes);
            tracing::warn!(
                used_bytes = used,
                max_bytes = max,
                "the store is over 90 % of store.max_bytes: settled history yields first, then sinks expire by their \
                 backlog policy, then intake waits"
            );
        }
        self.is_high = is_high;
        Ok(())
    }

    /// Forgets the ids of batches whose window is over or that are beyond the number of keys.
    fn forget_ids(&mut self, transaction: &Transaction<'_>, known: &mut Known, now: Timestamp) -> rusqlite::Result<()> {
        let from = self.keys_from;
        for _ in 0..BATCHES_MAX {
            let Some((first, batch)) = next_batch(transaction, self.keys_from)? else { break };
            let Some(batch) = batch else {
                self.keys_from = first + 1;
                continue;
            };
            let is_over = now.since(batch.accepted_at) >= self.dedup.window;
            if !is_over && known.len() <= self.dedup.max_keys {
                break;
            }
            if !is_over {
                self.metrics.store.ids_forgotten.add(batch.records.len() as u64);
            }
            let own = batch.records.iter().filter(|record| record.origin.is_for_all());
            own.for_each(|record| known.forget(&record.identity()));
            self.keys_from = batch.last() + 1;
        }
        if self.keys_from != from {
            transaction.execute("UPDATE meta SET value = ?1 WHERE key = 'keys_from'", [self.keys_from])?;
        }
        Ok(())
    }

    /// Deletes bodies of settled events that are old enough, or the oldest while space is short.
    fn drop_history(&mut self, transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
        let oldest: Option<u64> = transaction.query_row("SELECT min(seq) FROM event", [], |row| row.get(0))?;
        let Some(oldest) = oldest else { return Ok(()) };
        if self.scan < oldest {
            self.scan = batch_of(transaction, oldest)?.unwrap_or(oldest);
        }
        let pending = Pending::read(transaction)?;
        let mut events = 0;
        for _ in 0..BATCHES_MAX {
            let Some((first, batch)) = next_batch(transaction, self.scan)? else { break };
            let Some(batch) = batch else {
                self.scan = first + 1;
                continue;
            };
            let is_old = now.since(batch.accepted_at) >= self.store.retention;
            if events >= EVENTS_MAX || !(is_old || self.is_high) {
                break;
            }
            batch.numbered().try_for_each(|(seq, record)| pending.delete_if_settled(seq, record))?;
            events += batch.records.len() as u64;
            self.scan = batch.last() + 1;
        }
        Ok(())
    }

    /// Deletes the oldest batch records that nothing needs any more.
    fn drop_batches(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let low: Option<u64> = transaction.query_row("SELECT min(low) FROM cursor", [], |row| row.get(0))?;
        let end = self.keys_from.min(low.unwrap_or(u64::MAX - 1) + 1);
        let oldest: Option<u64> = transaction.query_row("SELECT min(seq) FROM event", [], |row| row.get(0))?;
        let end = end.min(oldest.unwrap_or(u64::MAX));
        // The batch that holds `end` stays, and so do all after it.
        let Some(first) = batch_of(transaction, end)? else { return Ok(()) };
        let gone =
            "DELETE FROM batch WHERE first IN (SELECT first FROM batch WHERE first < ?1 ORDER BY first LIMIT ?2)";
        if transaction.execute(gone, params![first, BATCHES_MAX])? == 0 {
            return Ok(());
        }
        let kept: Option<u64> = transaction.query_row("SELECT min(first) FROM batch", [], |row| row.get(0))?;
        let settled = "DELETE FROM settled WHERE sink = ?1 AND seq < ?2";
        // Those of replays to sinks that the records did not name; the others went with their events.
        let attempts = "DELETE FROM attempt WHERE sink = ?1 AND seq < ?2 AND NOT EXISTS
                        (SELECT 1 FROM dead WHERE dead.sink = ?1 AND dead.seq = attempt.seq)";
        let mut cursors = transaction.prepare_cached("SELECT sink FROM cursor")?;
        for sink in cursors.query_map([], |row| row.get::<_, u32>(0))? {
            let key = (sink?, kept.unwrap_or(first));
            transaction.prepare_cached(settled)?.execute(key)?;
            transaction.prepare_cached(attempts)?.execute(key)?;
        }
        Ok(())
    }

    fn give_back(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let free: u64 = transaction.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        if free > FREE_PAGES_MIN && free * self.page_bytes * 4 > self.used {
            transaction.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        }
        Ok(())
    }
}

/// Which deliveries are pending, as of one transaction.
struct Pending<'t> {
    transaction: &'t Transaction<'t>,
    lows: std::collections::HashMap<u32, u64>,
    /// Per sink with rows of its own: the first and the last of them. Few sinks have any, and seldom old ones.
    rows: Vec<(u32, std::ops::RangeInclusive<u64>)>,
}

impl<'t> Pending<'t> {
    fn read(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        let mut statement = transaction.prepare_cached("SELECT sink, low FROM cursor")?;
        let lows: std::collections::HashMap<u32, u64> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let mut rows = Vec::new();
        let mut extents = transaction.prepare_cached(
            "SELECT (SELECT min(seq) FROM waiting WHERE sink = ?1), (SELECT max(seq) FROM waiting WHERE sink = ?1),
                    (SELECT min(seq) FROM held WHERE sink = ?1), (SELECT max(seq) FROM held WHERE sink = ?1)",
        )?;
        for sink in lows.keys() {
            let ends: [Option<u64>; 4] =
                extents.query_row([sink], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
            let ends = || ends.into_iter().flatten();
            if let Some((first, last)) = ends().min().zip(ends().max()) {
                rows.push((*sink, first..=last));
            }
        }
        Ok(Self { transaction, lows, rows })
    }

    fn low(&self, sink: u32) -> u64 {
        self.lows.get(&sink).copied().unwrap_or(0)
    }

    fn delete_if_settled(&self, seq: u64, record: &Record) -> rusqlite::Result<()> {
        for target in &record.targets {
            if self.is_fresh(target.sink.0, seq)? {
                return Ok(());
            }
        }
        // Sinks that the record does not name may have it too, by a replay.
        for (sink, _) in self.rows.iter().filter(|(_, extent)| extent.contains(&seq)) {
            if self.has_row(*sink, seq)? {
                return Ok(());
            }
        }
        self.delete_event(seq, record)
    }

    fn is_fresh(&self, sink: u32, seq: u64) -> rusqlite::Result<bool> {
        let settled = "SELECT 1 FROM settled WHERE sink = ?1 AND seq = ?2";
        Ok(seq > self.low(sink) && !self.transaction.prepare_cached(settled)?.exists(params![sink, seq])?)
    }

    fn has_row(&self, sink: u32, seq: u64) -> rusqlite::Result<bool> {
        let open = "SELECT 1 FROM waiting WHERE sink = ?1 AND seq = ?2
                    UNION ALL SELECT 1 FROM held WHERE sink = ?1 AND seq = ?2";
        self.transaction.prepare_cached(open)?.exists(params![sink, seq])
    }

    /// Deletes the body and, where a restart cannot ask for it any more, what is recorded of the deliveries.
    fn delete_event(&self, seq: u64, record: &Record) -> rusqlite::Result<()> {
        let transaction = self.transaction;
        transaction.prepare_cached("DELETE FROM event WHERE seq = ?1")?.execute([seq])?;
        for target in &record.targets {
            let key = params![target.sink.0, seq];
            if seq <= self.low(target.sink.0) {
                transaction.prepare_cached("DELETE FROM settled WHERE sink = ?1 AND seq = ?2")?.execute(key)?;
            }
            let attempts = "DELETE FROM attempt WHERE sink = ?1 AND seq = ?2
                            AND NOT EXISTS (SELECT 1 FROM dead WHERE sink = ?1 AND seq = ?2)";
            transaction.prepare_cached(attempts)?.execute(key)?;
        }
        Ok(())
    }
}

/// The first batch at or after `from`; without content if its record is damaged.
fn next_batch(connection: &Connection, from: u64) -> rusqlite::Result<Option<(u64, Option<Batch>)>> {
    let sql = "SELECT first, row FROM batch WHERE first >= ?1 ORDER BY first LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([from], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    Ok(row.map(|(first, row)| (first, Batch::decode(first, &row).ok())))
}

/// The batch that holds `seq`, or the last one before it.
fn batch_of(connection: &Connection, seq: u64) -> rusqlite::Result<Option<u64>> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    connection.prepare_cached("SELECT max(first) FROM batch WHERE first <= ?1")?.query_row([seq], |row| row.get(0))
}

fn drop_quarantine(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "DELETE FROM quarantine WHERE number <= (SELECT max(number) FROM quarantine) - ?1";
    transaction.prepare_cached(sql)?.execute([QUARANTINE_MAX]).map(drop)
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let zeros = vec![0; RESERVE_BYTES];
    file.write_all(&zeros)?;
    file.sync_all()
}
