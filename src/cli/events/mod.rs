//! `cspr-relay events`: what became of an event, and which events there are of a token.
//!
//! Asks a running relay, or reads the data directory of a stopped one.

mod list;
mod show;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(in crate::cli) use tests::fill as fill_for_test;

pub(in crate::cli) use show::printable;
pub(super) use show::write_attempt;

use std::io::Write;
use std::path::Path;

use super::USAGE;
use super::data::{Which, which};
use super::relay::{Place, Relay};
use crate::admin::events::{self, HistoryQuery, TokenHistory};
use crate::config::hash;
use crate::store;

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
        #[command(flatten)]
        token: TokenName,
        #[command(flatten)]
        list: List,
    },
}

/// How much of a list is wanted, and in what form.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct List {
    /// List at most so many
    #[arg(long, value_name = "EVENTS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A token, as it is named on the chain.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenName {
    /// Hash of the contract package, with or without a prefix such as `hash-`
    #[arg(value_name = "PACKAGE", value_parser = hash)]
    package: String,
    #[arg(value_name = "TOKEN_ID")]
    token_id: String,
}

/// Does what the verb says and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.place.relay(errors).await? else { return Ok(USAGE) };
    let is_found = match args.verb {
        Verb::Show { which, json } => show(&relay, which, json, out).await?,
        Verb::Token { token, list } => history(&relay, token, &list, out, errors).await?,
    };
    if !is_found {
        writeln!(errors, "There is no such event: none was accepted, or retention has removed it.")?;
    }
    out.flush()?;
    Ok(if is_found { 0 } else { NOT_FOUND })
}

/// Writes one event; false if there is none.
async fn show(relay: &Relay, which: Which, is_json: bool, out: &mut impl Write) -> anyhow::Result<bool> {
    let read = move |directory: &Path| events::find(directory, which);
    let Some(event) = relay.ask(&["events", &which.to_string()], &(), read).await? else { return Ok(false) };
    show::run(&event, is_json, out)?;
    Ok(true)
}

/// Writes the newest events of a token; false if there are none.
pub(super) async fn history(
    relay: &Relay,
    token: TokenName,
    list: &List,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> anyhow::Result<bool> {
    let TokenName { package, token_id } = token;
    let query = HistoryQuery { before: None, limit: Some(list.limit) };
    let path = ["tokens", package.as_str(), token_id.as_str(), "events"].map(str::to_owned);
    let read = move |directory: &Path| {
        events::of_token(directory, store::Token { contract_package: &package, token_id: &token_id }, query).map(Some)
    };
    let found: Option<TokenHistory> = relay.ask(&path.each_ref().map(String::as_str), &query, read).await?;
    let Some(TokenHistory { events, next, damaged }) = found else { return Ok(false) };
    list::run(&events, next.is_some(), list.json, out)?;
    if damaged {
        writeln!(errors, "Parts of the store are damaged (see the relay's log): there may be more than was found.")?;
    }
    Ok(!events.is_empty())
}
