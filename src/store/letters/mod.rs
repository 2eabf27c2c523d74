//! Looking at the dead letters of a data directory, of a relay that runs or does not: one page after the other, in
//! short transactions. Replaying and dropping them is the work of a job.

mod pages;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, params};

pub(crate) use pages::Position;

use super::dead::DeadLetter;
use super::error::OpenError;
use super::format::{Damaged, Decoder, Table, open};
use super::transaction::NameKind;
use super::{SinkId, schema};
use crate::clock::Timestamp;
use crate::config::SinkName;
use crate::event::{self, EventId, Facts, token_lane};

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

/// The dead letters of a data directory.
pub(crate) struct DeadLetters {
    connection: Connection,
}

/// Which letters are meant; an absent condition accepts all.
#[derive(Clone, Debug, Default)]
pub(crate) struct LetterFilter {
    pub(crate) sink: Option<SinkName>,
    pub(crate) id: Option<EventId>,
    pub(crate) seq: Option<u64>,
    /// A route that it was matched by.
    pub(crate) route: Option<String>,
    pub(crate) cause: Option<String>,
    /// 64 lower-case hex digits.
    pub(crate) contract_package: Option<String>,
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

/// The dead letters in the directory of a relay, running or not. Reads only.
pub(crate) fn dead_letters(directory: &Path) -> Result<DeadLetters, OpenError> {
    DeadLetters::open(directory)
}

impl DeadLetters {
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: schema::open_to_look(directory)? })
    }

    /// Calls `visit` with every letter that `filter` means, oldest first, until it says no.
    pub(crate) fn each(
        &self,
        filter: &LetterFilter,
        now: Timestamp,
        mut visit: impl FnMut(Listed) -> bool,
    ) -> rusqlite::Result<()> {
        let mut page = self.rows((0, 0))?;
        while let Some(last) = page.last() {
            let after = (last.seq, last.sink.0);
            let listed: Vec<Listed> = page.into_iter().map(|letter| self.complete(letter)).collect::<Result<_, _>>()?;
            if !listed.into_iter().filter(|listed| filter.means(listed, now)).all(&mut visit) {
                break;
            }
            page = self.rows(after)?;
        }
        Ok(())
    }

    /// The letters that an event has left, at most one for each sink.
    pub(crate) fn of_event(&self, seq: u64) -> rusqlite::Result<Vec<Listed>> {
        let mut names = self.connection.prepare_cached("SELECT number FROM name WHERE kind = ?1")?;
        let sinks: Vec<u32> = names.query_map([NameKind::Sink as u8], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut listed = Vec::new();
        for sink in sinks {
            if let Some(letter) = DeadLetter::find(&self.connection, SinkId(sink), seq)? {
                listed.push(self.complete(letter)?);
            }
        }
        Ok(listed)
    }

    /// The failed attempts of a letter, oldest first, those of replays among them.
    pub(crate) fn attempts(&self, letter: &DeadLetter) -> rusqlite::Result<Vec<PastAttempt>> {
        PastAttempt::of(&self.connection, letter.sink, letter.seq)
    }

    fn rows(&self, (seq, sink): (u64, u32)) -> rusqlite::Result<Vec<DeadLetter>> {
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
        let fact = |wanted: &Option<String>, read: fn(&Facts) -> Option<&str>| {
            let has = || listed.facts.as_ref().and_then(read);
            wanted.as_deref().is_none_or(|wanted| has() == Some(wanted))
        };
        self.may_mean(&listed.letter, now)
            && self.sink.as_ref().is_none_or(|sink| *sink == listed.sink)
            && self.route.as_ref().is_none_or(|route| listed.routes.contains(route))
            && fact(&self.contract_package, |facts| facts.contract_package.as_deref())
            && fact(&self.token_id, |facts| facts.token_id.as_deref())
    }

    /// False if the row alone says that it is not meant. The lane says which token it is, without a look into the
    /// message.
    fn may_mean(&self, letter: &DeadLetter, now: Timestamp) -> bool {
        let lane = || token_lane(letter.stream, self.contract_package.as_deref()?, self.token_id.as_deref()?);
        self.id.is_none_or(|id| id == letter.id)
            && self.seq.is_none_or(|seq| seq == letter.seq)
            && self.cause.as_ref().is_none_or(|cause| *cause == letter.cause)
            && self.older_than.is_none_or(|age| now.since(letter.died_at) >= age)
            && lane().is_none_or(|lane| lane == letter.lane)
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
