//! `amqp`: a message for each event, to an exchange of a broker that speaks AMQP 0.9.1.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::super::Secret;
use super::super::outline::{Form, words_of};
use super::super::reader::{Place, positive_duration};
use super::super::shape::{Named, NoMapping, Node, Text, shape};
use super::super::template::{ChainText, Own, Template, TemplatePart};
use super::headers::{HEADER_NAME, HeaderText, headers};
use super::tls::{Tls, TlsConfig, tls};

#[derive(Clone, Debug, PartialEq)]
pub struct AmqpConfig {
    /// At least one; tried in turn.
    pub brokers: Vec<AmqpBroker>,
    pub login: AmqpLogin,
    /// Empty text: the default exchange, where a routing key is the name of a queue.
    pub exchange: Template,
    pub routing_key: Template,
    /// Of an exchange without fields in its name. `None`: the exchange must exist.
    pub declare: Option<ExchangeConfig>,
    pub headers: Vec<(String, HeaderText)>,
    pub tls: TlsConfig,
    /// Whole seconds, from 1 to 65535.
    pub heartbeat_seconds: u16,
    /// Bounds a whole attempt, from name resolution to the broker's confirm.
    pub timeout: Duration,
}

/// What a URI says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpBroker {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    pub vhost: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AmqpLogin {
    Password {
        username: Secret,
        password: Secret,
    },
    /// The client certificate says who we are (SASL EXTERNAL).
    Certificate,
}

/// An exchange that the relay makes if it is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeConfig {
    pub kind: ExchangeType,
    pub durable: bool,
    pub queue: Option<QueueConfig>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExchangeType {
    #[default]
    Topic,
    Direct,
    Fanout,
    Headers,
}

/// A queue that the relay makes and binds to its exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    pub name: String,
    /// The key of the binding.
    pub routing_key: String,
    pub kind: QueueType,
    pub durable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    #[default]
    Classic,
    Quorum,
}

/// What AMQP calls a short string: names and keys.
const SHORT_STRING_BYTES_MAX: usize = 255;
const EXCHANGE_TYPES: [(&str, ExchangeType); 4] = [
    ("topic", ExchangeType::Topic),
    ("direct", ExchangeType::Direct),
    ("fanout", ExchangeType::Fanout),
    ("headers", ExchangeType::Headers),
];
const QUEUE_TYPES: [(&str, QueueType); 2] = [("classic", QueueType::Classic), ("quorum", QueueType::Quorum)];
const BOOL: [(&str, bool); 2] = [("true", true), ("false", false)];

shape! {
    Amqp {
        uri: NoMapping = Form::pattern("^amqps?://[^@]*$"),
        uris: NoMapping = Form::pattern("^amqps?://[^@]*$").list().filled(),
        username: NoMapping,
        password: NoMapping,
        exchange: NoMapping = Form::TEXT.required(),
        routing_key: NoMapping = Form::TEXT.required(),
        declare: Declare,
        headers: Named<NoMapping> = Form::TEXT.named(HEADER_NAME),
        tls: Tls,
        heartbeat: NoMapping = Form::DURATION,
        timeout: NoMapping = Form::DURATION,
    }
}

shape! {
    Declare {
        kind "type": NoMapping = Form::words(|| words_of(&EXCHANGE_TYPES)),
        durable: NoMapping = Form::BOOL,
        queue: DeclareQueue,
    }
}

shape! {
    DeclareQueue {
        name: NoMapping = Form::TEXT.required(),
        routing_key: NoMapping,
        kind "type": NoMapping = Form::words(|| words_of(&QUEUE_TYPES)),
        durable: NoMapping = Form::BOOL,
    }
}

