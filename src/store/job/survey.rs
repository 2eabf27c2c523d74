//! Looking for what an order means, page after page, on a connection of its own that only reads.
//!
//! What is found is only proposed: the writer judges every row again. A dry run takes the same judgement
//! ([`Judge`]) on this connection, so that the two agree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::step::{Candidate, Judge};
use super::superseded::Superseded;
use super::{Counts, Cursor, EventChoice, Job, LetterChoice, Order, QuarantineChoice};
use crate::event::{self, Stream};
use crate::store::Claimed;
use crate::store::dead::DeadLetter;
use crate::store::error::OpenError;
use crate::store::format::{Batch, Damaged, Decoder, Record, Table, open, open_body};
use crate::store::reader::Facts;
use crate::store::{SinkId, schema};

/// Rows looked at for one page, and the bytes of messages in it.
const ROWS_MAX: usize = 2048;
const BYTES_MAX: usize = 512 * 1024;

/// What surveys need to know of the store.
#[derive(Clone)]
pub(crate) struct Surveys {
    pub(in crate::store) directory: PathBuf,
    pub(in crate::store) facts: Arc<Facts>,
}

/// A look through the store for one order.
pub(crate) struct Survey {
    pub(super) connection: Connection,
    pub(super) facts: Arc<Facts>,
    /// The sinks that are configured.
    served: Vec<SinkId>,
    superseded: Superseded,
}

/// What was found between two cursors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(super) rows: Vec<Candidate>,
    /// What is known before the rows are judged.
    pub(crate) counts: Counts,
    pub(super) cursor: Cursor,
    pub(super) is_last: bool,
}

/// A message that could not be handled, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) stream: Stream,
    pub(crate) body: Bytes,
}

impl Surveys {
    pub(in crate::store) fn start(&self, served: Vec<SinkId>) -> Result<Survey, OpenError> {
        let connection = schema::open_reader(&self.directory)?;
        Ok(Survey { connection, facts: Arc::clone(&self.facts), served, superseded: Superseded::default() })
    }

    pub(in crate::store) fn new(directory: &Path, facts: Facts) -> Self {
        Self { directory: directory.to_owned(), facts: Arc::new(facts) }
    }
}

impl Survey {
    /// The jobs that the store knows, oldest first.
    pub(crate) fn jobs(&self) -> rusqlite::Result<Vec<Job>> {
        Job::read_all(&self.connection)
    }

    /// Gives a job that is only to be counted its extent, without writing anything.
    pub(crate) fn outline(&self, job: &mut Job) -> rusqlite::Result<()> {
        job.last = job.order.extent(&self.connection)?;
        Ok(())
    }

    /// What comes next for a job: at most `max` rows.
    pub(crate) fn page(&mut self, job: &Job, max: usize) -> rusqlite::Result<Page> {
        // One snapshot, so that a row and its message fit together; dropped at the end, so that the log can be reset.
        self.connection.execute_batch("BEGIN")?;
        let page = match &job.order {
            Order::ReplayDeadLetters { choice, .. } | Order::DropDeadLetters { choice } => {
                self.letters(job, choice, max)
            }
            Order::ReplayEvents { sink, choice, .. } => self.events(job, sink, choice, max),
            Order::RerouteQuarantined { choice } | Order::DropQuarantined { choice } => {
                self.quarantined(job, choice, max).map(|(page, _)| page)
            }
            // What the writer finds by itself, or REST tells.
            Order::DropParked { .. } | Order::Backfill { .. } => Ok(Page::default()),
        };
        self.connection.execute_batch("COMMIT")?;
        page
    }

    /// Learns a portion of what a page has to know of all events; true if that was the last. In a large store all of it
    /// takes seconds, so whoever asks rests between two portions; a page learns what was left.
    pub(crate) fn learn(&mut self, job: &Job) -> rusqlite::Result<bool> {
        let Order::ReplayDeadLetters { choice, .. } = &job.order else { return Ok(true) };
        let Some(scope) = Scope::of(&self.connection, choice)? else { return Ok(true) };
        self.superseded.learn(&self.connection, scope.after(job))
    }

