//! What must still be there after a harm, worked out from the whole directory and from which bytes were changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::world::{Key, Rows, SINKS, dump, places};
use crate::clock::Clock;
use crate::config::SinkName;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::store::format::{Batch, Table, open};
use crate::store::rebuild::Rebuilt;
use crate::store::tests::{Fixture, settings};
use crate::store::wal::{FRAME_HEADER_BYTES, Frame, Log};
use crate::store::{Opened, SinkStore, Store, Waiting, schema};

/// A look at fresh deliveries that does not come to an end would go on beyond this.
const PAGES_MAX: usize = 1_000;

/// The whole directory.
pub(super) struct Original {
    pub(super) rows: Rows,
    places: BTreeMap<u32, BTreeSet<Key>>,
    log: Log,
    /// Pending deliveries: sink and number.
    pending: BTreeSet<(i64, i64)>,
    /// Those of them that operators asked for.
    replays: BTreeSet<(i64, i64)>,
}

impl Original {
    pub(super) fn new(directory: &Path) -> Self {
        let rows = dump(directory).unwrap();
        let pending = pending(&rows);
        let replays = replays(&rows);
        assert!(replays.len() > 20, "{replays:?}");
        Self {
            replays,
            places: places(directory),
            log: Log::read(&directory.join(schema::WAL_FILE)).unwrap(),
            pending,
            rows,
        }
    }

    /// The rows of which a changed file can lack something.
    pub(super) fn touched(&self, file: &str, bytes: Range<usize>) -> BTreeSet<Key> {
        if file == schema::FILE {
            let first = bytes.start / schema::PAGE_BYTES + 1;
            let last = (bytes.end.max(1) - 1) / schema::PAGE_BYTES + 1;
            return (first..=last).flat_map(|page| self.on_page(page as u32)).collect();
        }
        if file != schema::WAL_FILE {
            return BTreeSet::new();
        }
        let frame_bytes = (FRAME_HEADER_BYTES + schema::PAGE_BYTES) as u64;
        let begin_of = |frame: &Frame| frame.offset - FRAME_HEADER_BYTES as u64;
        let ends: Vec<u64> = self.log.frames.iter().filter(|frame| frame.is_commit).map(begin_of).collect();
        let is_cut = bytes.end > 600 + bytes.start;
        // A commit that lost its end never was.
        let is_last = ends.iter().rev().nth(1).is_none_or(|end| (bytes.end as u64) > *end);
        let start =
            ends.iter().rfind(|end| **end + frame_bytes <= bytes.start as u64).map_or(0, |end| end + frame_bytes);
        let hit = self.log.frames.iter().filter(|frame| {
            let begin = begin_of(frame);
            // The checksum of the one before is where that of a frame begins.
            let is_hit = (bytes.start as u64) < begin + frame_bytes && (bytes.end as u64) + frame_bytes > begin;
            is_hit || (is_cut || is_last) && begin >= start
        });
        hit.flat_map(|frame| self.on_page(frame.page)).collect()
    }

    fn on_page(&self, page: u32) -> impl Iterator<Item = Key> {
        self.places.get(&page).into_iter().flatten().cloned()
    }

    /// What a relay that starts with this file damaged has to find, or to say. A log that lost its end takes the replays
    /// of a job with it, and the job's own progress too: it makes them again.
    fn owed(&self, file: &str) -> impl Iterator<Item = &(i64, i64)> {
        let is_log = file == schema::WAL_FILE;
        self.pending.iter().filter(move |delivery| !is_log || !self.replays.contains(*delivery))
    }

    fn sink(&self, name: &str) -> i64 {
        let row = self
            .rows
            .iter()
            .find(|((table, _), row)| table == "name" && row.as_slice() == format!("1 {name}").as_bytes());
        row.unwrap().0.1[0]
    }
}

/// Deliveries by the rule at the top of the store.
pub(super) fn pending(rows: &Rows) -> BTreeSet<(i64, i64)> {
    let has = |table: &str, sink: i64, seq: i64| rows.contains_key(&(table.to_owned(), vec![sink, seq]));
    let queued = rows.keys().filter(|(table, _)| table == "waiting" || table == "held");
    let mut pending: BTreeSet<(i64, i64)> = queued.map(|(_, key)| (key[0], key[1])).collect();
    for ((_, key), row) in rows.iter().filter(|((table, _), _)| table == "batch") {
        let batch = Batch::decode(key[0].cast_unsigned(), row).unwrap();
        for (seq, record) in batch.numbered() {
            for target in &record.targets {
                let (sink, seq) = (i64::from(target.sink.0), seq.cast_signed());
                let low = &rows[&("cursor".to_owned(), vec![sink])];
                let low: i64 = String::from_utf8_lossy(low).trim().parse().unwrap();
                let is_fresh = seq > low && !has("settled", sink, seq);
                pending.extend(is_fresh.then_some((sink, seq)));
            }
        }
    }
    pending
}

fn replays(rows: &Rows) -> BTreeSet<(i64, i64)> {
    let waiting = rows.iter().filter(|((table, _), _)| table == "waiting");
    let replays = waiting.filter(|((_, key), row)| {
        let (sink, seq) = (key[0].cast_unsigned(), key[1].cast_unsigned());
        let payload = open(Table::Waiting, &[sink, seq], row).unwrap();
        Waiting::decode(seq, payload).unwrap().is_replay
    });
    replays.map(|((_, key), _)| (key[0], key[1])).collect()
}

