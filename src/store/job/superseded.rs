//! Which dead letters are superseded: a newer event of their lane was accepted for the same sink since, so a consumer
//! that goes by the sequence will ignore the older one.
//!
//! One pass over the batch records answers it for [`LETTERS_MAX`] letters at a time, so that memory is bounded and a
//! million letters cost ten passes. A pass is made in portions, since whoever reads keeps the log from being folded
//! into the file. What is accepted after the pass is read before each page.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use rusqlite::{Connection, params};

use super::Cursor;
use crate::store::SinkId;
use crate::store::dead::DeadLetter;
use crate::store::format::{Batch, Record};
use crate::store::known::Prefix;

const LETTERS_MAX: u64 = 100_000;
/// Events that one portion of a pass looks at: a few milliseconds. Tests have portions of few.
const EVENTS_MAX: u64 = if cfg!(test) { 2 } else { 32_768 };

#[derive(Debug, Default)]
pub(super) struct Superseded {
    /// The lanes of the present part's letters.
    lanes: HashSet<u64, BuildHasherDefault<Prefix>>,
    /// The newest event of each sink and lane that a letter of the present part has.
    newest: HashMap<(SinkId, u64), u64>,
    /// The batch records were read up to here.
    read_to: u64,
    /// The part ends here.
    covers: Option<Cursor>,
}

impl Superseded {
    /// Learns a portion of what has to be known of letters after `after`; true if that was the last of it.
    pub(super) fn learn(&mut self, connection: &Connection, after: Cursor) -> rusqlite::Result<bool> {
        if self.covers.is_none_or(|covers| after >= covers) {
            self.begin(connection, after)?;
        }
        self.read_on(connection)
    }

    /// Gets ready to be asked about letters after `after`, up to the key that is returned.
    pub(super) fn prepare(&mut self, connection: &Connection, after: Cursor) -> rusqlite::Result<Option<Cursor>> {
        while !self.learn(connection, after)? {}
        Ok(self.covers)
    }

    pub(super) fn is_superseded(&self, letter: &DeadLetter) -> bool {
        letter.lane != 0 && self.newest.get(&(letter.sink, letter.lane)).is_some_and(|newest| *newest > letter.seq)
    }

    fn begin(&mut self, connection: &Connection, after: Cursor) -> rusqlite::Result<()> {
        self.lanes.clear();
        self.newest.clear();
        self.covers = None;
        self.read_to = u64::MAX;
        let sql = "SELECT sink, seq, row FROM dead WHERE (sink, seq) > (?1, ?2) ORDER BY sink, seq LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![after.sink, after.seq, LETTERS_MAX])?;
        while let Some(row) = rows.next()? {
            let (sink, seq) = (row.get(0)?, row.get(1)?);
            self.covers = Some(Cursor { sink, seq });
            let Ok(letter) = DeadLetter::decode(SinkId(sink), seq, row.get_ref(2)?.as_blob()?) else { continue };
            if letter.lane != 0 {
                self.lanes.insert(letter.lane);
                self.newest.insert((letter.sink, letter.lane), 0);
                self.read_to = self.read_to.min(seq);
            }
        }
        // The batch that holds it begins earlier.
        if let Ok(from) = i64::try_from(self.read_to) {
            let sql = "SELECT coalesce(max(first), 0) FROM batch WHERE first <= ?1";
            self.read_to = connection.prepare_cached(sql)?.query_row([from], |row| row.get(0))?;
        }
        Ok(())
    }

    /// Reads a portion of the batch records; true if that was the last.
    fn read_on(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let Ok(from) = i64::try_from(self.read_to) else { return Ok(true) };
        let mut statement =
            connection.prepare_cached("SELECT first, row FROM batch WHERE first >= ?1 ORDER BY first")?;
        let mut rows = statement.query([from])?;
        let end = self.read_to.saturating_add(EVENTS_MAX);
        while let Some(row) = rows.next()? {
            let (first, row) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
            let found = Batch::of_lanes(first, row, |lane| self.lanes.contains(&lane));
            let Ok((records, last)) = found else { continue };
            records.iter().for_each(|(seq, record)| self.take(*seq, record));
            self.read_to = self.read_to.max(last + 1);
            if self.read_to >= end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, seq: u64, record: &Record) {
        for target in &record.targets {
            self.newest.entry((target.sink, record.lane)).and_modify(|newest| *newest = seq.max(*newest));
        }
    }
}