    /// As [`Self::page`], with the messages.
    pub(crate) fn messages(&mut self, job: &Job, max: usize) -> rusqlite::Result<(Page, Vec<Kept>)> {
        match &job.order {
            Order::RerouteQuarantined { choice } => self.quarantined(job, choice, max),
            _ => Ok((Page::default(), Vec::new())),
        }
    }

    /// Whether there is or was a sink of this name.
    pub(crate) fn knows_sink(&self, name: &str) -> rusqlite::Result<bool> {
        Ok(number(&self.connection, 1, name)?.is_some())
    }

    /// How many of these messages are still in quarantine.
    pub(crate) fn still_kept(&self, numbers: &[u64]) -> rusqlite::Result<u64> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM quarantine WHERE number = ?1")?;
        numbers.iter().try_fold(0, |sum, number| Ok(sum + u64::from(statement.exists([number])?)))
    }

    /// What would become of the rows of a page, and how far it went.
    pub(crate) fn judge(&self, job: &mut Job, page: &Page) -> rusqlite::Result<bool> {
        job.counts.add(page.counts);
        let judge = Judge { connection: &self.connection, served: &self.served };
        for row in &page.rows {
            job.counts.note(judge.judge(&job.order, row)?);
            job.counts.superseded += u64::from(row.is_superseded);
        }
        job.cursor = page.cursor;
        Ok(page.is_last)
    }

    fn letters(&mut self, job: &Job, choice: &LetterChoice, max: usize) -> rusqlite::Result<Page> {
        let Some(scope) = Scope::of(&self.connection, choice)? else { return Ok(Page::empty()) };
        let after = scope.after(job);
        let asks = matches!(job.order, Order::ReplayDeadLetters { .. });
        let covers = if asks { self.superseded.prepare(&self.connection, after)? } else { None };
        let mut page = Page { cursor: after, is_last: true, ..Page::default() };
        let sql = "SELECT sink, seq, row FROM dead WHERE (sink, seq) > (?1, ?2) ORDER BY sink, seq LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![after.sink, after.seq, ROWS_MAX + 1])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let key = Cursor { sink: row.get(0)?, seq: row.get(1)? };
            if scope.sink.is_some_and(|sink| sink != key.sink) {
                break;
            }
            let is_full = page.rows.len() >= max || page.counts.seen as usize >= ROWS_MAX || bytes >= BYTES_MAX;
            if is_full || covers.is_some_and(|covers| key > covers) {
                page.is_last = false;
                break;
            }
            page.cursor = key;
            page.counts.seen += 1;
            let letter = DeadLetter::decode(SinkId(key.sink), key.seq, row.get_ref(2)?.as_blob()?);
            let Ok(letter) = letter else { continue };
            if let Some(candidate) = self.letter(job, choice, &scope, letter)? {
                bytes += candidate.body_bytes as usize;
                page.rows.push(candidate);
            }
        }
        Ok(page)
    }

    fn letter(
        &self,
        job: &Job,
        choice: &LetterChoice,
        scope: &Scope,
        letter: DeadLetter,
    ) -> rusqlite::Result<Option<Candidate>> {
        let until = choice.died_until_ms.unwrap_or(u64::MAX).min(job.created_at_ms);
        let is_meant = letter.died_at.0 <= until
            && choice.cause.as_ref().is_none_or(|cause| *cause == letter.cause)
            && scope.route.is_none_or(|route| letter.routes.contains(&route))
            && choice.means_id(letter.id);
        if !is_meant {
            return Ok(None);
        }
        let is_replay = job.order.is_replay();
        let body =
            if is_replay || choice.needs_facts() { DeadLetter::body(&self.connection, letter.seq)? } else { None };
        if choice.needs_facts() {
            let facts = body.as_ref().and_then(|body| event::facts(letter.stream, body).ok());
            if !choice.means_facts(facts.as_ref()) {
                return Ok(None);
            }
        }
        let is_superseded = is_replay && self.superseded.is_superseded(&letter);
        let (sink, seq, lane, body_bytes) = (letter.sink, letter.seq, letter.lane, letter.body_bytes);
        let accepted_at = letter.accepted_at;
        let record = letter.record();
        let claimed = match body.filter(|_| is_replay) {
            Some(body) => self.claimed(seq, sink, &record, self.facts.event(seq, &record, accepted_at, body))?,
            None => None,
        };
        Ok(Some(Candidate { sink, seq, lane, body_bytes, is_named: true, is_superseded, claimed }))
    }

    fn events(&mut self, job: &Job, sink: &str, choice: &EventChoice, max: usize) -> rusqlite::Result<Page> {
        let Some(sink) = number(&self.connection, 1, sink)?.map(SinkId) else { return Ok(Page::empty()) };
        let route = match &choice.route {
            None => None,
            Some(name) => match number(&self.connection, 2, name)? {
                Some(route) => Some(route),
                None => return Ok(Page::empty()),
            },
        };
        let mut page = Page { cursor: job.cursor, is_last: true, ..Page::default() };
        let sql = "SELECT first, row FROM batch
                   WHERE first BETWEEN coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0) AND ?2
                   ORDER BY first";
        let mut statement = self.connection.prepare_cached(sql)?;
        let last = job.last.min(i64::MAX.unsigned_abs());
        let mut rows = statement.query([job.cursor.seq + 1, last])?;
        while let Some(row) = rows.next()? {
            let (first, row) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
            let Ok((accepted_at, end)) = Batch::span(first, row) else {
                page.cursor.seq = page.cursor.seq.max(first);
                continue;
            };
            let look = Look { job, choice, sink, route, max };
            if choice.means_time(accepted_at.0) && !self.take(&look, first, row, &mut page)? {
                page.is_last = false;
                break;
            }
            page.cursor.seq = page.cursor.seq.max(end);
            // A batch that is not looked into counts little.
            page.counts.seen += 1;
            if page.counts.seen as usize >= ROWS_MAX {
                page.is_last = false;
                break;
            }
        }
        Ok(page)
    }

    /// Takes what is meant of a batch; false if the page is full before it ends.
    fn take(&self, look: &Look<'_>, first: u64, row: &[u8], page: &mut Page) -> rusqlite::Result<bool> {
        let Ok(batch) = Batch::decode(first, row) else { return Ok(true) };
        let from = page.cursor.seq;
        let mut bytes: usize = page.rows.iter().map(|row| row.body_bytes as usize).sum();
        for (seq, record) in batch.numbered().filter(|(seq, _)| *seq > from && *seq <= look.job.last) {
            if page.rows.len() >= look.max || bytes >= BYTES_MAX || page.counts.seen as usize >= ROWS_MAX {
                return Ok(false);
            }
            page.cursor.seq = seq;
            page.counts.seen += 1;
            let by_route = |route: u32| record.targets.iter().any(|target| target.routes.contains(&route));
            if !look.choice.means(record.id, record.stream) || !look.route.is_none_or(by_route) {
                continue;
            }
            if let Some(candidate) = self.stored(look, &batch, seq, record)? {
                bytes += candidate.body_bytes as usize;
                page.rows.push(candidate);
            }
        }
        Ok(true)
    }

    fn stored(&self, look: &Look<'_>, batch: &Batch, seq: u64, record: &Record) -> rusqlite::Result<Option<Candidate>> {
        let mut statement = self.connection.prepare_cached("SELECT row FROM event WHERE seq = ?1")?;
        let row: Option<Vec<u8>> = statement.query_row([seq], |row| row.get(0)).optional()?;
        // Retention has removed it, or it is damaged: there is nothing to send.
        let Some(Ok(body)) = row.map(|row| open_body(seq, &row)) else { return Ok(None) };
        let event = self.facts.event(seq, record, batch.accepted_at, body);
        if look.choice.needs_facts() && !look.choice.means_facts(event.as_ref().ok().map(|event| &event.facts)) {
            return Ok(None);
        }
        let is_named = record.names(look.sink);
        let (sink, lane, body_bytes) = (look.sink, record.lane, record.body_bytes);
        let claimed = self.claimed(seq, sink, record, event)?;
        Ok(Some(Candidate { sink, seq, lane, body_bytes, is_named, is_superseded: false, claimed }))
    }

    pub(super) fn claimed(
        &self,
        seq: u64,
        sink: SinkId,
        record: &Record,
        event: Result<event::Event, String>,
    ) -> rusqlite::Result<Option<Claimed>> {
        // What cannot be read now is read again when it is due, and told there.
        let Ok(event) = event else { return Ok(None) };
        let mut statement = self.connection.prepare_cached("SELECT text FROM name WHERE number = ?1")?;
        let own = record.targets.iter().filter(|target| target.sink == sink).flat_map(|target| &target.routes);
        let names = own.map(|number| statement.query_row([number], |row| row.get::<_, String>(0)).map(Into::into));
        let routes = names.collect::<rusqlite::Result<_>>()?;
        let content = Ok((Arc::new(event), routes));
        Ok(Some(Claimed { seq, lane: record.lane, body_bytes: record.body_bytes, content }))
    }

    fn quarantined(&self, job: &Job, choice: &QuarantineChoice, max: usize) -> rusqlite::Result<(Page, Vec<Kept>)> {
        let mut page = Page { cursor: job.cursor, is_last: true, ..Page::default() };
        let (mut kept, mut bytes) = (Vec::new(), 0);
        let sql = "SELECT number, row FROM quarantine WHERE number > ?1 AND number <= ?2 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let last = job.last.min(i64::MAX.unsigned_abs());
        let mut rows = statement.query([job.cursor.seq, last])?;
        while let Some(row) = rows.next()? {
            if kept.len() >= max || page.counts.seen as usize >= ROWS_MAX || bytes >= BYTES_MAX {
                page.is_last = false;
                break;
            }
            let number: u64 = row.get(0)?;
            page.cursor.seq = number;
            page.counts.seen += 1;
            let message = quarantined(number, row.get_ref(1)?.as_blob()?);
            let Some((message, _)) = message.ok().filter(|(kept, why)| choice.means(number, kept.stream, why)) else {
                continue;
            };
            bytes += message.body.len();
            page.rows.push(Candidate::of_quarantine(number));
            kept.push(message);
        }
        Ok((page, kept))
    }
}

