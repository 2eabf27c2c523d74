//! Gaps: the spans in which a stream was not heard, and up to when each was, and was audited. A row for each gap, and
//! two for each stream.
//!
//! A gap begins where its stream was last heard, and ends when all of it is heard again. That moment is written down
//! every few seconds, so a gap that a kill began is known at the next start, a few seconds too long rather than too
//! short. A gap stays open until somebody has seen to it.

mod audited;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::error::{OpenError, Stopped};
use super::format::{Table, open, seal};
use super::writer::Command;
use super::{Store, schema};
use crate::clock::Timestamp;
use crate::event::Stream;
pub(crate) use audited::Audited;

/// Beyond so many the oldest gap is forgotten, and that is logged.
const GAPS_MAX: u64 = 1_000;

/// A span in which a stream was not heard, or did not tell everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) number: u64,
    pub(crate) stream: String,
    pub(crate) from_ms: u64,
    /// `None`: it goes on.
    pub(crate) to_ms: Option<u64>,
    pub(crate) cause: GapCause,
    /// The cause in words, if there are any.
    pub(crate) detail: Option<String>,
    pub(crate) state: GapState,
    /// Why it is in that state.
    pub(crate) note: Option<String>,
    /// Events that were accepted of what REST told.
    #[serde(default)]
    pub(crate) returned: u64,
    /// The newest event when it began.
    #[serde(default)]
    pub(crate) after: u64,
    /// When it is to be looked at once more, for what REST did not know at the first look.
    #[serde(default)]
    pub(crate) recheck_ms: Option<u64>,
}

/// Why a stream was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GapCause {
    /// The relay was not running.
    Stopped,
    Disconnected,
    /// Connected, but without a sign of life.
    Silent,
    /// The store had no room, so nothing was read.
    IntakeWaited,
    /// It was heard, and yet REST lists what it has not told.
    Audit,
}

impl GapCause {
    /// The word for it in logs and answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Disconnected => "disconnected",
            Self::Silent => "silent",
            Self::IntakeWaited => "intake_waited",
            Self::Audit => "audit",
        }
    }
}

/// What was done about a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GapState {
    /// Nothing yet.
    Open,
    /// All that was missed has been told.
    Repaired,
    /// Some of it.
    Partial,
    /// Nobody can tell.
    Unrepairable,
    /// An operator has seen to it.
    Closed,
}

impl GapState {
    /// The word for it in answers and events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Repaired => "repaired",
            Self::Partial => "partial",
            Self::Unrepairable => "unrepairable",
            Self::Closed => "closed",
        }
    }
}

/// What is to be written about gaps.
#[derive(Clone, Debug)]
pub(crate) enum GapChange {
    /// All that came on these streams up to these moments was read.
    Heard(Vec<(Stream, Timestamp)>),
    /// What a stream has told was held against what REST lists.
    Audited(Audited),
    /// Nothing subscribes to these streams any more, so they cannot have gaps.
    Forget(Vec<Stream>),
    Open {
        stream: Stream,
        from: Timestamp,
        cause: GapCause,
        detail: Option<String>,
    },
    /// The stream is heard again.
    End {
        number: u64,
        to: Timestamp,
    },
    /// What a repair has come to.
    Settle {
        number: u64,
        state: GapState,
        note: Option<String>,
        returned: u64,
        recheck: Option<Timestamp>,
    },
    /// What came back so far, and why it is not all.
    Progress {
        number: u64,
        note: Option<String>,
        returned: u64,
    },
    /// It is to be repaired anew; not one that goes on.
    Reopen {
        number: u64,
    },
    /// An operator has seen to it; not one that goes on.
    Close {
        number: u64,
        note: String,
    },
}

/// What a run leaves to the next.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Up to when each stream was heard.
    pub(crate) until: Vec<(Stream, Timestamp)>,
    /// Oldest first.
    pub(crate) gaps: Vec<Gap>,
}

