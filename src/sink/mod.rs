//! Destinations. A sink has one verb, [`Sink::deliver`]; what to do with the outcome is `delivery`'s business.
//!
//! A sink keeps no queue and makes no second try of its own. It holds what is worth sharing between attempts
//! (connections, credentials) and nothing else.

mod amqp;
mod egress;
mod kafka;
mod preview;
mod stdout;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use self::amqp::Amqp;
use self::kafka::Kafka;
pub(crate) use self::kafka::Producers;
pub(crate) use self::preview::{Part, preview};
use self::stdout::Stdout;
use self::webhook::Webhook;
use self::wire::{Encoder, Transport};
use crate::clock::Clock;
use crate::config::{EgressConfig, SinkConfig, SinkKind, SinkName};
use crate::event::Delivery;

/// What is kept of an answer, after escaping.
const KEPT_BYTES_MAX: usize = 1024;

/// A destination of one kind.
pub(crate) trait Sink: Send + Sync + 'static {
    /// One attempt, bounded in time by the sink itself. Dropping the future abandons the attempt: whether the
    /// destination got the event is then unknown, as after a crash.
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
}

/// Makes the sink that the configuration describes. Starts no traffic; fails on what can never work, such as a missing
/// certificate or an address that must not be dialled. Sinks of one connection share a client of `producers`.
pub(crate) fn build(
    name: &SinkName,
    config: &SinkConfig,
    egress: &EgressConfig,
    clock: &Clock,
    producers: &mut Producers,
) -> anyhow::Result<Arc<dyn Sink>> {
    let sink: anyhow::Result<Arc<dyn Sink>> = match &config.kind {
        SinkKind::Webhook(webhook) => {
            let encoder = Encoder::new(&name.0, config.format, Transport::Http);
            Webhook::new(encoder, webhook, config.concurrency, egress, clock).map(|sink| Arc::new(sink) as _)
        }
        SinkKind::Kafka(kafka) => {
            let encoder = Encoder::new(&name.0, config.format, Transport::Kafka);
            Kafka::new(encoder, kafka, producers, clock).map(|sink| Arc::new(sink) as _)
        }
        SinkKind::Amqp(amqp) => {
            let encoder = Encoder::new(&name.0, config.format, Transport::Amqp);
            Amqp::new(encoder, amqp, egress).map(|sink| Arc::new(sink) as _)
        }
        SinkKind::Stdout => Stdout::new(&name.0, config.format).map(|sink| Arc::new(sink) as _),
    };
    sink.with_context(|| format!("sink `{name}`"))
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The destination has confirmed it. `status` is the HTTP status where there is one.
    Delivered { status: Option<u16> },
    /// It may work later; `after` is what the destination asked for (`Retry-After`).
    Retry { failure: Failure, after: Option<Duration> },
    /// It will never work for this event.
    Reject { failure: Failure },
}

impl Outcome {
    /// Why it is no delivery.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Delivered { .. } => None,
            Self::Retry { failure, .. } | Self::Reject { failure } => Some(failure),
        }
    }
}

/// Why an attempt failed, for the operator to read and for the breaker to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) status: Option<u16>,
    /// One line, with at most 1 KiB of the answer in it, control characters escaped, no secrets.
    pub(crate) detail: String,
}

impl Failure {
    /// The event cannot be put in the form that the destination needs, for the reason that `detail` gives.
    fn invalid(detail: String) -> Self {
        Self { cause: Cause::Invalid, status: None, detail }
    }
}

/// The kinds of failure; the text form stands in metrics, listings and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// Name resolution failed.
    Dns,
    /// The connection could not be made or broke.
    Connect,
    Tls,
    Timeout,
    /// The egress guard forbids the address.
    Forbidden,
    /// 429: the destination asks for less.
    Throttled,
    /// 410: the destination is gone for good.
    Gone,
    /// 401, 403, 404, or a secret of ours that cannot be used: the destination is set up wrongly.
    Denied,
    /// 5xx.
    Server,
    /// Any other answer that is not success: this event's own fault as far as anybody knows.
    Refused,
    /// The event cannot be put in the form that the destination needs.
    Invalid,
    /// The attempt panicked: our fault, with this event.
    Panic,
}

impl Cause {
    /// The text form in metrics, listings and the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Server => "server",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Panic => "panic",
        }
    }
}

/// At most [`KEPT_BYTES_MAX`] bytes on one line, safe to print on a terminal.
fn escape(body: &[u8]) -> String {
    let mut text = String::new();
    for letter in String::from_utf8_lossy(body).chars() {
        let before = text.len();
        // Line separators and marks that turn the direction of writing deceive a reader as control characters do.
        let is_deceptive = matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if letter.is_control() || is_deceptive {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
        if text.len() > KEPT_BYTES_MAX {
            text.truncate(before);
            break;
        }
    }
    text
}
