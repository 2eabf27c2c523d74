//! `cspr-relay dead-letters`: look at the deliveries that were given up, and have a running relay replay or drop them.
//!
//! Looking reads the data directory, whether the relay runs or not; acting is done by the relay itself.

mod list;
mod show;

pub(in crate::cli) use list::as_json as letter_as_json;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use reqwest::Url;

use super::USAGE;
use super::data::{Place, Which, which};
use super::remote::Whom;
use super::remote::work::{self, How, Words};
use crate::admin::{LetterFilterRequest, OrderRequest};
use crate::clock::Clock;
use crate::config::{SinkName, duration};
use crate::event::EventId;
use crate::store::{LetterFilter, dead_letters};

/// The exit code of `show` for a letter that does not exist.
const NOT_FOUND: u8 = 1;
const NOUNS: (&str, &str) = ("dead letter", "dead letters");

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
    /// Have the running relay send them again; they keep their event ids
    Replay {
        #[command(flatten)]
        choice: Choice,
        /// Leave those alone that a newer event of their token has followed to the same sink
        #[arg(long)]
        skip_superseded: bool,
        /// At most so many in a second
        #[arg(long, value_name = "LETTERS")]
        rate: Option<u32>,
        #[command(flatten)]
        how: How,
    },
    /// Have the running relay let go of them for good
    Drop {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        how: How,
    },
}

/// Which letters a running relay is to do something with.
#[derive(Clone, Debug, clap::Args)]
struct Choice {
    /// Only those of this sink
    #[arg(long)]
    sink: Option<String>,
    /// Only those that this route matched
    #[arg(long)]
    route: Option<String>,
    /// Only those with this cause, such as server, timeout, refused
    #[arg(long)]
    cause: Option<String>,
    /// Only those of this contract package
    #[arg(long, value_name = "HASH")]
    package: Option<String>,
    /// Only those of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
    /// Only this event
    #[arg(long, value_name = "EVENT_ID")]
    id: Option<EventId>,
    /// Only those given up at least this long ago, such as 1h
    #[arg(long, value_name = "DURATION")]
    older_than: Option<String>,
    /// Where the relay's admin side is, if not at admin.listen, such as `http://localhost:9464`
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

impl From<Choice> for LetterFilterRequest {
    fn from(choice: Choice) -> Self {
        let Choice { sink, route, cause, package, token, id, older_than, url: _ } = choice;
        let event = id.map(|id| id.to_string());
        Self { sink, route, cause, contract_package: package, token_id: token, event, older_than }
    }
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
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Args { verb, place } = args;
    let code = match verb {
        Verb::Replay { choice, skip_superseded, rate, how } => {
            let Some(relay) = Whom::new(place.config(), choice.url.clone()).relay(errors)? else { return Ok(USAGE) };
            let order = OrderRequest::ReplayDeadLetters { filter: choice.into(), skip_superseded, rate };
            work::run(&relay, order, Words { nouns: NOUNS, done: "replayed" }, &how, out).await?
        }
        Verb::Drop { choice, how } => {
            let Some(relay) = Whom::new(place.config(), choice.url.clone()).relay(errors)? else { return Ok(USAGE) };
            let order = OrderRequest::DropDeadLetters { filter: choice.into() };
            work::run(&relay, order, Words { nouns: NOUNS, done: "dropped" }, &how, out).await?
        }
        Verb::List { .. } | Verb::Show { .. } => look(verb, place, out, errors)?,
    };
    out.flush()?;
    Ok(code)
}

fn look(verb: Verb, place: Place, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(path) = place.directory(errors)? else { return Ok(USAGE) };
    let letters = dead_letters(&path).with_context(|| format!("looking for dead letters in {}", path.display()))?;
    let now = Clock::default().now();
    match verb {
        Verb::List { filters, limit, json } => {
            list::run(&letters, &filters.into(), now, &list::Form { limit, is_json: json }, out)?;
        }
        Verb::Show { which, sink, json } => {
            let filter = LetterFilter { sink: sink.map(name), ..of(which) };
            if !show::run(&letters, &filter, now, json, out)? {
                writeln!(errors, "There is no such dead letter.")?;
                return Ok(NOT_FOUND);
            }
        }
        Verb::Replay { .. } | Verb::Drop { .. } => {}
    }
    Ok(0)
}

fn of(which: Which) -> LetterFilter {
    match which {
        Which::Id(id) => LetterFilter { id: Some(id), ..LetterFilter::default() },
        Which::Sequence(seq) => LetterFilter { seq: Some(seq), ..LetterFilter::default() },
    }
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

    #[tokio::test]
    async fn a_directory_without_a_store_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let line = ["x", "list", "--data", directory.path().to_str().unwrap()];
        let args = Command::try_parse_from(line).unwrap().letters;
        let error = format!("{:#}", run(args, &mut Vec::new(), &mut Vec::new()).await.unwrap_err());
        assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "looking leaves nothing behind");
    }
}