/// A change on its way, and who waits for it.
pub(super) struct Pending {
    change: GapChange,
    outcome: RefCell<Option<Gap>>,
    done: oneshot::Sender<Option<Gap>>,
}

impl Store {
    /// Writes a change with the next commit; durable when this returns. The gap as it is then; `None` if the change is
    /// about none, or does not fit one.
    pub(crate) async fn change_gap(&self, change: GapChange) -> Result<Option<Gap>, Stopped> {
        let (done, changed) = oneshot::channel();
        let pending = Pending { change, outcome: RefCell::default(), done };
        self.commands.send(Command::Gap(pending)).await.map_err(|_| Stopped)?;
        changed.await.map_err(|_| Stopped)
    }

    /// All gaps, oldest first.
    pub(crate) async fn gaps(&self) -> Result<Vec<Gap>, Stopped> {
        self.reader.read(read_all).await
    }

    /// What an earlier run has left. Blocks for a moment.
    pub(crate) fn hearing(&self) -> Result<Heard, OpenError> {
        let connection = schema::open_reader(&self.surveys.directory)?;
        Ok(Heard { until: read_heard(&connection)?, gaps: read_all(&connection)? })
    }
}

/// All gaps in the directory of a relay, oldest first.
pub(crate) fn gaps(directory: &Path) -> Result<Vec<Gap>, OpenError> {
    Ok(read_all(&schema::open_reader(directory)?)?)
}

/// How many are open, and when the oldest of them began.
pub(super) fn open_ones(connection: &Connection) -> rusqlite::Result<(u64, Option<Timestamp>)> {
    let open: Vec<u64> =
        read_all(connection)?.iter().filter(|gap| gap.state == GapState::Open).map(|gap| gap.from_ms).collect();
    Ok((open.len() as u64, open.into_iter().min().map(Timestamp)))
}

impl Pending {
    pub(super) fn apply(&self, connection: &Connection) -> rusqlite::Result<()> {
        let gap = apply(&self.change, connection)?;
        self.outcome.replace(gap);
        Ok(())
    }

    /// To be called when it is durable.
    pub(super) fn answer(self) {
        // Whoever no longer waits finds the rows.
        let _unwanted = self.done.send(self.outcome.into_inner());
    }
}

fn apply(change: &GapChange, connection: &Connection) -> rusqlite::Result<Option<Gap>> {
    match change {
        GapChange::Heard(streams) => {
            let sql = "INSERT OR REPLACE INTO heard VALUES (?1, ?2)";
            let mut statement = connection.prepare_cached(sql)?;
            for (stream, until) in streams {
                let row = seal(Table::Heard, &[stream.code().into()], &until.0.to_be_bytes());
                statement.execute(params![stream.code(), row])?;
            }
            Ok(None)
        }
        GapChange::Audited(audited) => audited::write(connection, audited).map(|()| None),
        GapChange::Forget(streams) => {
            let mut statement = connection.prepare_cached("DELETE FROM heard WHERE stream = ?1")?;
            streams.iter().try_for_each(|stream| statement.execute([stream.code()]).map(drop))?;
            Ok(None)
        }
        GapChange::Open { stream, from, cause, detail } => begin(connection, *stream, *from, *cause, detail.clone()),
        GapChange::End { number, to } => amend(connection, *number, |gap| {
            // A clock that was set back must not make the span a negative one.
            gap.to_ms = Some(to.0.max(gap.from_ms));
        }),
        GapChange::Settle { number, state, note, returned, recheck } => amend(connection, *number, |gap| {
            // An operator may have closed it meanwhile.
            if gap.state != GapState::Closed {
                (gap.state, gap.note) = (*state, note.clone());
                gap.recheck_ms = recheck.map(|at| at.0);
            }
            gap.returned += returned;
        }),
        GapChange::Progress { number, note, returned } => amend(connection, *number, |gap| {
            if gap.state == GapState::Open {
                gap.note.clone_from(note);
            }
            gap.returned += returned;
        }),
        GapChange::Reopen { number } => {
            let ended = find(connection, *number)?.is_some_and(|gap| gap.to_ms.is_some());
            if !ended {
                return Ok(None);
            }
            amend(connection, *number, |gap| (gap.state, gap.note, gap.recheck_ms) = (GapState::Open, None, None))
        }
        GapChange::Close { number, note } => {
            let ended = find(connection, *number)?.is_some_and(|gap| gap.to_ms.is_some());
            if !ended {
                return Ok(None);
            }
            amend(connection, *number, |gap| {
                (gap.state, gap.note) = (GapState::Closed, Some(note.clone()));
            })
        }
    }
}

