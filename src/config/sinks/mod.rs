//! The section `sinks`; a file for each kind.

mod amqp;
mod headers;
mod tls;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::named::{Section, entries};
use super::outline::{Form, words_of};
use super::reader::{Place, positive_duration};
use super::settings::GIB;
use super::shape::{Named, NoMapping, Node, Text, shape};
use super::template::Own;

pub use amqp::{AmqpBroker, AmqpConfig, AmqpLogin, ExchangeConfig, ExchangeType, QueueConfig, QueueType};
pub use headers::HeaderText;
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
    pub ordering: Ordering,
    pub backlog: BacklogConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    Webhook(Box<WebhookConfig>),
    Amqp(Box<AmqpConfig>),
    Stdout,
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

#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    /// The delay before the second attempt, the third, …; after the last one the delivery is a dead letter.
    pub schedule: Vec<Duration>,
    /// The share by which each delay is scattered, 0.0 to 1.0.
    pub jitter: f64,
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

/// More would be a load test.
const CONCURRENCY_MAX: usize = 1_000;

/// The retries that Standard Webhooks recommends: three days, give or take.
const SCHEDULE: [Duration; 9] = {
    const HOUR: u64 = 60 * 60;
    [
        Duration::from_secs(5),
        Duration::from_secs(5 * 60),
        Duration::from_secs(30 * 60),
        Duration::from_secs(2 * HOUR),
        Duration::from_secs(5 * HOUR),
        Duration::from_secs(10 * HOUR),
        Duration::from_secs(14 * HOUR),
        Duration::from_secs(20 * HOUR),
        Duration::from_secs(24 * HOUR),
    ]
};

const FORMATS: [(&str, Format); 3] =
    [("raw", Format::Raw), ("cloudevents", Format::CloudEvents), ("cloudevents_binary", Format::CloudEventsBinary)];
const ORDERING: [(&str, Ordering); 2] = [("lane", Ordering::Lane), ("none", Ordering::None)];
const ON_FULL: [(&str, OnFull); 2] = [("expire", OnFull::Expire), ("wait", OnFull::Wait)];

shape! {
    Sink {
        labels: Named<NoMapping> = Form::TEXT.named("^[A-Za-z_][A-Za-z0-9_]*$"),
        webhook: webhook::Webhook,
        amqp: amqp::Amqp,
        stdout: Stdout,
        format: NoMapping = Form::words(|| words_of(&FORMATS)),
        retry: Retry,
        concurrency: NoMapping = Form::number(1, CONCURRENCY_MAX),
        ordering: NoMapping = Form::words(|| words_of(&ORDERING)),
        backlog: Backlog,
    }
}

shape! { Stdout {} }

shape! { Retry { schedule: NoMapping = Form::DURATION.list().filled(), jitter: NoMapping = Form::SHARE, } }

shape! { Backlog { max_bytes: NoMapping = Form::SIZE, on_full: NoMapping = Form::words(|| words_of(&ON_FULL)), } }

/// The sinks that could be read, and the place of each name.
pub(super) fn sinks<'a>(section: Section<'a, Sink>) -> BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)> {
    let mut named = BTreeMap::new();
    for entry in entries("sinks", section, "there are no sinks: events would go nowhere") {
        let (name, name_place) = (SinkName(entry.name.as_str().into()), entry.place.clone());
        let (sink, place) = entry.read();
        let sink = self::sink(&place, &name.0, sink);
        named.insert(name, (name_place, sink));
    }
    named
}

fn sink(place: &Place<'_>, name: &str, sink: Sink) -> Option<SinkConfig> {
    let labels = labels(place, sink.labels);
    let own = Own { sink: name, labels: &labels };
    let kind = kind(place, Destinations { webhook: sink.webhook, amqp: sink.amqp, stdout: sink.stdout }, &own);
    let format = format(place, sink.format, kind.as_ref());
    Some(SinkConfig {
        format,
        retry: retry(place, sink.retry),
        concurrency: place.number("concurrency", sink.concurrency, 1..=CONCURRENCY_MAX, 16),
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
    amqp: Option<Node<amqp::Amqp>>,
    stdout: Option<Node<Stdout>>,
}

fn kind(place: &Place<'_>, named: Destinations, own: &Own<'_>) -> Option<SinkKind> {
    let places = [
        named.webhook.as_ref().map(|node| ("webhook", node.key)),
        named.amqp.as_ref().map(|node| ("amqp", node.key)),
        named.stdout.as_ref().map(|node| ("stdout", node.key)),
    ];
    let mut places = places.into_iter().flatten();
    let Some((first, _)) = places.next() else {
        place.fault("a sink needs a destination: `webhook`, `amqp` or `stdout`");
        return None;
    };
    if let Some((second, at)) = places.next() {
        place.key(second, at).fault(format!("a sink has one destination, and this one has `{first}` already"));
        return None;
    }
    if let Some(node) = named.webhook {
        return webhook::webhook(place, node, own).map(|webhook| SinkKind::Webhook(Box::new(webhook)));
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

fn retry(parent: &Place<'_>, node: Option<Node<Retry>>) -> RetryConfig {
    let (retry, place) = parent.map("retry", node);
    let at = retry.schedule.as_ref().map(|node| node.at);
    let schedule = place.texts("schedule", retry.schedule);
    if let (Some(at), Some([])) = (at, schedule.as_deref()) {
        place.key("schedule", at).fault("there must be at least one delay");
    }
    let schedule = schedule.map(|list| list.iter().filter_map(|given| given.parse(positive_duration)).collect());
    RetryConfig {
        schedule: schedule.unwrap_or_else(|| SCHEDULE.to_vec()),
        jitter: place.parse("jitter", retry.jitter, jitter).unwrap_or(0.2),
    }
}

fn jitter(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("expected a number from 0.0 to 1.0, found `{text}`"))
}

fn backlog(parent: &Place<'_>, node: Option<Node<Backlog>>) -> BacklogConfig {
    let (backlog, place) = parent.map("backlog", node);
    BacklogConfig {
        max_bytes: place.size("max_bytes", backlog.max_bytes, 5 * GIB),
        on_full: place.choice("on_full", backlog.on_full, &ON_FULL).unwrap_or_default(),
    }
}
