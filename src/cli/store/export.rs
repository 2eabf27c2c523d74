//! `store export`: everything a store has of events, one JSON object a line, oldest first.
//!
//! A message that is no UTF-8 stands in base64, so its bytes come out as they came in. Each line has the sequence
//! number: an export that broke off goes on with `--after` the last one.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::dead_letters::LetterView;
use crate::admin::events::EventView;
use crate::cli::events::printable;
use crate::clock::Timestamp;
use crate::config::{SinkName, hash};
use crate::store::{self, Body, History, LetterFilter, QuarantinedMessage};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// What to write
    #[arg(value_enum, default_value = "events")]
    what: What,
    /// Only the messages, one a line, as `emulate --replay` reads them; name the stream there
    #[arg(long)]
    messages: bool,
    /// Only what comes after this sequence number (of quarantine: after this number), to go on with an export
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
    /// Only what was accepted at or after this time, such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only what was accepted before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only for this sink
    #[arg(long)]
    sink: Option<String>,
    /// Only of this contract package
    #[arg(long, value_name = "HASH", value_parser = hash)]
    package: Option<String>,
    /// Only of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Events,
    DeadLetters,
    Quarantine,
}

/// Writes what is meant; false if something of it could not be read.
pub(super) fn run(args: &Args, path: &Path, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<bool> {
    let mut out = io::BufWriter::new(out);
    let damaged = match args.what {
        What::Events => events(args, path, &mut out)?,
        What::DeadLetters => dead_letters(args, path, &mut out)?,
        What::Quarantine => quarantine(args, path, &mut out)?,
    };
    out.flush()?;
    if damaged > 0 {
        writeln!(
            errors,
            "{damaged} damaged rows were met: there is more than was written. See `cspr-relay store verify`."
        )?;
    }
    Ok(damaged == 0)
}

fn events(args: &Args, path: &Path, out: &mut impl Write) -> anyhow::Result<u64> {
    let events = store::events(path)?;
    let (mut outcome, mut damaged) = (Ok(()), 0);
    events
        .each(args.after, |history| {
            if args.means_event(&history) {
                damaged += u64::from(history.body == Body::Damaged);
                let body = if let Body::Kept(body) = &history.body { Some(body.clone()) } else { None };
                outcome = line(&EventView::from(history), body.as_deref(), args.messages, out);
            }
            outcome.is_ok()
        })
        .context("reading the events")?;
    outcome?;
    Ok(damaged + events.damaged_rows())
}

fn dead_letters(args: &Args, path: &Path, out: &mut impl Write) -> anyhow::Result<u64> {
    let letters = store::dead_letters(path)?;
    let sink = args.sink.as_deref().map(|sink| SinkName(sink.into()));
    let filter = LetterFilter { sink, token_id: args.token.clone(), ..LetterFilter::default() };
    let (mut outcome, mut damaged) = (Ok(()), 0);
    letters
        .each(&filter, Timestamp::default(), |listed| {
            let package = listed.facts.as_ref().and_then(|facts| facts.contract_package.as_deref());
            let letter = &listed.letter;
            if letter.seq > args.after
                && args.means(letter.accepted_at, letter.stream.as_str())
                && args.package.as_deref().is_none_or(|wanted| package == Some(wanted))
            {
                damaged += u64::from(listed.body.is_none());
                outcome = line(&LetterView::from(&listed), listed.body.as_deref(), args.messages, out);
            }
            outcome.is_ok()
        })
        .context("reading the dead letters")?;
    outcome?;
    Ok(damaged)
}

fn quarantine(args: &Args, path: &Path, out: &mut impl Write) -> anyhow::Result<u64> {
    let (mut outcome, mut damaged) = (Ok(()), 0);
    let show = |message: QuarantinedMessage| {
        let QuarantinedMessage { number, content } = message;
        match content.as_ref().filter(|content| args.means(content.at, content.stream.as_str())) {
            Some(content) => {
                let (at, stream, reason) = (content.at.to_string(), content.stream.as_str(), &content.reason);
                let fields = json!({ "number": number, "at": at, "stream": stream, "reason": reason });
                outcome = line(&fields, Some(&content.body), args.messages, out);
            }
            None => damaged += u64::from(content.is_none()),
        }
        outcome.is_ok()
    };
    store::quarantine(path)?.each(args.after, show).context("reading the quarantine")?;
    outcome?;
    Ok(damaged)
}

impl Args {
    fn means(&self, accepted_at: Timestamp, stream: &str) -> bool {
        self.since.is_none_or(|since| accepted_at >= since)
            && self.until.is_none_or(|until| accepted_at < until)
            && self.stream.as_deref().is_none_or(|wanted| wanted == stream)
    }

    fn means_event(&self, history: &History) -> bool {
        let facts = history.facts.as_ref();
        let is = |wanted: Option<&str>, found: Option<&str>| wanted.is_none_or(|wanted| found == Some(wanted));
        self.means(history.accepted_at, history.stream.as_str())
            && is(self.package.as_deref(), facts.and_then(|facts| facts.contract_package.as_deref()))
            && is(self.token.as_deref(), facts.and_then(|facts| facts.token_id.as_deref()))
            && self
                .sink
                .as_deref()
                .is_none_or(|sink| history.deliveries.iter().any(|delivery| &*delivery.sink.0 == sink))
    }
}

/// One line. A line break between the parts of a message is the same JSON as a blank.
fn line(fields: &impl Serialize, body: Option<&[u8]>, is_message_only: bool, out: &mut impl Write) -> io::Result<()> {
    if is_message_only {
        let Some(body) = body else { return Ok(()) };
        let one_line: Vec<u8> = body.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
        out.write_all(&one_line)?;
        return writeln!(out);
    }
    let Value::Object(mut fields) = serde_json::to_value(fields)? else { return Ok(()) };
    fields.remove("message");
    if let Some(body) = body {
        let (name, text) = match std::str::from_utf8(body) {
            Ok(text) => ("message", text.to_owned()),
            Err(_) => ("message_base64", BASE64.encode(body)),
        };
        fields.insert(name.to_owned(), text.into());
    }
    writeln!(out, "{}", printable(&Value::Object(fields).to_string()))
}