pub(super) fn amqp(parent: &Place<'_>, node: Node<Amqp>, own: &Own<'_>) -> Option<AmqpConfig> {
    let (amqp, place) = parent.map("amqp", Some(node));
    let brokers = brokers(&place, amqp.uri, amqp.uris);
    let tls = tls(&place, amqp.tls);
    let login = login(&place, amqp.username, amqp.password, tls.client_certificate.is_some());
    let exchange = name(&place, "exchange", amqp.exchange, own, ChainText::Refused);
    let routing_key = name(&place, "routing_key", amqp.routing_key, own, ChainText::Allowed);
    let declare = amqp.declare.map(|node| declare(&place, node, exchange.as_ref()));
    Some(AmqpConfig {
        login: login?,
        headers: headers(&place, amqp.headers, own),
        heartbeat_seconds: place.parse("heartbeat", amqp.heartbeat, heartbeat).unwrap_or(30),
        timeout: place.duration("timeout", amqp.timeout, Duration::from_secs(30)),
        brokers: brokers?,
        exchange: exchange?,
        routing_key: routing_key?,
        declare,
        tls,
    })
}

fn brokers(place: &Place<'_>, uri: Option<Text>, uris: Option<Text>) -> Option<Vec<AmqpBroker>> {
    let (key, node) = match (uri, uris) {
        (Some(node), None) => ("uri", node),
        (None, Some(node)) => ("uris", node),
        (None, None) => {
            place.fault("`uri` is missing, such as amqps://rabbit.internal:5671/prod");
            return None;
        }
        (Some(_), Some(node)) => {
            place.key("uris", node.at).fault("give `uri` or `uris`, not both");
            return None;
        }
    };
    let items = if key == "uris" { place.items(key, node) } else { vec![(place.key(key, node.at), node)] };
    if items.is_empty() {
        place.fault("`uris` is empty: there must be at least one");
    }
    let broker = |(place, node): (Place<'_>, Text)| {
        if node.spelling(place.document.source).is_some_and(|text| text.contains('@')) {
            place.hide(&node);
        }
        place.scalar(&node)?.parse(broker)
    };
    let brokers: Vec<AmqpBroker> = items.into_iter().filter_map(broker).collect();
    (!brokers.is_empty()).then_some(brokers)
}

fn broker(text: &str) -> Result<AmqpBroker, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URI: {error}"))?;
    let is_tls = match url.scheme() {
        "amqp" => false,
        "amqps" => true,
        other => return Err(format!("expected an address with amqps:// or amqp://, found {other}:")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user and password do not belong into a URI: give them as `username` and `password`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a URI has no options here: they are keys of `amqp`".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the URI names no host")?;
    Ok(AmqpBroker {
        is_tls,
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port().unwrap_or(if is_tls { 5671 } else { 5672 }),
        vhost: vhost(url.path())?,
    })
}

/// Without a path, or with an empty one, the virtual host is `/`.
fn vhost(path: &str) -> Result<String, String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    if name.contains('/') {
        return Err("a `/` in the name of a virtual host is written as %2F".to_owned());
    }
    let name = percent_decode_str(name).decode_utf8().map_err(|_| "the virtual host is not UTF-8")?;
    short(if name.is_empty() { "/" } else { &name })
}

fn login(
    place: &Place<'_>,
    username: Option<Text>,
    password: Option<Text>,
    has_certificate: bool,
) -> Option<AmqpLogin> {
    match (username, password) {
        (Some(username), Some(password)) => {
            let username = place.key("username", username.at).secret(&username, true)?;
            let password = place.key("password", password.at).secret(&password, false)?;
            Some(AmqpLogin::Password { username, password })
        }
        (None, None) if has_certificate => Some(AmqpLogin::Certificate),
        (None, None) => {
            place.fault("`username` and `password` are missing (or a client certificate to log in with, in `tls`)");
            None
        }
        (Some(_), None) => {
            place.fault("`password` is missing");
            None
        }
        (None, Some(_)) => {
            place.fault("`username` is missing");
            None
        }
    }
}

