//! Reading every sealed row: whether it is what was written, and which keys there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::Connection;

use super::Report;
use crate::store::catalog::{SEALED, Sealed};
use crate::store::format::{Table, open};
use crate::store::ranges::Ranges;
use crate::store::{Held, SinkId, Waiting};

/// The keys of the rows that can be read.
#[derive(Debug, Default)]
pub(in crate::store) struct Seen {
    pub(in crate::store) bodies: Ranges,
    pub(in crate::store) settled: BTreeMap<SinkId, Ranges>,
    pub(in crate::store) waiting: BTreeMap<(SinkId, u64), Leader>,
    /// With their lanes.
    pub(in crate::store) held: BTreeMap<(SinkId, u64), u64>,
    pub(in crate::store) dead: BTreeSet<(SinkId, u64)>,
    pub(in crate::store) dead_bodies: Ranges,
}

/// A waiting row, as those behind it see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Leader {
    pub(in crate::store) lane: u64,
    /// One of an earlier place may stand behind it.
    pub(in crate::store) is_replay: bool,
}

impl Seen {
    /// Reads all tables; what cannot be read is in the report.
    pub(in crate::store) fn read(connection: &Connection, report: &mut Report) -> Self {
        let mut seen = Self::default();
        for sealed in SEALED {
            let mut reading = Reading { sealed, damaged: BTreeMap::new(), count: 0, last: None };
            let ended = reading.run(connection, |key, payload| seen.take(sealed.table, key, payload));
            reading.tell(ended, report);
        }
        seen
    }

    /// Whether the message of an event can be read, if only from a dead letter.
    pub(in crate::store) fn has_message(&self, seq: u64) -> bool {
        self.bodies.contains(seq) || self.dead_bodies.contains(seq)
    }

    /// The rows of queues, with their tables.
    pub(in crate::store) fn queue_rows(&self) -> impl Iterator<Item = (&'static str, &(SinkId, u64))> {
        let waiting = self.waiting.keys().map(|key| ("waiting", key));
        waiting.chain(self.held.keys().map(|key| ("held", key)))
    }

    /// The number from which on each sink's lanes are led by a waiting row.
    pub(in crate::store) fn heads(&self) -> HashMap<(SinkId, u64), u64> {
        let mut heads = HashMap::new();
        for ((sink, seq), leader) in &self.waiting {
            let from = if leader.is_replay { 0 } else { *seq };
            let head = heads.entry((*sink, leader.lane)).or_insert(from);
            *head = from.min(*head);
        }
        heads
    }

    fn take(&mut self, table: Table, key: &[u64], payload: &[u8]) {
        let sink = |number: u64| SinkId(u32::try_from(number).unwrap_or(u32::MAX));
        match (table, key) {
            (Table::Event, [seq]) => self.bodies.push(*seq),
            (Table::DeadBody, [seq]) => self.dead_bodies.push(*seq),
            (Table::Settled, [number, seq]) => self.settled.entry(sink(*number)).or_default().push(*seq),
            (Table::Dead, [number, seq]) => {
                self.dead.insert((sink(*number), *seq));
            }
            (Table::Waiting, [number, seq]) => {
                let waiting = Waiting::decode(*seq, payload).ok();
                let leader = waiting.map(|Waiting { lane, is_replay, .. }| Leader { lane, is_replay });
                self.waiting.insert((sink(*number), *seq), leader.unwrap_or_default());
            }
            (Table::Held, [number, seq]) => {
                let lane = Held::decode(*seq, payload).map_or(0, |held| held.lane);
                self.held.insert((sink(*number), *seq), lane);
            }
            _ => {}
        }
    }
}

/// One table, while it is read.
struct Reading {
    sealed: Sealed,
    /// The last parts of the keys of damaged rows, by what stands before.
    damaged: BTreeMap<Vec<u64>, Ranges>,
    count: u64,
    last: Option<Vec<u64>>,
}

impl Reading {
    fn run(&mut self, connection: &Connection, mut take: impl FnMut(&[u64], &[u8])) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&self.sealed.select())?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.count += 1;
            let parts = self.sealed.key.len();
            let key = (0..parts).map(|part| row.get(part)).collect::<Result<Vec<u64>, _>>();
            let Ok(key) = key else {
                self.damaged.entry(Vec::new()).or_default().push(0);
                continue;
            };
            match open(self.sealed.table, &key, row.get_ref(parts)?.as_blob().unwrap_or_default()) {
                Ok(payload) => take(&key, payload),
                Err(_) => self.damage(&key),
            }
            self.last = Some(key);
        }
        Ok(())
    }

    fn damage(&mut self, key: &[u64]) {
        let Some((last, before)) = key.split_last() else { return };
        self.damaged.entry(before.to_vec()).or_default().push(*last);
    }

    fn tell(self, ended: rusqlite::Result<()>, report: &mut Report) {
        let Self { sealed, damaged, count, last } = self;
        let (last_name, names) = sealed.key.split_last().unwrap_or((&"key", &[]));
        for (before, lasts) in damaged {
            let before: String = names.iter().zip(&before).map(|(name, part)| format!("{name} {part}, ")).collect();
            let rows = lasts.count();
            report.damage(sealed.name, format!("{before}{last_name} {lasts}"), format!("{rows} rows are damaged"));
        }
        if let Err(error) = ended {
            let key = last.map_or_else(|| "from its beginning".to_owned(), |key| format!("after {key:?}"));
            report.damage(sealed.name, key, format!("cannot be read on: {error}"));
        }
        report.rows.push((sealed.name, count));
    }
}