/// Everything that no changed byte belongs to is there, in its place or in the one that is said.
pub(super) async fn check_rebuilt(
    case: &str,
    original: &Original,
    touched: &BTreeSet<Key>,
    rebuilt: &Rebuilt,
    to: &Path,
) {
    assert!(rebuilt.after.is_whole(), "{case}: {:?}", rebuilt.after.damage);
    let rows = dump(to).unwrap();
    let is_whole = |table: &str, key: &[i64]| !touched.contains(&(table.to_owned(), key.to_vec()));
    let record = |seq: i64| {
        let batches = original.rows.range(("batch".to_owned(), vec![0])..=("batch".to_owned(), vec![seq]));
        batches.last().unwrap().0.1.clone()
    };
    let messages = quarantined(&rows);
    for ((table, key), row) in original.rows.iter().filter(|((table, key), _)| is_whole(table, key)) {
        let seq = *key.last().unwrap();
        let has_record = || is_whole("batch", &record(seq));
        match table.as_str() {
            // Their event is in quarantine if its record is lost.
            "waiting" | "held" if !has_record() => {}
            "waiting" | "held" | "cursor" | "meta" | "epoch" | "lookup" | "letter_count" | "letter_size" => {}
            "event" if !has_record() => {
                let body = open(Table::Event, &[seq.cast_unsigned()], row).unwrap();
                let is_in_place = rows.get(&(table.clone(), key.clone())) == Some(row);
                let is_quarantined = messages.iter().any(|message| message.ends_with(body));
                assert!(is_in_place || is_quarantined, "{case}: event {seq} is in quarantine at least");
            }
            "dead_body" if !touched.is_empty() => {}
            // It was to be replayed, and cannot be: that is its reason now.
            "dead" | "settled"
                if original.replays.contains(&(key[0], seq)) && !(is_whole("event", &[seq]) && has_record()) =>
            {
                assert!(rows.contains_key(&(table.clone(), key.clone())), "{case}: {table} {key:?} is kept");
            }
            _ => assert_eq!(rows.get(&(table.clone(), key.clone())), Some(row), "{case}: {table} {key:?} is kept"),
        }
    }
    let now = pending(&rows);
    for (sink, seq) in &original.pending {
        // Only its own row knows of a replay.
        let is_known = !original.replays.contains(&(*sink, *seq)) || is_whole("waiting", &[*sink, *seq]);
        let is_kept = is_known && is_whole("batch", &record(*seq)) && is_whole("event", &[*seq]);
        assert!(!is_kept || now.contains(&(*sink, *seq)), "{case}: event {seq} is still owed to {sink}");
    }
    for (sink, seq) in now.difference(&original.pending) {
        assert!(!is_whole("settled", &[*sink, *seq]), "{case}: event {seq} was settled at {sink}");
    }
    check_starts(case, &now, original, to).await;
}

/// A relay starts with it and finds what is owed.
async fn check_starts(case: &str, owed: &BTreeSet<(i64, i64)>, original: &Original, to: &Path) {
    let fixture = Fixture::open(settings(to), Clock::default());
    for (name, queue) in SINKS.iter().zip(&fixture.queues) {
        let found = walk(case, queue).await;
        // A sink whose name is lost is a new one.
        if i64::from(queue.id.0) == original.sink(name) {
            let expected = owed.iter().filter(|(sink, _)| *sink == original.sink(name)).map(|(_, seq)| *seq);
            assert_eq!(found, expected.collect(), "{case}: {name} finds what it is owed");
        }
    }
    fixture.close().await;
}

/// All that a queue has to deliver.
async fn walk(case: &str, queue: &SinkStore) -> BTreeSet<i64> {
    let rows = queue.found.waiting.iter().map(|row| row.seq).chain(queue.found.held.iter().map(|row| row.seq));
    let mut found: BTreeSet<i64> = rows.map(u64::cast_signed).collect();
    let mut cursor = queue.found.low;
    for page in 0.. {
        assert!(page < PAGES_MAX, "{case}: the reading does not end");
        if !queue.has_fresh(cursor) {
            break;
        }
        let Ok(page) = queue.fresh(cursor, 50).await else { break };
        cursor = page.scanned_to;
        let fresh = page.claimed.iter().map(|claimed| claimed.seq).filter(|seq| !queue.found.settled.contains(seq));
        found.extend(fresh.map(u64::cast_signed));
    }
    found
}

/// A relay that starts with the damaged directory refuses, or delivers what is owed, or says what it cannot.
pub(super) async fn check_run(case: &str, original: &Original, file: &str, hurt: &Path) {
    let (metrics, lifecycle) = (Metrics::new(&SINKS.map(|name| SinkName(name.into()))), Lifecycle::default());
    let opened = Store::open(settings(hurt), Clock::default(), Arc::clone(&metrics), &lifecycle);
    let Ok(Opened { store, queues }) = opened else { return };
    let mut lost = BTreeSet::<(i64, i64)>::new();
    for (name, queue) in &queues {
        let found = walk(case, queue).await;
        let owed = original.owed(file).filter(|(sink, _)| *sink == original.sink(&name.0));
        lost.extend(owed.filter(|(_, seq)| !found.contains(seq)));
    }
    let is_told = metrics.store.damaged_rows.value() > 0 || lifecycle.failure().is_some();
    drop(queues);
    // It may have stopped by itself.
    let _stopped = store.close().await;
    assert!(lost.is_empty() || is_told, "{case}: {lost:?} are lost in silence");
}

/// Payloads of quarantined messages: each ends with the message.
fn quarantined(rows: &Rows) -> Vec<Vec<u8>> {
    let rows = rows.iter().filter(|((table, _), _)| table == "quarantine");
    rows.map(|((_, key), row)| open(Table::Quarantine, &[key[0].cast_unsigned()], row).unwrap().to_vec()).collect()
}