/// A name with fields of the event in it, which may be empty.
fn name(place: &Place<'_>, key: &str, node: Option<Text>, own: &Own<'_>, chain_text: ChainText) -> Option<Template> {
    let Some(node) = node else {
        place.fault(format!("`{key}` is missing"));
        return None;
    };
    let given = place.key(key, node.at).scalar(&node)?;
    if given.text.is_empty() {
        return Some(Template(vec![TemplatePart::Text(String::new())]));
    }
    let template = given.place.parse_template(&given.text, own, chain_text)?;
    let bytes = template.0.iter().map(|part| if let TemplatePart::Text(text) = part { text.len() } else { 0 }).sum();
    if bytes > SHORT_STRING_BYTES_MAX {
        given.place.fault(too_long(bytes));
    }
    Some(template)
}

fn required(place: &Place<'_>, key: &str, node: Option<Text>) -> Option<String> {
    if node.is_none() {
        place.fault(format!("`{key}` is missing"));
    }
    place.parse(key, node, short)
}

fn short(text: &str) -> Result<String, String> {
    match text.len() {
        0..=SHORT_STRING_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(too_long(bytes)),
    }
}

fn too_long(bytes: usize) -> String {
    format!("is {bytes} bytes long; AMQP allows {SHORT_STRING_BYTES_MAX}")
}

fn declare(parent: &Place<'_>, node: Node<Declare>, exchange: Option<&Template>) -> ExchangeConfig {
    let (declare, place) = parent.map("declare", Some(node));
    match exchange.map(Template::literal) {
        Some(Some("")) => place.fault("the default exchange is always there and cannot be declared"),
        Some(None) => place.fault("an exchange with `{{ }}` in its name cannot be declared: create those exchanges"),
        Some(Some(_)) | None => {}
    }
    let kind = place.choice("type", declare.kind, &EXCHANGE_TYPES).unwrap_or_default();
    let queue = declare.queue.and_then(|node| queue(&place, node, kind));
    let durable = place.choice("durable", declare.durable, &BOOL).unwrap_or(true);
    ExchangeConfig { kind, durable, queue }
}

fn queue(parent: &Place<'_>, node: Node<DeclareQueue>, exchange: ExchangeType) -> Option<QueueConfig> {
    let (queue, place) = parent.map("queue", Some(node));
    let everything = if exchange == ExchangeType::Topic { "#" } else { "" };
    if exchange == ExchangeType::Direct && queue.routing_key.is_none() {
        place.fault("`routing_key` is missing: a direct exchange passes on what has exactly the key of the binding");
    }
    let kind = place.choice("type", queue.kind, &QUEUE_TYPES).unwrap_or_default();
    let at = queue.durable.as_ref().map(|node| node.at);
    let durable = place.choice("durable", queue.durable, &BOOL).unwrap_or(true);
    if let (QueueType::Quorum, false, Some(at)) = (kind, durable, at) {
        place.key("durable", at).fault("a quorum queue is always durable");
    }
    Some(QueueConfig {
        routing_key: place.parse("routing_key", queue.routing_key, short).unwrap_or_else(|| everything.to_owned()),
        kind,
        durable,
        name: required(&place, "name", queue.name)?,
    })
}

fn heartbeat(text: &str) -> Result<u16, String> {
    let duration = positive_duration(text)?;
    let seconds = u16::try_from(duration.as_secs()).ok().filter(|seconds| *seconds > 0);
    let seconds = seconds.filter(|_| duration.subsec_nanos() == 0);
    seconds.ok_or_else(|| "a heartbeat is whole seconds, from 1s to 65535s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_scheme_host_port_and_virtual_host() {
        let broker_of = |is_tls, host: &str, port, vhost: &str| {
            Ok(AmqpBroker { is_tls, host: host.to_owned(), port, vhost: vhost.to_owned() })
        };
        let cases = [
            ("amqp://rabbit", broker_of(false, "rabbit", 5672, "/")),
            ("amqps://rabbit/", broker_of(true, "rabbit", 5671, "/")),
            ("amqps://rabbit:1/prod", broker_of(true, "rabbit", 1, "prod")),
            ("amqp://[::1]:7/%2Fa%2fb", broker_of(false, "::1", 7, "/a/b")),
        ];
        for (text, expected) in cases {
            assert_eq!(broker(text), expected, "{text}");
        }
    }
}
