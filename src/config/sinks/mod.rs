//! The section `sinks`; a file for each kind.

mod amqp;
mod headers;
mod kafka;
mod rate;
mod retry;
mod tls;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::connections::Connections;
use super::named::{Section, entries};
use super::outline::{Form, words_of};
use super::reader::Place;
use super::settings::GIB;
use super::shape::{Named, NoMapping, Node, Text, shape};
use super::template::{Own, Template};

pub use amqp::{AmqpBroker, AmqpConfig, AmqpLogin, ExchangeConfig, ExchangeType, QueueConfig, QueueType};
pub use headers::HeaderText;
pub use kafka::KafkaConfig;
pub(crate) use kafka::{TOPIC_BYTES_MAX, is_legal_in_topics};
pub use rate::RateLimit;
pub use retry::{RetryConfig, Schedule};
pub use tls::{ClientCertificate, TlsConfig};
pub use webhook::WebhookConfig;

/// The name of a sink: its key in `sinks`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkName(pub Arc<str>);

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    pub labels: BTreeMap<String, String>,
    pub kind: SinkKind,
    pub format: Format,
    pub retry: RetryConfig,
    /// Attempts under way at once, at least 1.
    pub concurrency: usize,
    pub rate_limit: Option<RateLimit>,
    pub ordering: Ordering,
    pub backlog: BacklogConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    Webhook(Box<WebhookConfig>),
    Kafka(Box<KafkaConfig>),
    Amqp(Box<AmqpConfig>),
    Stdout,
}

impl SinkConfig {
    /// Every template that each of its events fills in.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        let (headers, others) = match &self.kind {
            SinkKind::Webhook(webhook) => (webhook.headers.as_slice(), [None, None]),
            SinkKind::Kafka(kafka) => (kafka.headers.as_slice(), [Some(&kafka.topic), kafka.key.as_ref()]),
            SinkKind::Amqp(amqp) => (amqp.headers.as_slice(), [Some(&amqp.exchange), Some(&amqp.routing_key)]),
            SinkKind::Stdout => (&[][..], [None, None]),
        };
        let headers = headers.iter().filter_map(|(_, value)| match value {
            HeaderText::Template(template) => Some(template),
            HeaderText::Fixed(_) => None,
        });
        headers.chain(others.into_iter().flatten())
    }
}

impl SinkKind {
    /// The key that stands for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Kafka(_) => "kafka",
            Self::Amqp(_) => "amqp",
            Self::Stdout => "stdout",
        }
    }

    /// A message bus is tried until a time is over, for it is down as a whole or not at all.
    fn is_bus(&self) -> bool {
        matches!(self, Self::Kafka(_) | Self::Amqp(_))
    }
}

/// The form in which a sink gets events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The message, byte for byte as CSPR.cloud sent it.
    #[default]
    Raw,
    /// CloudEvents 1.0, structured: a JSON object that has the message as its `data`.
    CloudEvents,
    /// CloudEvents 1.0, binary: the message itself, with the attributes in headers.
    CloudEventsBinary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// One in flight per lane, in order.
    #[default]
    Lane,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BacklogConfig {
    /// Bytes of events that this sink has not settled.
    pub max_bytes: u64,
    pub on_full: OnFull,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The sink's oldest deliveries are dropped and counted.
    #[default]
    Expire,
    /// Intake waits, for everybody.
    Wait,
}

/// Attempts of a sink under way at once: more would be a load test, or for a bus a waste of memory.
pub(crate) const CONCURRENCY_MAX: usize = 1_000;
const CONCURRENCY: usize = 16;
/// Enough to fill the batches of a producer while others are on their way.
const CONCURRENCY_OF_KAFKA: usize = 1_000;
/// Repeated attempts have channels of their own, and many of those cost client and broker more than the events.
const CONCURRENCY_OF_AMQP: usize = 128;

const FORMATS: [(&str, Format); 3] =
    [("raw", Format::Raw), ("cloudevents", Format::CloudEvents), ("cloudevents_binary", Format::CloudEventsBinary)];
const ORDERING: [(&str, Ordering); 2] = [("lane", Ordering::Lane), ("none", Ordering::None)];
const ON_FULL: [(&str, OnFull); 2] = [("expire", OnFull::Expire), ("wait", OnFull::Wait)];

shape! {
    Sink {
        labels: Named<NoMapping> = Form::TEXT.named("^[A-Za-z_][A-Za-z0-9_]*$"),
        webhook: webhook::Webhook,
        kafka: kafka::Kafka,
        amqp: amqp::Amqp,
        stdout: Stdout,
        format: NoMapping = Form::words(|| words_of(&FORMATS)),
        retry: retry::Retry,
        concurrency: NoMapping = Form::number(1, CONCURRENCY_MAX),
        rate_limit: NoMapping = Form::pattern(RateLimit::PATTERN),
        ordering: NoMapping = Form::words(|| words_of(&ORDERING)),
        backlog: Backlog,
    }
}

shape! { Stdout {} }

shape! { Backlog { max_bytes: NoMapping = Form::SIZE, on_full: NoMapping = Form::words(|| words_of(&ON_FULL)), } }

