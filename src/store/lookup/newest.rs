//! The newest event of each of many keys at once: the events without an index are read once for all of them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use rusqlite::Connection;

use super::{Search, Wanted, indexed_end, report_batch};
use crate::event::{EventId, LaneKey};
use crate::store::format::{Batch, Keys};

/// By lane. Damaged rows are reported, and what they held is not found.
pub(in crate::store) fn newest_of_lanes(
    connection: &Connection,
    lanes: &HashSet<LaneKey>,
) -> rusqlite::Result<HashMap<LaneKey, u64>> {
    newest(connection, lanes, |event| event.lane, |lane| Wanted::Lanes(vec![lane]))
}

/// By event id.
pub(in crate::store) fn newest_of_ids(
    connection: &Connection,
    ids: &HashSet<EventId>,
) -> rusqlite::Result<HashMap<EventId, u64>> {
    newest(connection, ids, |event| event.id, Wanted::Id)
}

fn newest<K: Copy + Eq + Hash>(
    connection: &Connection,
    wanted: &HashSet<K>,
    key: impl Fn(&Keys) -> K,
    search: impl Fn(K) -> Wanted,
) -> rusqlite::Result<HashMap<K, u64>> {
    let indexed_end = indexed_end(connection)?;
    let mut found = HashMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT first, row FROM batch
         WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0) ORDER BY first DESC",
    )?;
    let mut rows = statement.query([indexed_end])?;
    while found.len() < wanted.len()
        && let Some(row) = rows.next()?
    {
        let first = row.get(0)?;
        let Ok(batch) = Batch::keys(first, row.get_ref(1)?.as_blob()?) else {
            report_batch(first);
            continue;
        };
        for event in batch.iter().rev().filter(|event| wanted.contains(&key(event))) {
            found.entry(key(event)).or_insert(event.seq);
        }
    }
    let is_missing = |key: &&K| indexed_end > 1 && !found.contains_key(*key);
    let missing: Vec<K> = wanted.iter().filter(is_missing).copied().collect();
    for key in missing {
        let (seqs, _damaged) = Search::new(connection, search(key), 1).run_to(indexed_end - 1)?;
        found.extend(seqs.first().map(|seq| (key, *seq)));
    }
    Ok(found)
}
