//! `cspr-relay tail`: events as a running relay accepts them.

use std::io::Write;

use anyhow::Context;
use reqwest::Response;

use super::USAGE;
use super::listen::{escaped_in_json, shown};
use super::relay::Place;
use crate::admin::tail::{TailEvent, TailLine, TailQuery};
use crate::config::hash;

/// A longer line is none of a relay: messages have 4 MiB at most.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
const PACKAGE_CHARS: usize = 8;
const TOKEN_CHARS: usize = 24;

/// Show events as a running relay accepts them, without disturbing it
///
/// Begins with the next event and goes on until it is interrupted. What comes too fast to be shown is counted.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Only events of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only events with this action, such as created
    #[arg(long)]
    action: Option<String>,
    /// Only events of this contract package (its hash, with or without a prefix)
    #[arg(long, value_name = "PACKAGE", value_parser = hash)]
    contract_package: Option<String>,
    /// Only events of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
    /// Only events that this sink gets
    #[arg(long)]
    sink: Option<String>,
    /// Only events that this route matched
    #[arg(long)]
    route: Option<String>,
    /// One JSON object a line, with the message
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Shows events until the relay stops; gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Args { stream, action, contract_package, token, sink, route, json, place } = args;
    let query = TailQuery { stream, action, contract_package, token_id: token, sink, route, messages: Some(json) };
    let Some(relay) = place.running(errors)? else { return Ok(USAGE) };
    let answer = relay.stream(&["tail"], &query).await?;
    follow(answer, json, out).await?;
    Ok(0)
}

async fn follow(mut answer: Response, is_json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    while let Some(part) = answer.chunk().await.context("the relay is gone")? {
        buffer.extend_from_slice(&part);
        anyhow::ensure!(buffer.len() <= LINE_BYTES_MAX, "the answer of the relay is too long");
        let whole = buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in
            buffer.drain(..whole).collect::<Vec<_>>().split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
        {
            write(line, is_json, out)?;
        }
        out.flush()?;
    }
    Ok(())
}

fn write(line: &[u8], is_json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let parsed: TailLine =
        serde_json::from_slice(line).context("the answer of the relay is not what this version understands")?;
    match parsed {
        _ if is_json => writeln!(out, "{}", escaped_in_json(&String::from_utf8_lossy(line)))?,
        TailLine::Event(event) => writeln!(out, "{}", text(&event))?,
        TailLine::Skipped(count) => writeln!(out, "… {count} came too fast to be shown")?,
    }
    Ok(())
}

fn text(event: &TailEvent) -> String {
    let or_none = |text: &Option<String>, max| text.as_ref().map_or_else(|| "-".to_owned(), |text| shown(text, max));
    format!(
        "{} {:>8} {}.{} {}/{} -> {}",
        event.accepted_at,
        event.sequence,
        shown(&event.stream, usize::MAX),
        shown(&event.action, TOKEN_CHARS),
        or_none(&event.contract_package, PACKAGE_CHARS),
        or_none(&event.token_id, TOKEN_CHARS),
        shown(&event.sinks.join(","), usize::MAX),
    )
}
