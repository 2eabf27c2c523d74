//! Dead letters page by page, in the order of their events, whatever the filter.
//!
//! The table is kept by sink, so the letters of several sinks are merged here; nothing is sorted or counted, and a page
//! costs what its own rows cost. A filter that means few letters would make a page dear: after [`PATIENCE`] it ends
//! where it is, with what was found, and the next one goes on from there.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::params;

use super::{DeadLetter, DeadLetters, LetterFilter, Listed};
use crate::clock::{Timestamp, monotonic};
use crate::store::SinkId;
use crate::store::transaction::NameKind;

/// How long a page may take to be gathered.
const PATIENCE: Duration = Duration::from_millis(50);
/// Rows of a sink read at a time.
const ROWS: usize = 64;

/// A place between two letters. It stays valid whatever becomes of the letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    seq: u64,
    sink: u32,
}

/// Some letters, and where to go on; nowhere, if there are no more.
#[derive(Clone, Debug)]
pub(crate) struct LetterPage {
    pub(crate) letters: Vec<Listed>,
    pub(crate) next: Option<Position>,
    /// The filter names a sink that never was.
    pub(crate) is_sink_unknown: bool,
}

/// The letters of one sink, oldest first.
struct Source {
    sink: SinkId,
    rows: VecDeque<(u64, Vec<u8>)>,
    /// The last one that was read.
    after: u64,
    is_at_end: bool,
}

impl DeadLetters {
    /// At most `max` letters that `filter` means, after a position. Fewer, or none, do not say that there are no more.
    pub(crate) fn page(
        &self,
        filter: &LetterFilter,
        from: Option<Position>,
        max: usize,
        now: Timestamp,
    ) -> rusqlite::Result<LetterPage> {
        let began = monotonic();
        let mut sources = self.sources(filter, from)?;
        let mut page = LetterPage { letters: Vec::new(), next: None, is_sink_unknown: false };
        page.is_sink_unknown = filter.sink.is_some() && sources.is_empty();
        while let Some((sink, seq, row)) = self.take_first(&mut sources)? {
            page.letters.extend(self.meant(filter, DeadLetter::decode(sink, seq, &row).ok(), now)?);
            if page.letters.len() >= max || began.elapsed() > PATIENCE {
                page.next = Some(Position { seq, sink: sink.0 });
                break;
            }
        }
        Ok(page)
    }

    /// The letter with what belongs to it, if it is meant. The message is read only if all else fits.
    fn meant(
        &self,
        filter: &LetterFilter,
        letter: Option<DeadLetter>,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Listed>> {
        let Some(letter) = letter.filter(|letter| filter.may_mean(letter, now)) else { return Ok(None) };
        let listed = self.complete(letter)?;
        Ok(Some(listed).filter(|listed| filter.means(listed, now)))
    }

    /// Every sink that may have letters; only the wanted one, if one is.
    fn sources(&self, filter: &LetterFilter, from: Option<Position>) -> rusqlite::Result<Vec<Source>> {
        let mut names = self.connection.prepare_cached("SELECT number, text FROM name WHERE kind = ?1")?;
        let rows =
            names.query_map([NameKind::Sink as u8], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?)))?;
        let mut sources = Vec::new();
        for row in rows {
            let (number, name) = row?;
            if filter.sink.as_ref().is_none_or(|wanted| *wanted.0 == *name) {
                sources.push(Source::from(SinkId(number), from));
            }
        }
        Ok(sources)
    }

    /// The first of what the sources have, taken from its source.
    fn take_first(&self, sources: &mut [Source]) -> rusqlite::Result<Option<(SinkId, u64, Vec<u8>)>> {
        for source in sources.iter_mut().filter(|source| source.rows.is_empty() && !source.is_at_end) {
            self.read_on(source)?;
        }
        let first = sources.iter_mut().filter(|source| !source.rows.is_empty());
        let first = first.min_by_key(|source| (source.rows.front().map(|(seq, _)| *seq), source.sink));
        Ok(first.and_then(|source| source.rows.pop_front().map(|(seq, row)| (source.sink, seq, row))))
    }

    fn read_on(&self, source: &mut Source) -> rusqlite::Result<()> {
        let sql = "SELECT seq, row FROM dead WHERE sink = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows =
            statement.query_map(params![source.sink.0, source.after, ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
        source.rows = rows.collect::<Result<_, _>>()?;
        source.is_at_end = source.rows.len() < ROWS;
        source.after = source.rows.back().map_or(source.after, |(seq, _)| *seq);
        Ok(())
    }
}

impl Source {
    fn from(sink: SinkId, from: Option<Position>) -> Self {
        let after = from.map_or(0, |from| if sink.0 <= from.sink { from.seq } else { from.seq.saturating_sub(1) });
        Self { sink, rows: VecDeque::new(), after, is_at_end: false }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.sink)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('-').and_then(|(seq, sink)| Some((seq.parse::<i64>().ok()?, sink.parse().ok()?)));
        let (seq, sink) = parts.ok_or("no cursor that a page has named")?;
        Ok(Self { seq: seq.unsigned_abs(), sink })
    }
}
