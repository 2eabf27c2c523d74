//! `cspr-relay explain`: what the routes would make of an event, and why.
//!
//! Asks the relay's own decoding, identity and routes; nothing is sent and nothing is written.

mod answer;
mod json;
mod known;
mod messages;
#[cfg(test)]
mod tests;
mod text;

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;

use super::data::{Which, which};
use super::{FAILED, USAGE};
use crate::clock::Timestamp;
use crate::config::{self, Config};
use crate::event::{Decoded, Delivery, Event, Malformed, Occasion, Origin, Sequence, Stream, decode};
use crate::route::{Router, SinkMatch};
use crate::sink::preview;
use crate::store::{Events, OpenError, events};

use answer::{Answer, Destination};
use known::Known;
use messages::Message;

/// Say for each route whether it matches an event, or which condition failed
///
/// Events are read from files or standard input, as CSPR.cloud sends them: one JSON object, or many, one a line; or
/// they are taken from the relay's store, beside a running relay. Tells the sinks, the event's id and what it is made
/// of, and whether the relay has accepted it before.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Files with messages, `-` for standard input [default: standard input]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// An accepted event: its id (`evt_…`) or sequence number; may be given several times
    #[arg(long, value_name = "ID_OR_SEQUENCE", value_parser = which, conflicts_with = "files")]
    event: Vec<Which>,
    /// The stream that the messages of files and standard input come from
    #[arg(long, value_name = "STREAM", default_value = "nft-tokens", value_parser = stream)]
    stream: Stream,
    /// Only this route; may be given several times
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// How to print; `json` is one object for each event, one a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The configuration file [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The relay's data directory [default: `store.path` of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

fn stream(name: &str) -> Result<Stream, String> {
    let names = || Stream::all().map(Stream::as_str).collect::<Vec<_>>().join(", ");
    Stream::from_name(name).ok_or_else(|| format!("there is no such stream; there is: {}", names()))
}

/// Explains all events and gives the exit code: 1 if one is unusable or unknown, 2 if the configuration is faulty.
pub(crate) fn run(
    args: &Args,
    input: &mut impl Read,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> anyhow::Result<u8> {
    let config = match config::load(&config::locate(args.config.clone())) {
        Ok(loaded) => loaded.config,
        Err(faults) => {
            writeln!(errors, "{faults}")?;
            return Ok(USAGE);
        }
    };
    for name in &args.route {
        if !config.routes.iter().any(|route| *route.name == **name) {
            writeln!(errors, "there is no route `{name}`")?;
            return Ok(USAGE);
        }
    }
    let store = open(args.data.as_ref().unwrap_or(&config.store.path), !args.event.is_empty(), errors)?;
    let messages = match (&store, args.event.as_slice()) {
        (Some(store), events @ [_, ..]) => messages::of_store(store, events)?,
        _ => messages::of_files(&args.files, args.stream, input)?,
    };
    let explaining = Explaining { router: Router::new(&config.routes), config, store };
    explaining.all(&messages, args, out, errors)
}

/// The store to look events up in. Where none is needed, one that is missing or unreadable only leaves unknown what
/// was accepted before.
fn open(path: &Path, is_needed: bool, errors: &mut impl Write) -> anyhow::Result<Option<Events>> {
    let is_absent = |error: &OpenError| match error {
        OpenError::Missing { .. } => true,
        OpenError::Directory { source, .. } => source.kind() == ErrorKind::NotFound,
        _ => false,
    };
    match events(path) {
        Ok(store) => Ok(Some(store)),
        Err(error) if is_needed => Err(error).with_context(|| format!("looking for events in {}", path.display())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => {
            writeln!(errors, "whether events are known is not looked up: {error}")?;
            Ok(None)
        }
    }
}

struct Explaining {
    config: Config,
    router: Router,
    store: Option<Events>,
}

impl Explaining {
    fn all(
        &self,
        messages: &[Message],
        args: &Args,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> anyhow::Result<u8> {
        let mut code = 0;
        for (place, message) in messages.iter().enumerate() {
            let Some(body) = &message.body else {
                writeln!(errors, "{}: the message is not there, or no longer kept", message.origin)?;
                code = FAILED;
                continue;
            };
            match self.one(message.stream, body)? {
                Ok(answer) => self.print(place, &answer.only(&args.route), args.format, out)?,
                Err(malformed) => {
                    code = FAILED;
                    writeln!(
                        errors,
                        "{}: unusable, the relay would put it into quarantine: {malformed}",
                        message.origin
                    )?;
                }
            }
        }
        if messages.is_empty() {
            writeln!(errors, "there was no message to explain")?;
            code = FAILED;
        }
        out.flush()?;
        Ok(code)
    }

    fn one<'r>(&'r self, stream: Stream, body: &[u8]) -> anyhow::Result<Result<Answer<'r>, Malformed>> {
        let network = self.config.source.network;
        let decoded = match decode(network, stream, body) {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Err(malformed)),
        };
        let known = known::look_up(self.store.as_ref(), self.config.dedup.identity, stream, &decoded);
        let known = known.context("reading the store")?;
        let matched = self.router.route(stream, &decoded.facts, body).sinks;
        let event = Arc::new(self.event(stream, &decoded, known).context("reading the store")?);
        let sinks = matched.into_iter().map(|sink| self.destination(sink, &event)).collect();
        let routes = self.router.explain(stream, &decoded.facts, body);
        Ok(Ok(Answer { network, stream, decoded, known, sinks, routes }))
    }

    /// The event as sinks would see it. Before it is accepted it has no sequence, for which zeros stand.
    fn event(&self, stream: Stream, decoded: &Decoded, known: Known) -> anyhow::Result<Event> {
        let accepted = match (known, &self.store) {
            (Known::Accepted(number), Some(store)) => store.history(number)?,
            _ => None,
        };
        let unaccepted = (Sequence { epoch: 0, number: 0 }, Origin::default(), Timestamp(0));
        let (sequence, origin, accepted_at) =
            accepted.map_or(unaccepted, |history| (history.sequence, history.origin, history.accepted_at));
        let (id, facts) = (decoded.identity.id, decoded.facts.clone());
        let network = self.config.source.network;
        Ok(Event { id, sequence, network, stream, origin, accepted_at, facts, body: Bytes::new() })
    }

    fn destination(&self, sink: SinkMatch, event: &Arc<Event>) -> Destination {
        let routes = sink.routes.clone().into();
        let delivery = Delivery { event: Arc::clone(event), routes, attempt: 1, occasion: Occasion::Live };
        let parts = self.config.sinks.get(&sink.sink).map(|config| preview(config, &delivery)).unwrap_or_default();
        Destination { sink, parts }
    }

    fn print(&self, place: usize, answer: &Answer<'_>, format: Format, out: &mut impl Write) -> std::io::Result<()> {
        match format {
            Format::Json => json::write(answer, out),
            Format::Text => {
                if place > 0 {
                    writeln!(out)?;
                }
                text::write(answer, &self.config.routes, out)
            }
        }
    }
}
