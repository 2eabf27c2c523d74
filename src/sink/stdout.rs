//! Events as JSON lines on standard output.
//!
//! One line is written at a time, whole. A reader that does not read blocks this sink alone: the write waits on a
//! thread of its own, and further attempts wait for it within their time.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{Cause, Failure, Outcome, Sink, wire};
use crate::config::SinkName;
use crate::event::Delivery;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Stdout {
    name: SinkName,
    turn: Arc<Mutex<()>>,
}

impl Stdout {
    pub(super) fn new(name: &SinkName) -> Self {
        Self { name: name.clone(), turn: Arc::default() }
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let line = match line(delivery, &self.name) {
            Ok(line) => line,
            Err(error) => return Outcome::Reject { failure: failure(Cause::Invalid, error.to_string()) },
        };
        let turn = Arc::clone(&self.turn);
        let write = async move {
            let turn = turn.lock_owned().await;
            let write = move || {
                let _turn = turn;
                let mut out = std::io::stdout().lock();
                out.write_all(&line).and_then(|()| out.flush())
            };
            tokio::task::spawn_blocking(write).await
        };
        let detail = match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(Ok(()))) => return Outcome::Delivered { status: None },
            Ok(Ok(Err(error))) => format!("cannot write to standard output: {error}"),
            Ok(Err(_)) => "writing to standard output was interrupted".to_owned(),
            Err(_) => "nobody reads from standard output".to_owned(),
        };
        Outcome::Retry { failure: failure(Cause::Connect, detail), after: None }
    }
}

impl Sink for Stdout {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.attempt(delivery))
    }
}

fn failure(cause: Cause, detail: String) -> Failure {
    Failure { cause, status: None, detail }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    id: String,
    facts: Map<String, Value>,
    /// The message as it came, on one line.
    message: &'a RawValue,
}

/// The event's id, what every sink tells of it under the names of the headers, and the message.
fn line(delivery: &Delivery, sink: &SinkName) -> serde_json::Result<Vec<u8>> {
    let event = &delivery.event;
    let mut facts = Map::new();
    wire::each_fact(delivery, &sink.0, |name, value| {
        facts.insert(name.to_owned(), Value::String(value.into_owned()));
    });
    let message: &RawValue = serde_json::from_slice(&event.body)?;
    let mut line = serde_json::to_vec(&Line { id: event.id.to_string(), facts, message })?;
    // White space between tokens may hold line ends; inside a text JSON allows none.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    Ok(line)
}
