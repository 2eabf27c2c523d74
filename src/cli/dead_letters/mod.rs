//! `cspr-relay dead-letters`: look at the deliveries that were given up, and make them wait again.
//!
//! Looking works beside a running relay; replaying needs the data directory for itself.

mod list;
mod show;

pub(in crate::cli) use list::as_json as letter_as_json;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::USAGE;
use super::data::{Place, Which, which};
use crate::clock::Clock;
use crate::config::{SinkName, duration};
use crate::event::EventId;
use crate::store::{DeadLetters, LetterFilter, OpenError, ReplayReport, dead_letters};

/// The exit code of `show` for a letter that does not exist.
const NOT_FOUND: u8 = 1;

/// Look at the deliveries that were given up, and send them again
///
/// A delivery becomes a dead letter when its retries are used up or its sink refused it for good. It is kept with its
/// message, every attempt and the reason until it is replayed or `dead_letters` lets go of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List them, oldest first; works beside a running relay
    List {
        #[command(flatten)]
        filters: Filters,
        /// List at most so many
        #[arg(long, value_name = "LETTERS", default_value_t = 50)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one: facts, reason, every attempt, the message; works beside a running relay
    Show {
        /// Event id (`evt_…`) or sequence number (as in `list`, or as in `cspr-relay-sequence`)
        #[arg(value_name = "ID_OR_SEQUENCE", value_parser = which)]
        which: Which,
        /// The one of this sink, if several sinks gave it up
        #[arg(long)]
        sink: Option<String>,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make them wait again, due at once at the next start; the relay must be stopped
    Replay {
        #[command(flatten)]
        filters: Filters,
        /// Only this event
        #[arg(long, value_name = "EVENT_ID")]
        id: Option<EventId>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Filters {
    /// Only those of this sink
    #[arg(long)]
    sink: Option<String>,
    /// Only those with this cause, such as server, timeout, refused
    #[arg(long)]
    cause: Option<String>,
    /// Only those of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
    /// Only those given up at least this long ago, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
}

impl From<Filters> for LetterFilter {
    fn from(filters: Filters) -> Self {
        let Filters { sink, cause, token, older_than } = filters;
        Self { sink: sink.map(name), cause, token_id: token, older_than, ..Self::default() }
    }
}

fn name(sink: String) -> SinkName {
    SinkName(sink.into())
}

/// Does what the verb says and gives the exit code.
pub(crate) fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(path) = args.place.directory(errors)? else { return Ok(USAGE) };
    let letters = dead_letters(&path).with_context(|| format!("looking for dead letters in {}", path.display()))?;
    let clock = Clock::default();
    match args.verb {
        Verb::List { filters, limit, json } => {
            list::run(&letters, &filters.into(), clock.now(), &list::Form { limit, is_json: json }, out)?;
        }
        Verb::Show { which, sink, json } => {
            let filter = LetterFilter { sink: sink.map(name), ..of(which) };
            if !show::run(&letters, &filter, clock.now(), json, out)? {
                writeln!(errors, "There is no such dead letter.")?;
                return Ok(NOT_FOUND);
            }
        }
        Verb::Replay { filters, id, dry_run } => {
            let filter = LetterFilter { id, ..filters.into() };
            let report = replay(&letters, &filter, &clock, !dry_run)?;
            tell(&report, dry_run, out)?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn of(which: Which) -> LetterFilter {
    match which {
        Which::Id(id) => LetterFilter { id: Some(id), ..LetterFilter::default() },
        Which::Sequence(seq) => LetterFilter { seq: Some(seq), ..LetterFilter::default() },
    }
}

fn replay(letters: &DeadLetters, filter: &LetterFilter, clock: &Clock, apply: bool) -> anyhow::Result<ReplayReport> {
    letters.replay(filter, clock, apply).map_err(|error| match error {
        OpenError::Locked { path, holder } => anyhow!(
            "the data directory {} is in use by a relay ({holder}): stop the relay first, replay, and start it again",
            path.display()
        ),
        other => anyhow::Error::new(other).context("replaying"),
    })
}

fn tell(report: &ReplayReport, is_dry: bool, out: &mut impl Write) -> io::Result<()> {
    let ReplayReport { replayed, superseded, skipped } = *report;
    let (noun, wait) = if replayed == 1 { ("letter", "waits") } else { ("letters", "wait") };
    match is_dry {
        true => writeln!(out, "{replayed} dead {noun} would wait again.")?,
        false => writeln!(out, "{replayed} dead {noun} {wait} again for the next start of the relay.")?,
    }
    if superseded > 0 {
        writeln!(
            out,
            "{superseded} of them are superseded: a newer event of the same token went to the same sink since; a \
             receiver that goes by the sequence ignores the older one."
        )?;
    }
    if skipped > 0 {
        writeln!(out, "{skipped} were skipped: they are waiting already.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        letters: Args,
    }

    #[test]
    fn a_letter_is_named_by_id_or_sequence() {
        let id = EventId([7; 16]);
        let cases = [
            (id.to_string(), Some(Which::Id(id))),
            ("42".to_owned(), Some(Which::Sequence(42))),
            ("018cac1a2b3c-000000000000002a".to_owned(), Some(Which::Sequence(42))),
            ("evt_short".to_owned(), None),
            ("x".to_owned(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(which(&text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_directory_without_a_store_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let line = ["x", "list", "--data", directory.path().to_str().unwrap()];
        let args = Command::try_parse_from(line).unwrap().letters;
        let error = format!("{:#}", run(args, &mut Vec::new(), &mut Vec::new()).unwrap_err());
        assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "looking leaves nothing behind");
    }

    #[test]
    fn a_replay_says_what_it_did() {
        let report = ReplayReport { replayed: 3, superseded: 1, skipped: 2 };
        for (is_dry, begin) in
            [(true, "3 dead letters would wait again.\n1 of"), (false, "3 dead letters wait again f")]
        {
            let mut out = Vec::new();
            tell(&report, is_dry, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with(begin) && text.contains("2 were skipped"), "{text}");
        }
    }
}