fn begin(
    connection: &Connection,
    stream: Stream,
    from: Timestamp,
    cause: GapCause,
    detail: Option<String>,
) -> rusqlite::Result<Option<Gap>> {
    let next = "SELECT coalesce(max(number), 0) + 1 FROM gap";
    let number: u64 = connection.prepare_cached(next)?.query_row([], |row| row.get(0))?;
    let forgotten =
        connection.prepare_cached("DELETE FROM gap WHERE number + ?1 <= ?2")?.execute([GAPS_MAX, number])?;
    if forgotten > 0 {
        tracing::warn!(forgotten, "there are too many gaps: the oldest are no longer listed");
    }
    let (state, stream) = (GapState::Open, stream.to_string());
    let newest = "SELECT coalesce(max(seq), 0) FROM event";
    let after: u64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    let from_ms = from.0;
    let gap = Gap {
        number,
        stream,
        from_ms,
        to_ms: None,
        cause,
        detail,
        state,
        note: None,
        returned: 0,
        after,
        recheck_ms: None,
    };
    write(connection, &gap)?;
    Ok(Some(gap))
}

fn amend(connection: &Connection, number: u64, change: impl FnOnce(&mut Gap)) -> rusqlite::Result<Option<Gap>> {
    let Some(mut gap) = find(connection, number)? else { return Ok(None) };
    change(&mut gap);
    write(connection, &gap)?;
    Ok(Some(gap))
}

fn write(connection: &Connection, gap: &Gap) -> rusqlite::Result<()> {
    let json = serde_json::to_vec(gap).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let row = seal(Table::Gap, &[gap.number], &json);
    let sql = "INSERT OR REPLACE INTO gap VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![gap.number, row]).map(drop)
}

fn find(connection: &Connection, number: u64) -> rusqlite::Result<Option<Gap>> {
    let Ok(key) = i64::try_from(number) else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT row FROM gap WHERE number = ?1")?;
    let row: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
    Ok(row.and_then(|row| decode(number, &row)))
}

fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Gap>> {
    let mut statement = connection.prepare("SELECT number, row FROM gap ORDER BY number")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut gaps = Vec::new();
    for row in rows {
        let (number, row) = row?;
        gaps.extend(decode(number, &row));
    }
    Ok(gaps)
}

fn decode(number: u64, row: &[u8]) -> Option<Gap> {
    let gap = open(Table::Gap, &[number], row).ok().and_then(|json| serde_json::from_slice(json).ok());
    if gap.is_none() {
        tracing::error!(number, "the row of a gap is damaged: there was a gap, and nobody knows of which span");
    }
    gap
}

fn read_heard(connection: &Connection) -> rusqlite::Result<Vec<(Stream, Timestamp)>> {
    let mut statement = connection.prepare("SELECT stream, row FROM heard ORDER BY stream")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u8>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut heard = Vec::new();
    for row in rows {
        let (code, row) = row?;
        let until = open(Table::Heard, &[code.into()], &row).ok().and_then(|until| until.try_into().ok());
        match Stream::from_code(code).zip(until.map(u64::from_be_bytes)) {
            Some((stream, until)) => heard.push((stream, Timestamp(until))),
            None => tracing::error!(stream = code, "the row that says when a stream was last heard is damaged"),
        }
    }
    Ok(heard)
}
