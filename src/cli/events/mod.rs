//! `cspr-relay events`: what became of an event, and which events there are of a token.
//!
//! Reads the data directory of a relay, whether it runs or not.

mod list;
mod show;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(in crate::cli) use tests::fill as fill_for_test;

pub(in crate::cli) use show::{as_json as event_as_json, printable};

use std::io::Write;

use anyhow::Context;

use super::USAGE;
use super::data::{Place, Which, which};
use crate::config::hash;
use crate::store::{Events, Token, events};

/// The exit code when there is no such event.
const NOT_FOUND: u8 = 1;

/// Look up accepted events, and what became of them at each sink
///
/// An event is known as long as the relay may need its identity, and its message as long as `store.retention` says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Show all that is known of one: facts, its deliveries with their attempts, the message
    Show {
        /// Event id (`evt_…`) or sequence number (as in `token`, or as in `cspr-relay-sequence`)
        #[arg(value_name = "ID_OR_SEQUENCE", value_parser = which)]
        which: Which,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List those of a token, newest first
    Token {
        /// Hash of the contract package, with or without a prefix such as `hash-`
        #[arg(value_name = "PACKAGE", value_parser = hash)]
        package: String,
        #[arg(value_name = "TOKEN_ID")]
        token_id: String,
        /// List at most so many
        #[arg(long, value_name = "EVENTS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// Does what the verb says and gives the exit code.
pub(crate) fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(path) = args.place.directory(errors)? else { return Ok(USAGE) };
    let events = events(&path).with_context(|| format!("looking for events in {}", path.display()))?;
    let is_found = look_up(&events, args.verb, out).context("reading the store")?;
    if !is_found {
        writeln!(errors, "There is no such event: none was accepted, or retention has removed it.")?;
    }
    if events.damaged_rows() > 0 {
        writeln!(errors, "Parts of the store are damaged (see the log above): there may be more than was found.")?;
    }
    out.flush()?;
    Ok(if is_found { 0 } else { NOT_FOUND })
}

/// Writes what was asked for; false if there is nothing.
fn look_up(events: &Events, verb: Verb, out: &mut impl Write) -> anyhow::Result<bool> {
    match verb {
        Verb::Show { which, json } => {
            let seq = match which {
                Which::Id(id) => events.find_id(id)?,
                Which::Sequence(seq) => Some(seq),
            };
            let Some(seq) = seq else { return Ok(false) };
            let Some(history) = events.history(seq)? else { return Ok(false) };
            show::run(&history, json, out)?;
            Ok(true)
        }
        Verb::Token { package, token_id, limit, json } => {
            // One more than is shown says whether there are more.
            let limit = usize::from(limit);
            let found =
                events.find_token(Token { contract_package: &package, token_id: &token_id }, None, limit + 1)?;
            let mut histories = Vec::new();
            for seq in found.iter().take(limit) {
                histories.extend(events.history(*seq)?);
            }
            list::run(&histories, found.len() > limit, json, out)?;
            Ok(!found.is_empty())
        }
    }
}
