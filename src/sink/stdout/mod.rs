//! Events as JSON lines on standard output, for trials and for pipes.
//!
//! With `format: cloudevents` each line is one of CloudEvents' objects, else one of the event's facts and the message.
//!
//! A line is written as a whole or the attempt fails. A reader that does not read stalls only this sink: one thread of
//! the blocking pool waits with it, and further attempts wait for that thread until their time is up.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::{Cause, Failure, Outcome, Sink, wire};
use crate::config::Format;
use crate::event::{Delivery, Occasion};

/// An attempt whose line is not written by then is given up; the line may still be written later.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Writes to `W` line by line.
#[derive(Debug)]
pub(super) struct Stdout<W> {
    name: String,
    format: Format,
    lines: Arc<Mutex<Lines<W>>>,
}

#[derive(Debug)]
struct Lines<W> {
    out: W,
    /// A write broke off inside a line.
    is_torn: bool,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    sequence: String,
    network: &'a str,
    stream: &'a str,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_package: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy_hash: Option<&'a str>,
    origin: &'a str,
    routes: Vec<&'a str>,
    replay: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
    accepted_at: String,
    attempt: u32,
    traceparent: String,
    message: &'a RawValue,
}

impl Stdout<File> {
    /// The standard output of this process, without a buffer of ours in between.
    pub(super) fn new(name: &str, format: Format) -> anyhow::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned().context("could not open standard output")?;
        Ok(Self::to(name, format, out.into()))
    }
}

impl<W: Write + Send + 'static> Stdout<W> {
    fn to(name: &str, format: Format, out: W) -> Self {
        Self { name: name.to_owned(), format, lines: Arc::new(Mutex::new(Lines { out, is_torn: false })) }
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let line = match self.line(delivery) {
            Ok(line) => line,
            Err(failure) => return Outcome::Reject { failure },
        };
        let written = tokio::time::timeout(TIMEOUT, self.write(line)).await;
        let (cause, detail) = match written {
            Ok(Ok(())) => return Outcome::Delivered { status: None },
            Ok(Err(error)) => (Cause::Connect, format!("could not write to standard output: {error}")),
            Err(_) => (Cause::Timeout, "standard output is not being read".to_owned()),
        };
        Outcome::Retry { failure: Failure { cause, status: None, detail }, after: None }
    }

    /// The configuration knows no binary CloudEvents here, as a line has no headers.
    fn line(&self, delivery: &Delivery) -> Result<Vec<u8>, Failure> {
        let json = match self.format {
            Format::Raw => line(&self.name, delivery).map_err(wire::no_json)?,
            Format::CloudEvents | Format::CloudEventsBinary => wire::envelope(delivery)?.into(),
        };
        Ok(on_one_line(json))
    }

    /// The guard goes with the blocking write, so that at most one thread is ever stuck, even if this is dropped.
    async fn write(&self, line: Vec<u8>) -> io::Result<()> {
        let mut lines = Arc::clone(&self.lines).lock_owned().await;
        let writing = tokio::task::spawn_blocking(move || lines.append(&line));
        writing.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl<W: Write> Lines<W> {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.out.write_all(b"\n")?;
        }
        self.is_torn = true;
        self.out.write_all(line)?;
        self.out.flush()?;
        self.is_torn = false;
        Ok(())
    }
}

impl<W: Write + Send + 'static> Sink for Stdout<W> {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.attempt(delivery))
    }
}

fn line(sink: &str, delivery: &Delivery) -> serde_json::Result<Vec<u8>> {
    let event = &*delivery.event;
    let line = Line {
        id: event.id.to_string(),
        sequence: event.sequence.to_string(),
        network: event.network.as_str(),
        stream: event.stream.as_str(),
        action: &event.facts.action,
        contract_package: event.facts.contract_package.as_deref(),
        token_id: event.facts.token_id.as_deref(),
        owner: event.facts.owner.as_deref(),
        deploy_hash: event.facts.deploy_hash.as_deref(),
        origin: event.origin.as_str(),
        routes: delivery.routes.iter().map(|route| &**route).collect(),
        replay: delivery.occasion == Occasion::Replay,
        test: delivery.occasion == Occasion::Test,
        accepted_at: event.accepted_at.to_string(),
        attempt: delivery.attempt,
        traceparent: wire::traceparent(sink, delivery),
        message: serde_json::from_slice(&event.body)?,
    };
    serde_json::to_vec(&line)
}

fn on_one_line(mut text: Vec<u8>) -> Vec<u8> {
    // In JSON a bare line break can only be white space between two tokens.
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.push(b'\n');
    text
}
