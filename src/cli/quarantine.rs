//! `cspr-relay quarantine`: messages that could not be handled.

use std::io::Write;
use std::path::Path;

use super::USAGE;
use super::listen::{escaped_in_json, shown};
use super::relay::work::{self, How, Words};
use super::relay::{Place, Relay};
use super::table::Table;
use crate::admin::quarantine::{self, QuarantineList, QuarantineQuery, QuarantinedView};
use crate::admin::{OrderRequest, QuarantineFilterRequest};

/// The exit code of `show` for a message that does not exist.
const NOT_FOUND: u8 = 1;
const REASON_CHARS: usize = 60;
const NOUNS: (&str, &str) = ("message", "messages");

/// Look at the messages that could not be handled, take them up once more, or let go of them
///
/// They are kept raw, with the reason: a message that is no JSON, or lacks what its stream must have.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List them, newest first
    List {
        /// List at most so many
        #[arg(long, value_name = "MESSAGES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Only messages with a lower number
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one to the last byte
    Show {
        #[arg(value_name = "NUMBER")]
        number: u64,
        /// As one JSON object; what is no UTF-8 is there in base64 too
        #[arg(long)]
        json: bool,
    },
    /// Put them through intake once more, after a fix; what is still unusable, or wanted by no route, stays
    Reroute {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        how: How,
    },
    /// Let go of them for good
    Drop {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Filters {
    /// Only the one of this number
    #[arg(long)]
    number: Option<u64>,
    /// Only those of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only those with this in their reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl From<Filters> for QuarantineFilterRequest {
    fn from(filters: Filters) -> Self {
        let Filters { number, stream, reason } = filters;
        Self { number, stream, reason }
    }
}

/// Does what the verb says and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Args { verb, place } = args;
    let (order, done, how) = match verb {
        Verb::List { .. } | Verb::Show { .. } => return look(verb, place, out, errors).await,
        Verb::Reroute { filters, how } => {
            (OrderRequest::RerouteQuarantined { filter: filters.into() }, "taken up", how)
        }
        Verb::Drop { filters, how } => (OrderRequest::DropQuarantined { filter: filters.into() }, "dropped", how),
    };
    let Some(relay) = place.running(errors)? else { return Ok(USAGE) };
    let code = work::run(&relay, order, Words { nouns: NOUNS, done }, &how, out).await?;
    out.flush()?;
    Ok(code)
}

async fn look(verb: Verb, place: Place, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = place.relay(errors).await? else { return Ok(USAGE) };
    let is_found = match verb {
        Verb::List { limit, before, json } => {
            list(&relay, QuarantineQuery { before, limit: Some(limit) }, json, out).await?
        }
        Verb::Show { number, json } => show(&relay, number, json, out).await?,
        Verb::Reroute { .. } | Verb::Drop { .. } => true,
    };
    if !is_found {
        writeln!(errors, "There is no such message in quarantine.")?;
    }
    out.flush()?;
    Ok(if is_found { 0 } else { NOT_FOUND })
}

async fn list(relay: &Relay, query: QuarantineQuery, is_json: bool, out: &mut impl Write) -> anyhow::Result<bool> {
    let read = move |directory: &Path| quarantine::page(directory, query).map(Some);
    let found: Option<QuarantineList> = relay.ask(&["quarantine"], &query, read).await?;
    let Some(QuarantineList { messages, next, total }) = found else { return Ok(false) };
    if is_json {
        for message in &messages {
            writeln!(out, "{}", escaped_in_json(&serde_json::to_string(message)?))?;
        }
        return Ok(true);
    }
    let mut table = Table::new(["number", "came at", "stream", "bytes", "reason", "message"]);
    for QuarantinedView { number, at, stream, reason, bytes, text, .. } in messages {
        let reason = reason.unwrap_or_else(|| "its row is damaged".to_owned());
        let cells = [number.to_string(), at.unwrap_or_default(), stream.unwrap_or_default(), bytes.to_string()];
        table.row(cells.into_iter().chain([reason.chars().take(REASON_CHARS).collect(), text.unwrap_or_default()]));
    }
    table.write(out)?;
    writeln!(
        out,
        "{total} in quarantine{}",
        next.map_or_else(String::new, |next| format!("; older ones: --before {next}"))
    )?;
    Ok(true)
}

async fn show(relay: &Relay, number: u64, is_json: bool, out: &mut impl Write) -> anyhow::Result<bool> {
    let read = move |directory: &Path| quarantine::find(directory, number);
    let found: Option<QuarantinedView> = relay.ask(&["quarantine", &number.to_string()], &(), read).await?;
    let Some(message) = found else { return Ok(false) };
    if is_json {
        writeln!(out, "{}", escaped_in_json(&serde_json::to_string(&message)?))?;
        return Ok(true);
    }
    let or_none = |text: &Option<String>| text.as_ref().map_or_else(|| "-".to_owned(), |text| shown(text, usize::MAX));
    writeln!(out, "number  {number}\ncame    {}\nstream  {}", or_none(&message.at), or_none(&message.stream))?;
    writeln!(out, "reason  {}\n\nmessage, {} bytes", or_none(&message.reason), message.bytes)?;
    match (&message.base64, &message.text) {
        (Some(base64), _) => writeln!(out, "in base64, since it is no UTF-8:\n{base64}")?,
        (None, Some(text)) => writeln!(out, "{}", escaped_in_json(text))?,
        (None, None) => writeln!(out, "Its row is damaged.")?,
    }
    Ok(true)
}
