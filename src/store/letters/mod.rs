//! Looking at the dead letters of a data directory, and making them wait again.
//!
//! Looking works beside a running relay: it reads one page after the other in short transactions. Replaying writes,
//! so it takes the directory's lock.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::dead::DeadLetter;
use super::error::OpenError;
use super::format::{Batch, Damaged, Decoder, Table, open};
use super::{SinkId, lock, schema};
use crate::clock::{Clock, Timestamp};
use crate::config::SinkName;
use crate::event::{self, EventId, Facts};

/// Letters read at a time.
const PAGE: u64 = 256;

/// A failed attempt of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastAttempt {
    pub(crate) number: u32,
    pub(crate) at: Timestamp,
    pub(crate) cause: String,
    pub(crate) status: Option<u16>,
    pub(crate) detail: String,
}

/// What a replay would do, or did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayReport {
    pub(crate) replayed: u64,
    /// A newer event of the lane was accepted for the same sink since; the consumer will ignore the older one.
    pub(crate) superseded: u64,
    /// Waiting already.
    pub(crate) skipped: u64,
}

/// The dead letters of a data directory.
pub(crate) struct DeadLetters {
    connection: Connection,
    directory: PathBuf,
}

/// Which letters are meant; an absent condition accepts all.
#[derive(Clone, Debug, Default)]
pub(crate) struct LetterFilter {
    pub(crate) sink: Option<SinkName>,
    pub(crate) id: Option<EventId>,
    pub(crate) seq: Option<u64>,
    pub(crate) cause: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) older_than: Option<Duration>,
}

/// A letter with the names that the store keeps apart, and its message.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) letter: DeadLetter,
    pub(crate) sink: SinkName,
    pub(crate) routes: Vec<String>,
    /// `None` where the stored bytes are damaged or missing.
    pub(crate) body: Option<Bytes>,
    pub(crate) facts: Option<Facts>,
}

impl DeadLetters {
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: schema::open_to_look(directory)?, directory: directory.to_owned() })
    }

    /// Calls `visit` with every letter that `filter` means, oldest first, until it says no.
    pub(crate) fn each(
        &self,
        filter: &LetterFilter,
        now: Timestamp,
        mut visit: impl FnMut(Listed) -> bool,
    ) -> rusqlite::Result<()> {
        let mut page = self.page((0, 0))?;
        while let Some(last) = page.last() {
            let after = (last.seq, last.sink.0);
            let listed: Vec<Listed> = page.into_iter().map(|letter| self.complete(letter)).collect::<Result<_, _>>()?;
            if !listed.into_iter().filter(|listed| filter.means(listed, now)).all(&mut visit) {
                break;
            }
            page = self.page(after)?;
        }
        Ok(())
    }

    /// The failed attempts of a letter, oldest first, those of replays among them.
    pub(crate) fn attempts(&self, letter: &DeadLetter) -> rusqlite::Result<Vec<PastAttempt>> {
        PastAttempt::of(&self.connection, letter.sink, letter.seq)
    }

    /// Makes the letters wait again, due at once. The relay must not be running.
    pub(crate) fn replay(&self, filter: &LetterFilter, clock: &Clock, apply: bool) -> Result<ReplayReport, OpenError> {
        let _lock = lock::lock(&self.directory)?;
        let mut report = ReplayReport::default();
        let mut connection = schema::open(&self.directory, 0)?;
        let transaction = connection.transaction()?;
        let now = clock.now();
        let mut letters = Vec::new();
        self.each(filter, now, |listed| {
            letters.push(listed.letter);
            true
        })?;
        let newest = newest_of_lanes(&transaction, &letters)?;
        for letter in letters {
            let key = params![letter.sink.0, letter.seq];
            let waiting = "SELECT 1 FROM waiting WHERE sink = ?1 AND seq = ?2";
            if transaction.prepare_cached(waiting)?.exists(key)? {
                report.skipped += 1;
                continue;
            }
            let newest = newest.get(&(letter.sink, letter.lane)).copied().unwrap_or(0);
            report.superseded += u64::from(newest > letter.seq);
            report.replayed += 1;
            letter.wait_again(&transaction, now)?;
        }
        if apply {
            transaction.commit()?;
        }
        Ok(report)
    }

    fn page(&self, (seq, sink): (u64, u32)) -> rusqlite::Result<Vec<DeadLetter>> {
        let sql = "SELECT sink, seq, row FROM dead WHERE (seq, sink) > (?1, ?2) ORDER BY seq, sink LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![seq, sink, PAGE], |row| {
            Ok((SinkId(row.get(0)?), row.get::<_, u64>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        Ok(rows.into_iter().filter_map(|(sink, seq, row)| DeadLetter::decode(sink, seq, &row).ok()).collect())
    }

    fn complete(&self, letter: DeadLetter) -> rusqlite::Result<Listed> {
        let body = DeadLetter::body(&self.connection, letter.seq)?;
        let facts = body.as_ref().and_then(|body| event::facts(letter.stream, body).ok());
        let sink = SinkName(self.name(letter.sink.0)?.into());
        let routes = letter.routes.iter().map(|number| self.name(*number)).collect::<Result<_, _>>()?;
        Ok(Listed { letter, sink, routes, body, facts })
    }

    fn name(&self, number: u32) -> rusqlite::Result<String> {
        let mut statement = self.connection.prepare_cached("SELECT text FROM name WHERE number = ?1")?;
        statement.query_row([number], |row| row.get(0))
    }
}

impl LetterFilter {
    fn means(&self, listed: &Listed, now: Timestamp) -> bool {
        let letter = &listed.letter;
        let token = listed.facts.as_ref().and_then(|facts| facts.token_id.as_deref());
        self.sink.as_ref().is_none_or(|sink| *sink == listed.sink)
            && self.id.is_none_or(|id| id == letter.id)
            && self.seq.is_none_or(|seq| seq == letter.seq)
            && self.cause.as_ref().is_none_or(|cause| *cause == letter.cause)
            && self.token_id.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == token)
            && self.older_than.is_none_or(|age| now.since(letter.died_at) >= age)
    }
}

