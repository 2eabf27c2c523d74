//! The section `sinks`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use data_encoding::BASE64;
use reqwest::Url;
use reqwest::header::HeaderName;
use secrecy::ExposeSecret;

use super::reader::{Place, number, positive_duration};
use super::settings::{GIB, file, header_text, url};
use super::shape::{Named, NoMapping, Node, Text, shape};
use super::{
    BacklogConfig, ClientCertificate, OnFull, Ordering, RetryConfig, Secret, SinkConfig, SinkKind, SinkName, TlsConfig,
    WebhookConfig,
};

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

/// Headers that the relay or HTTP itself sets.
const RESERVED_HEADERS: [&str; 12] = [
    "authority",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
];
const RESERVED_PREFIXES: [&str; 2] = ["webhook-", "cspr-relay-"];

shape! {
    Sink {
        labels: Named<NoMapping>,
        webhook: Webhook,
        stdout: Stdout,
        retry: Retry,
        concurrency: NoMapping,
        ordering: NoMapping,
        backlog: Backlog,
    }
}

shape! {
    Webhook {
        url: NoMapping,
        secrets: NoMapping,
        timeout: NoMapping,
        headers: Named<NoMapping>,
        reject_on: NoMapping,
        tls: Tls,
    }
}

shape! {
    Tls {
        ca_file: NoMapping,
        cert_file: NoMapping,
        key_file: NoMapping,
        dangerous_accept_any_certificate: NoMapping,
    }
}

shape! { Stdout {} }

shape! { Retry { schedule: NoMapping, jitter: NoMapping, } }

shape! { Backlog { max_bytes: NoMapping, on_full: NoMapping, } }

/// The sinks that could be read, and the place of each name.
pub(super) fn sinks<'a>(
    parent: &Place<'a>,
    node: Option<Node<Named<Sink>>>,
) -> BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)> {
    let (sinks, place) = parent.map("sinks", node);
    if sinks.0.is_empty() {
        place.fault("there are no sinks: events would go nowhere");
    }
    let mut named = BTreeMap::new();
    for (key, node) in sinks.0 {
        let name_place = place.key(&key.name, key.at);
        name_place.check_name(&key.name);
        let (sink, place) = place.map(&key.name, Some(node));
        named.insert(SinkName(key.name.into()), (name_place, self::sink(&place, sink)));
    }
    named
}

fn sink(place: &Place<'_>, sink: Sink) -> Option<SinkConfig> {
    let labels = labels(place, sink.labels);
    let kind = kind(place, sink.webhook, sink.stdout);
    let ordering = [("lane", Ordering::Lane), ("none", Ordering::None)];
    Some(SinkConfig {
        labels,
        retry: retry(place, sink.retry),
        concurrency: place.number("concurrency", sink.concurrency, 1..=CONCURRENCY_MAX, 16),
        ordering: place.choice("ordering", sink.ordering, &ordering).unwrap_or_default(),
        backlog: backlog(place, sink.backlog),
        kind: kind?,
    })
}

