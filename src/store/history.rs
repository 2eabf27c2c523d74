//! What became of an event: all that the store knows of it and of its deliveries.
//!
//! Works on the directory of a relay that runs or does not; reads only, in short transactions.

use std::cell::Cell;
use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::dead::DeadLetter;
use super::epoch::Epochs;
use super::error::OpenError;
use super::format::{Batch, open_body};
use super::lookup::{Search, Wanted, batch_row, report_batch};
use super::past::{self, PastDelivery};
use super::{Store, schema};
use crate::clock::Timestamp;
use crate::event::{self, EventId, Facts, Origin, Sequence, Stream, token_lane};

/// The events of a data directory.
pub(crate) struct Events {
    connection: Connection,
    epochs: Epochs,
    damaged_rows: Cell<u64>,
}

/// A token, by what names it on the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    /// 64 lower-case hex digits.
    pub(crate) contract_package: &'a str,
    pub(crate) token_id: &'a str,
}

/// An event and its deliveries.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) id: EventId,
    pub(crate) sequence: Sequence,
    pub(crate) stream: Stream,
    pub(crate) origin: Origin,
    pub(crate) accepted_at: Timestamp,
    /// As long as the message is kept.
    pub(crate) facts: Option<Facts>,
    pub(crate) body: Body,
    pub(crate) deliveries: Vec<PastDelivery>,
}

/// The message of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Kept(Bytes),
    /// Retention has removed it.
    Gone,
    Damaged,
}

/// Events of a token that are looked through for what they tell.
const TOLD_AMONG_MAX: usize = 100;

/// The events in the directory of a relay, running or not. Reads only.
pub(crate) fn events(directory: &Path) -> Result<Events, OpenError> {
    Events::open(directory)
}

/// What the relay's events of `nft-tokens` tell of a token; what retention has removed is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ToldOf {
    /// Whether one of them tells of its creation.
    pub(crate) is_created: bool,
    /// The newest that they name.
    pub(crate) deploy: Option<Box<str>>,
    /// Those that the stream told, as far as they were looked at, the newest first.
    pub(crate) sent: Vec<Sent>,
}

/// An event that a stream told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When CSPR.cloud says to have sent it.
    pub(crate) at_ms: u64,
    pub(crate) accepted_ms: u64,
}

impl History {
    /// `None` if it did not come by its stream, or does not say when it was sent.
    fn sent(&self) -> Option<Sent> {
        let at: jiff::Timestamp = self.facts.as_ref()?.timestamp.as_deref()?.parse().ok()?;
        let at_ms = u64::try_from(at.as_millisecond()).ok()?;
        (self.origin == Origin::Stream).then_some(Sent { at_ms, accepted_ms: self.accepted_at.0 })
    }
}

impl Store {
    /// What the events of a stream tell of these tokens (package and id), one by one. Blocks for a moment.
    pub(crate) fn told_of(&self, stream: Stream, tokens: &[(String, String)]) -> Result<Vec<ToldOf>, OpenError> {
        let events = Events::open(&self.surveys.directory)?;
        tokens.iter().map(|(package, id)| Ok(events.told_of(stream, package, id)?)).collect()
    }
}