impl PastAttempt {
    /// The failed attempts of a delivery, oldest first.
    pub(super) fn of(connection: &Connection, sink: SinkId, seq: u64) -> rusqlite::Result<Vec<Self>> {
        let sql = "SELECT number, row FROM attempt WHERE sink = ?1 AND seq = ?2 ORDER BY number";
        let mut statement = connection.prepare_cached(sql)?;
        let rows =
            statement.query_map(params![sink.0, seq], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let decode = |(number, row): (u32, Vec<u8>)| {
            let key = [sink.0.into(), seq, number.into()];
            Self::decode(number, open(Table::Attempt, &key, &row).ok()?).ok()
        };
        Ok(rows.into_iter().filter_map(decode).collect())
    }

    fn decode(number: u32, payload: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(payload);
        let at = Timestamp(input.number()?);
        let status = u16::try_from(input.number()?).ok().filter(|status| *status != 0);
        Ok(Self { number, at, status, cause: input.text()?.to_owned(), detail: input.text()?.to_owned() })
    }
}

/// The newest event that was accepted for each sink and lane of `letters`, in one pass over the batch records from
/// the oldest letter on.
fn newest_of_lanes(connection: &Connection, letters: &[DeadLetter]) -> rusqlite::Result<HashMap<(SinkId, u64), u64>> {
    let laned = || letters.iter().filter(|letter| letter.lane != 0);
    let mut newest: HashMap<_, _> = laned().map(|letter| ((letter.sink, letter.lane), 0)).collect();
    let Some(oldest) = laned().map(|letter| letter.seq).min() else { return Ok(newest) };
    let mut statement = connection.prepare_cached(
        "SELECT first, row FROM batch WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0)",
    )?;
    let mut rows = statement.query([oldest])?;
    while let Some(row) = rows.next()? {
        let Ok(batch) = Batch::decode(row.get(0)?, row.get_ref(1)?.as_blob()?) else { continue };
        for (seq, record) in batch.numbered() {
            for target in &record.targets {
                newest.entry((target.sink, record.lane)).and_modify(|newest| *newest = seq.max(*newest));
            }
        }
    }
    Ok(newest)
}