/// A message of the quarantine, and why it is there.
fn quarantined(number: u64, row: &[u8]) -> Result<(Kept, String), Damaged> {
    let mut input = Decoder(open(Table::Quarantine, &[number], row)?);
    let _at = input.number()?;
    let stream = Stream::from_code(input.byte()?).ok_or(Damaged)?;
    let reason = input.text()?.to_owned();
    Ok((Kept { number, stream, body: Bytes::copy_from_slice(input.0) }, reason))
}

/// What is looked for among events.
struct Look<'a> {
    job: &'a Job,
    choice: &'a EventChoice,
    sink: SinkId,
    route: Option<u32>,
    max: usize,
}

/// The names of a choice as numbers.
struct Scope {
    sink: Option<u32>,
    route: Option<u32>,
}

impl Scope {
    /// `None` if a name is not known, so that nothing is meant.
    fn of(connection: &Connection, choice: &LetterChoice) -> rusqlite::Result<Option<Self>> {
        let find = |kind, name: &Option<String>| match name {
            None => Ok(Some(None)),
            Some(name) => number(connection, kind, name).map(|found| found.map(Some)),
        };
        let (sink, route) = (find(1, &choice.sink)?, find(2, &choice.route)?);
        Ok(sink.zip(route).map(|(sink, route)| Self { sink, route }))
    }

    /// Where a job goes on.
    fn after(&self, job: &Job) -> Cursor {
        job.cursor.max(Cursor { sink: self.sink.unwrap_or(0), seq: 0 })
    }
}

fn number(connection: &Connection, kind: u8, name: &str) -> rusqlite::Result<Option<u32>> {
    let mut statement = connection.prepare_cached("SELECT number FROM name WHERE kind = ?1 AND text = ?2")?;
    statement.query_row(params![kind, name], |row| row.get(0)).optional()
}

impl Page {
    fn empty() -> Self {
        Self { is_last: true, ..Self::default() }
    }

    /// The messages of this page were taken care of or left alone, all of them or not.
    pub(crate) fn settle_messages(&mut self, counts: Counts, all: bool) {
        self.rows.clear();
        self.is_last &= all;
        self.counts.add(counts);
    }
}