fn kind(place: &Place<'_>, webhook: Option<Node<Webhook>>, stdout: Option<Node<Stdout>>) -> Option<SinkKind> {
    match (webhook, stdout) {
        (Some(webhook), None) => self::webhook(place, webhook).map(|webhook| SinkKind::Webhook(Box::new(webhook))),
        (None, Some(stdout)) => {
            place.map("stdout", Some(stdout));
            Some(SinkKind::Stdout)
        }
        (None, None) => {
            place.fault("a sink needs a destination: `webhook` or `stdout`");
            None
        }
        (Some(_), Some(stdout)) => {
            place.key("stdout", stdout.key).fault("a sink has one destination, and this one has `webhook` already");
            None
        }
    }
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

fn webhook(parent: &Place<'_>, node: Node<Webhook>) -> Option<WebhookConfig> {
    let (webhook, place) = parent.map("webhook", Some(node));
    let url = webhook_url(&place, webhook.url);
    let reject_on = place
        .texts("reject_on", webhook.reject_on)
        .map(|list| list.iter().filter_map(|given| given.parse(status)).collect::<Vec<u16>>());
    Some(WebhookConfig {
        secrets: secrets(&place, webhook.secrets),
        timeout: place.duration("timeout", webhook.timeout, Duration::from_secs(15)),
        headers: headers(&place, webhook.headers),
        reject_on: reject_on.unwrap_or_else(|| vec![400, 413, 415, 422]),
        tls: tls(&place, webhook.tls),
        url: url?,
    })
}

fn webhook_url(place: &Place<'_>, node: Option<Text>) -> Option<Url> {
    let Some(node) = node else {
        place.fault("`url` is missing");
        return None;
    };
    url(place, node, ["https", "http"]).map(|(url, _)| url)
}

fn status(text: &str) -> Result<u16, String> {
    let status = number(text, &(300..=599))?;
    match u16::try_from(status) {
        Ok(410) => Err("410 pauses the sink and keeps its events; it cannot be listed here".to_owned()),
        Ok(429) => Err("429 slows the sink down and costs no attempt; it cannot be listed here".to_owned()),
        Ok(status) => Ok(status),
        Err(_) => Err(format!("`{text}` is no status")),
    }
}

fn secrets(parent: &Place<'_>, node: Option<Text>) -> Vec<Secret> {
    let items = node.map(|node| parent.items("secrets", node)).unwrap_or_default();
    let read = |(place, node): &(Place<'_>, Text)| {
        let secret = place.secret(node, false)?;
        if !is_signing_secret(secret.current().expose_secret()) {
            let hint = "make one with: echo whsec_$(openssl rand -base64 32)";
            place.fault_with("a signing secret is `whsec_` and 24 to 64 bytes in base64", Some(hint.to_owned()));
        }
        Some(secret)
    };
    items.iter().filter_map(read).collect()
}

fn is_signing_secret(text: &str) -> bool {
    let key = text.strip_prefix("whsec_").and_then(|key| BASE64.decode(key.as_bytes()).ok());
    key.is_some_and(|key| (24..=64).contains(&key.len()))
}

fn headers(parent: &Place<'_>, node: Option<Node<Named<NoMapping>>>) -> Vec<(String, Secret)> {
    let (headers, place) = parent.map("headers", node);
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for (key, node) in headers.0 {
        let name = key.name.to_ascii_lowercase();
        if let Err(reason) = header_name(&name) {
            place.key(&key.name, key.at).fault(reason);
        } else if !names.insert(name.clone()) {
            place.key(&key.name, key.at).fault("this header is given twice; case does not matter");
        }
        if let Some(value) = header_value(&place.key(&key.name, node.at), &node, &name) {
            read.push((key.name, value));
        }
    }
    read
}

fn header_name(lower: &str) -> Result<(), String> {
    if HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("this cannot be the name of a header".to_owned());
    }
    let is_reserved =
        RESERVED_HEADERS.contains(&lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if is_reserved {
        return Err(format!("the relay sets `{lower}` itself"));
    }
    Ok(())
}

fn header_value(place: &Place<'_>, node: &Text, name: &str) -> Option<Secret> {
    let looks_secret = ["auth", "key", "secret", "token", "password", "cookie"].iter().any(|word| name.contains(word));
    let value = place.secret(node, !looks_secret)?;
    header_text(value.current().expose_secret()).map_err(|reason| place.fault(reason)).ok()?;
    Some(value)
}

fn tls(parent: &Place<'_>, node: Option<Node<Tls>>) -> TlsConfig {
    let (tls, place) = parent.map("tls", node);
    let is_half = tls.cert_file.is_some() != tls.key_file.is_some();
    if is_half {
        place.fault("a client certificate needs both `cert_file` and `key_file`");
    }
    let certificate_file = file(&place, "cert_file", tls.cert_file);
    let key_file = file(&place, "key_file", tls.key_file);
    let client_certificate = certificate_file
        .zip(key_file)
        .map(|(certificate_file, key_file)| ClientCertificate { certificate_file, key_file });
    let accept_any = place.choice(
        "dangerous_accept_any_certificate",
        tls.dangerous_accept_any_certificate,
        &[("true", true), ("false", false)],
    );
    if accept_any == Some(true) {
        place.warn("any certificate is accepted, so anybody in between can read and change what is sent", None);
    }
    TlsConfig {
        ca_file: file(&place, "ca_file", tls.ca_file),
        client_certificate,
        dangerous_accept_any_certificate: accept_any.unwrap_or_default(),
    }
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
    let on_full = [("expire", OnFull::Expire), ("wait", OnFull::Wait)];
    BacklogConfig {
        max_bytes: place.size("max_bytes", backlog.max_bytes, 5 * GIB),
        on_full: place.choice("on_full", backlog.on_full, &on_full).unwrap_or_default(),
    }
}
