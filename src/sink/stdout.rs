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
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Stdout {
    pub(super) fn new(name: &SinkName) -> Self {
        Self::to(name, std::io::stdout())
    }

    fn to(name: &SinkName, out: impl Write + Send + 'static) -> Self {
        Self { name: name.clone(), out: Arc::new(Mutex::new(Box::new(out))) }
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let line = match line(delivery, &self.name) {
            Ok(line) => line,
            Err(error) => return Outcome::Reject { failure: failure(Cause::Invalid, error.to_string()) },
        };
        let out = Arc::clone(&self.out);
        let write = async move {
            let mut out = out.lock_owned().await;
            let write = move || out.write_all(&line).and_then(|()| out.flush());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::webhook::tests::delivery_of;

    /// Output that can be read while the sink has it.
    #[derive(Clone, Default)]
    struct Paper(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn name() -> SinkName {
        SinkName("console".into())
    }

    #[tokio::test]
    async fn each_event_is_one_line_with_its_message_verbatim() {
        let paper = Paper::default();
        let sink = Stdout::to(&name(), paper.clone());
        let messages = [
            r#"{"data":{"n":1.50,"n":12345678901234567890123},"a":"\u0041\n"}"#,
            "{\r\n  \"data\": {},\n\t\"action\": \"updated\"\n}\n",
            r#"{"text":"line\u2028separator  and two spaces"}"#,
        ];
        for message in messages {
            assert_eq!(sink.deliver(&delivery_of(message)).await, Outcome::Delivered { status: None });
        }
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with('\n'));
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap().split('\n').collect();
        assert_eq!(lines.len(), messages.len());
        for (line, message) in lines.iter().zip(messages) {
            let read: Value = serde_json::from_str(line).unwrap();
            assert_eq!(read["id"], delivery_of(message).event.id.to_string());
            assert_eq!(read["facts"]["cspr-relay-token-id"], "1 9");
            let message = message.trim().replace(['\r', '\n'], " ");
            assert!(line.ends_with(&format!(r#""message":{message}}}"#)), "{line}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_tried_again() {
        let outcome = Stdout::to(&name(), Broken).deliver(&delivery_of("{}")).await;
        let Outcome::Retry { failure, after: None } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.cause, Cause::Connect);
        assert!(failure.detail.contains("broken pipe"), "{}", failure.detail);
    }

    #[tokio::test]
    async fn a_message_that_is_no_json_is_rejected() {
        let paper = Paper::default();
        let outcome = Stdout::to(&name(), paper.clone()).deliver(&delivery_of("{\n")).await;
        assert!(matches!(outcome, Outcome::Reject { failure } if failure.cause == Cause::Invalid));
        assert!(paper.0.lock().unwrap().is_empty(), "nothing of it is written");
    }
}