impl Events {
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let connection = schema::open_to_look(directory)?;
        let epochs = Epochs::read(&connection)?;
        Ok(Self { connection, epochs, damaged_rows: Cell::default() })
    }

    /// The sequence number of an event; of the newest, if the same was accepted again after it had been forgotten.
    pub(crate) fn find_id(&self, id: EventId) -> rusqlite::Result<Option<u64>> {
        let found = self.noted(Search::new(&self.connection, Wanted::Id(id), 1).run());
        found.map(|found| found.first().copied())
    }

    /// The sequence numbers of a token's events, newest first, at most `max`, all of them up to `last`.
    pub(crate) fn find_token(&self, token: Token<'_>, last: Option<u64>, max: usize) -> rusqlite::Result<Vec<u64>> {
        let lanes = Stream::all().filter_map(|stream| token_lane(stream, token.contract_package, token.token_id));
        let search = Search::new(&self.connection, Wanted::Lanes(lanes.collect()), max);
        self.noted(search.run_to(last.unwrap_or(i64::MAX.unsigned_abs()).min(i64::MAX.unsigned_abs())))
    }

    fn told_of(&self, stream: Stream, package: &str, id: &str) -> rusqlite::Result<ToldOf> {
        let mut told = ToldOf::default();
        for seq in self.find_token(Token { contract_package: package, token_id: id }, None, TOLD_AMONG_MAX)? {
            let Some(found) = self.history(seq)?.filter(|found| found.stream == stream) else { continue };
            told.sent.extend(found.sent());
            let Some(facts) = found.facts else { continue };
            told.is_created |= &*facts.action == "created";
            told.deploy = told.deploy.or(facts.deploy_hash);
            if told.is_created && told.deploy.is_some() {
                break;
            }
        }
        Ok(told)
    }

    /// Damaged rows that searches have met so far. Each was logged; what they held may not have been found.
    pub(crate) fn damaged_rows(&self) -> u64 {
        self.damaged_rows.get()
    }

    /// All that is known of an event; `None` if the store does not have it, or no longer.
    pub(crate) fn history(&self, seq: u64) -> rusqlite::Result<Option<History>> {
        // One transaction, so that a delivery does not change its place between two looks.
        let _snapshot = self.connection.unchecked_transaction()?;
        let Some((first, row)) = batch_row(&self.connection, seq)? else { return Ok(None) };
        let Ok(batch) = Batch::decode(first, &row) else {
            report_batch(first);
            self.damaged_rows.set(self.damaged_rows.get() + 1);
            return Ok(None);
        };
        let Some(record) = batch.record(seq) else { return Ok(None) };
        let body = self.body(seq)?;
        let facts = if let Body::Kept(bytes) = &body { event::facts(record.stream, bytes).ok() } else { None };
        Ok(Some(History {
            id: record.id,
            sequence: self.epochs.sequence(seq),
            stream: record.stream,
            origin: record.origin,
            accepted_at: batch.accepted_at,
            facts,
            body,
            deliveries: past::deliveries(&self.connection, seq, record)?,
        }))
    }

    /// Shows every event after `after`, oldest first, until `show` says no. Events whose record is damaged are counted
    /// and passed by.
    pub(crate) fn each(&self, after: u64, mut show: impl FnMut(History) -> bool) -> rusqlite::Result<()> {
        let sql = "SELECT first, row FROM batch WHERE first > ?1 ORDER BY first LIMIT 1";
        let mut next = batch_row(&self.connection, after + 1)?;
        if next.is_none() {
            next = self.connection.query_row(sql, [after], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        }
        while let Some((first, row)) = next {
            let last = Batch::decode(first, &row).map_or(0, |batch| batch.last());
            self.damaged_rows.set(self.damaged_rows.get() + u64::from(last == 0));
            if !self.each_of(first.max(after + 1)..=last, &mut show)? {
                return Ok(());
            }
            let mut statement = self.connection.prepare_cached(sql)?;
            next = statement.query_row([first], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        }
        Ok(())
    }

    /// False as soon as `show` says no.
    fn each_of(
        &self,
        mut seqs: std::ops::RangeInclusive<u64>,
        show: &mut impl FnMut(History) -> bool,
    ) -> rusqlite::Result<bool> {
        seqs.try_fold(true, |goes_on, seq| Ok(goes_on && self.history(seq)?.is_none_or(&mut *show)))
    }

    fn noted(&self, searched: rusqlite::Result<(Vec<u64>, u64)>) -> rusqlite::Result<Vec<u64>> {
        let (found, damaged) = searched?;
        self.damaged_rows.set(self.damaged_rows.get() + damaged);
        Ok(found)
    }

    fn body(&self, seq: u64) -> rusqlite::Result<Body> {
        Ok(match self.row("SELECT row FROM event WHERE seq = ?1", &[seq])? {
            Some(row) => open_body(seq, &row).map_or(Body::Damaged, Body::Kept),
            // A dead letter keeps its message longer.
            None => DeadLetter::body(&self.connection, seq)?.map_or(Body::Gone, Body::Kept),
        })
    }

    fn row(&self, sql: &str, key: &[u64]) -> rusqlite::Result<Option<Vec<u8>>> {
        let key = rusqlite::params_from_iter(key);
        self.connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
    }
}
