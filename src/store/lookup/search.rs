//! Searching: newest events first, range after range.
//!
//! Each query is a transaction of its own, so a search beside a running relay holds nothing up.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Kind, RANGE, bucket, extent, id_head, indexed_end, range_of, seqs};
use crate::event::{EventId, LaneKey};
use crate::store::format::{Batch, Damaged, Keys};

/// What is looked for.
pub(in crate::store) enum Wanted {
    Id(EventId),
    /// Events of any of these lanes.
    Lanes(Vec<LaneKey>),
}

impl Wanted {
    fn kind(&self) -> Kind {
        match self {
            Self::Id(_) => Kind::Id,
            Self::Lanes(_) => Kind::Lane,
        }
    }

    fn heads(&self) -> Vec<u64> {
        match self {
            Self::Id(id) => vec![id_head(*id)],
            Self::Lanes(lanes) => lanes.clone(),
        }
    }

    fn means(&self, event: &Keys) -> bool {
        match self {
            Self::Id(id) => event.id == *id,
            Self::Lanes(lanes) => lanes.contains(&event.lane),
        }
    }
}

/// One search.
pub(in crate::store) struct Search<'c> {
    connection: &'c Connection,
    wanted: Wanted,
    /// Stop when so many are found.
    max: usize,
    found: Vec<u64>,
    /// Damaged rows that were met; those of batch records may hide what was looked for.
    damaged: u64,
    /// Events of one lane often share a batch.
    last_batch: Vec<Keys>,
}

impl<'c> Search<'c> {
    pub(in crate::store) fn new(connection: &'c Connection, wanted: Wanted, max: usize) -> Self {
        Self { connection, wanted, max, found: Vec::new(), damaged: 0, last_batch: Vec::new() }
    }

    /// The sequence numbers found, newest first, and how many damaged rows were met.
    pub(in crate::store) fn run(self) -> rusqlite::Result<(Vec<u64>, u64)> {
        // The newest batch may reach beyond its range, and more may come.
        self.run_to(i64::MAX.unsigned_abs())
    }

    /// The same, but only events up to `last`.
    pub(in crate::store) fn run_to(mut self, mut last: u64) -> rusqlite::Result<(Vec<u64>, u64)> {
        let Some((oldest, newest)) = extent(self.connection)? else { return Ok((Vec::new(), 0)) };
        let indexed_end = indexed_end(self.connection)?;
        let mut first = range_of(newest.min(last));
        while self.found.len() < self.max && last >= oldest {
            if first >= indexed_end {
                self.scan(first, last)?;
            } else {
                self.ask(first, last)?;
            }
            last = first - 1;
            first = first.saturating_sub(RANGE).max(1);
        }
        Ok((self.found, self.damaged))
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.max
    }

    /// Reads the batch records of a range; says whether there are any.
    fn scan(&mut self, first: u64, last: u64) -> rusqlite::Result<bool> {
        let mut statement = self.connection.prepare_cached(
            "SELECT first, row FROM batch
             WHERE first BETWEEN coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0) AND ?2
             ORDER BY first DESC",
        )?;
        let mut rows = statement.query([first, last])?;
        let mut has_any = false;
        while !self.is_full()
            && let Some(row) = rows.next()?
        {
            let begin = row.get(0)?;
            let Ok(batch) = Batch::keys(begin, row.get_ref(1)?.as_blob()?) else {
                has_any = true;
                self.batch_is_damaged(begin);
                continue;
            };
            let own = batch.iter().rev().filter(|event| (first..=last).contains(&event.seq));
            has_any |= own.clone().next().is_some();
            let room = self.max - self.found.len();
            self.found.extend(own.filter(|event| self.wanted.means(event)).map(|event| event.seq).take(room));
        }
        Ok(has_any)
    }

    /// Goes by the index of a range.
    fn ask(&mut self, first: u64, last: u64) -> rusqlite::Result<()> {
        let mut proposed = Vec::new();
        for head in self.wanted.heads() {
            match self.proposed(first, head)? {
                Ok(seqs) => proposed.extend(seqs),
                Err(Damaged) => return self.do_without(first, last),
            }
        }
        proposed.sort_unstable();
        for seq in proposed.into_iter().rev().filter(|seq| *seq <= last) {
            if self.is_full() {
                break;
            }
            if self.is_wanted(seq)? {
                self.found.push(seq);
            }
        }
        Ok(())
    }

    /// What the index of a range has for a head. A missing row is as good as a damaged one.
    fn proposed(&self, first: u64, head: u64) -> rusqlite::Result<Result<Vec<u64>, Damaged>> {
        let kind = self.wanted.kind();
        let sql = "SELECT row FROM lookup WHERE kind = ?1 AND first = ?2 AND bucket = ?3";
        let row = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![kind as u8, first, bucket(head)], |row| row.get::<_, Vec<u8>>(0))
            .optional()?;
        Ok(row.ok_or(Damaged).and_then(|row| seqs(kind, first, head, &row)))
    }

    fn do_without(&mut self, first: u64, last: u64) -> rusqlite::Result<()> {
        // Retention removes indexes together with what they are about: then there is nothing to say.
        if self.scan(first, last)? {
            self.damaged += 1;
            tracing::error!(
                first,
                last,
                "the store is damaged: the index of these events cannot be read; they were searched one by one"
            );
        }
        Ok(())
    }

    fn is_wanted(&mut self, seq: u64) -> rusqlite::Result<bool> {
        if !self.last_batch.iter().any(|event| event.seq == seq) {
            self.last_batch = match batch_row(self.connection, seq)? {
                None => Vec::new(),
                Some((first, row)) => Batch::keys(first, &row).unwrap_or_else(|Damaged| {
                    self.batch_is_damaged(first);
                    Vec::new()
                }),
            };
        }
        let event = self.last_batch.iter().find(|event| event.seq == seq);
        Ok(event.is_some_and(|event| self.wanted.means(event)))
    }

    fn batch_is_damaged(&mut self, first: u64) {
        self.damaged += 1;
        report_batch(first);
    }
}

pub(in crate::store) fn report_batch(first: u64) {
    tracing::error!(first, "the store is damaged: a batch record cannot be read, so its events cannot be found");
}

/// The row of the batch that holds `seq`, or else of the last one before it, with the number at which it begins.
pub(in crate::store) fn batch_row(connection: &Connection, seq: u64) -> rusqlite::Result<Option<(u64, Vec<u8>)>> {
    let sql = "SELECT first, row FROM batch WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}
