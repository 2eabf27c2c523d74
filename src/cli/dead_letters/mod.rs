//! `cspr-relay dead-letters`: look at the deliveries that were given up, and have a running relay replay or drop them.
//!
//! Looking asks a running relay, or reads the directory of a stopped one; acting is done by the relay itself.

mod list;
mod show;

use std::io::Write;
use std::path::Path;

use super::USAGE;
use super::data::{Which, which};
use super::relay::work::{self, How, Words};
use super::relay::{Place, Relay};
use crate::admin::dead_letters::{self as letters, LetterQuery, LettersOfEvent};
use crate::admin::{LetterFilterRequest, OrderRequest};
use crate::clock::Clock;
use crate::config::{duration, hash};
use crate::event::EventId;

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
    /// List them, oldest first
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
    /// Show all that is known of one: facts, reason, every attempt, the message
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
    contract_package: Option<String>,
    /// Only those of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
    /// Only this event
    #[arg(long, value_name = "EVENT_ID")]
    id: Option<EventId>,
    /// Only those given up at least this long ago, such as 1h
    #[arg(long, value_name = "DURATION")]
    older_than: Option<String>,
}

impl From<Choice> for LetterFilterRequest {
    fn from(choice: Choice) -> Self {
        let Choice { sink, route, cause, contract_package, token, id, older_than } = choice;
        let event = id.map(|id| id.to_string());
        Self { sink, route, cause, contract_package, token_id: token, event, older_than }
    }
}

#[derive(Clone, Debug, clap::Args)]
struct Filters {
    /// Only those of this sink
    #[arg(long)]
    sink: Option<String>,
    /// Only those that this route matched
    #[arg(long)]
    route: Option<String>,
    /// Only those with this cause, such as server, timeout, refused
    #[arg(long)]
    cause: Option<String>,
    /// Only those of this contract package (its hash, with or without a prefix)
    #[arg(long, value_name = "PACKAGE", value_parser = hash)]
    contract_package: Option<String>,
    /// Only those of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
    /// Only those given up at least this long ago, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = a_duration)]
    older_than: Option<String>,
}

/// Checked here, so that what is wrong is told at once.
fn a_duration(text: &str) -> Result<String, String> {
    duration(text).map(|_duration| text.to_owned())
}

impl From<Filters> for LetterQuery {
    fn from(filters: Filters) -> Self {
        let Filters { sink, route, cause, contract_package, token, older_than } = filters;
        Self { sink, route, cause, contract_package, token_id: token, older_than, ..Self::default() }
    }
}

/// Does what the verb says and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Args { verb, place } = args;
    let (order, done, how) = match verb {
        Verb::List { .. } | Verb::Show { .. } => return look(verb, place, out, errors).await,
        Verb::Replay { choice, skip_superseded, rate, how } => {
            (OrderRequest::ReplayDeadLetters { filter: choice.into(), skip_superseded, rate }, "replayed", how)
        }
        Verb::Drop { choice, how } => (OrderRequest::DropDeadLetters { filter: choice.into() }, "dropped", how),
    };
    let Some(relay) = place.running(errors)? else { return Ok(USAGE) };
    let code = work::run(&relay, order, Words { nouns: NOUNS, done }, &how, out).await?;
    out.flush()?;
    Ok(code)
}

async fn look(verb: Verb, place: Place, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = place.relay(errors).await? else { return Ok(USAGE) };
    let is_found = match verb {
        Verb::List { filters, limit, json } => {
            list::run(&relay, filters.into(), limit, json, out).await?;
            true
        }
        Verb::Show { which, sink, json } => show(&relay, which, sink, json, out).await?,
        Verb::Replay { .. } | Verb::Drop { .. } => true,
    };
    if !is_found {
        writeln!(errors, "There is no such dead letter.")?;
    }
    out.flush()?;
    Ok(if is_found { 0 } else { NOT_FOUND })
}

/// Writes the letters of an event; false if there is none.
async fn show(
    relay: &Relay,
    which: Which,
    sink: Option<String>,
    is_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let read = move |directory: &Path| letters::of_event(directory, which, Clock::default().now()).map(Some);
    let found: Option<LettersOfEvent> = relay.ask(&["dead-letters", &which.to_string()], &(), read).await?;
    let mut found = found.map_or_else(Vec::new, |found| found.dead_letters);
    found.retain(|details| sink.as_ref().is_none_or(|sink| *sink == details.letter.sink));
    found.iter().try_for_each(|details| show::run(details, is_json, out))?;
    Ok(!found.is_empty())
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