/// The sinks that could be read, and the place of each name.
pub(super) fn sinks<'a>(
    section: Section<'a, Sink>,
    connections: &Connections<'_>,
) -> BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)> {
    let mut named = BTreeMap::new();
    for entry in entries("sinks", section, "there are no sinks: events would go nowhere") {
        let (name, name_place) = (SinkName(entry.name.as_str().into()), entry.place.clone());
        let (sink, place) = entry.read();
        let sink = self::sink(&place, &name.0, sink, connections);
        named.insert(name, (name_place, sink));
    }
    named
}

fn sink(place: &Place<'_>, name: &str, sink: Sink, connections: &Connections<'_>) -> Option<SinkConfig> {
    let labels = labels(place, sink.labels);
    let own = Own { sink: name, labels: &labels };
    let destinations = Destinations { webhook: sink.webhook, kafka: sink.kafka, amqp: sink.amqp, stdout: sink.stdout };
    let kind = kind(place, destinations, &own, connections);
    let is_bus = kind.as_ref().is_some_and(SinkKind::is_bus);
    let concurrency = match &kind {
        Some(SinkKind::Kafka(_)) => CONCURRENCY_OF_KAFKA,
        Some(SinkKind::Amqp(_)) => CONCURRENCY_OF_AMQP,
        Some(SinkKind::Webhook(_) | SinkKind::Stdout) | None => CONCURRENCY,
    };
    let format = format(place, sink.format, kind.as_ref());
    Some(SinkConfig {
        format,
        retry: retry::retry(place, sink.retry, is_bus),
        concurrency: place.number("concurrency", sink.concurrency, 1..=CONCURRENCY_MAX, concurrency),
        rate_limit: place.parse("rate_limit", sink.rate_limit, RateLimit::parse),
        ordering: place.choice("ordering", sink.ordering, &ORDERING).unwrap_or_default(),
        backlog: backlog(place, sink.backlog),
        kind: kind?,
        labels,
    })
}

fn format(place: &Place<'_>, node: Option<Text>, kind: Option<&SinkKind>) -> Format {
    let at = node.as_ref().map_or(place.at, |node| node.at);
    let format = place.choice("format", node, &FORMATS).unwrap_or_default();
    if let (Format::CloudEventsBinary, Some(SinkKind::Stdout)) = (format, kind) {
        let hint = "write `cloudevents`: each line is then a whole CloudEvent".to_owned();
        place.key("format", at).fault_with("a line has no headers that attributes could stand in", Some(hint));
    }
    format
}

/// What a sink names as its destination; it should be one.
struct Destinations {
    webhook: Option<Node<webhook::Webhook>>,
    kafka: Option<Node<kafka::Kafka>>,
    amqp: Option<Node<amqp::Amqp>>,
    stdout: Option<Node<Stdout>>,
}

fn kind(place: &Place<'_>, named: Destinations, own: &Own<'_>, connections: &Connections<'_>) -> Option<SinkKind> {
    let places = [
        named.webhook.as_ref().map(|node| ("webhook", node.key)),
        named.kafka.as_ref().map(|node| ("kafka", node.key)),
        named.amqp.as_ref().map(|node| ("amqp", node.key)),
        named.stdout.as_ref().map(|node| ("stdout", node.key)),
    ];
    let mut places = places.into_iter().flatten();
    let Some((first, _)) = places.next() else {
        place.fault("a sink needs a destination: `webhook`, `kafka`, `amqp` or `stdout`");
        return None;
    };
    if let Some((second, at)) = places.next() {
        place.key(second, at).fault(format!("a sink has one destination, and this one has `{first}` already"));
        return None;
    }
    if let Some(node) = named.webhook {
        return webhook::webhook(place, node, own).map(|webhook| SinkKind::Webhook(Box::new(webhook)));
    }
    if let Some(node) = named.kafka {
        return kafka::kafka(place, node, own, connections).map(|kafka| SinkKind::Kafka(Box::new(kafka)));
    }
    if let Some(node) = named.amqp {
        return amqp::amqp(place, node, own).map(|amqp| SinkKind::Amqp(Box::new(amqp)));
    }
    place.map("stdout", named.stdout);
    Some(SinkKind::Stdout)
}

fn labels(parent: &Place<'_>, node: Option<Node<Named<NoMapping>>>) -> BTreeMap<String, String> {
    let (labels, place) = parent.map("labels", node);
    let mut read = BTreeMap::new();
    for (key, node) in labels.0 {
        let is_name = key.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            place.key(&key.name, key.at).fault("a label's name has ASCII letters, digits and `_`, and no digit first");
        }
        if let Some(given) = place.text(&key.name, Some(node)) {
            read.insert(key.name, given.text);
        }
    }
    read
}

fn backlog(parent: &Place<'_>, node: Option<Node<Backlog>>) -> BacklogConfig {
    let (backlog, place) = parent.map("backlog", node);
    BacklogConfig {
        max_bytes: place.size("max_bytes", backlog.max_bytes, 5 * GIB),
        on_full: place.choice("on_full", backlog.on_full, &ON_FULL).unwrap_or_default(),
    }
}
