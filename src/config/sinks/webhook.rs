//! `webhook`: a signed HTTP POST for each event.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::BASE64;
use reqwest::Url;
use reqwest::header::HeaderName;
use secrecy::ExposeSecret;

use super::super::Secret;
use super::super::outline::Form;
use super::super::reader::{Place, number};
use super::super::settings::{header_text, url};
use super::super::shape::{Named, NoMapping, Node, Text, shape};
use super::tls::{Tls, TlsConfig, tls};

#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `http` or `https`, with a host, without userinfo.
    pub url: Url,
    /// `whsec_…`; all of them sign. Empty: unsigned.
    pub secrets: Vec<Secret>,
    /// Bounds a whole attempt, from name resolution to the end of the answer.
    pub timeout: Duration,
    pub headers: Vec<(String, Secret)>,
    /// Statuses that make the delivery a dead letter at once.
    pub reject_on: Vec<u16>,
    pub tls: TlsConfig,
}

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
    Webhook {
        url: NoMapping = Form::pattern("^https?://[^/?#@]+([/?#]|$)").required(),
        secrets: NoMapping = Form::pattern("^whsec_[A-Za-z0-9+/]{32,86}={0,2}$").list(),
        timeout: NoMapping = Form::DURATION,
        headers: Named<NoMapping> = Form::TEXT.named("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        reject_on: NoMapping = Form::number(300, 599).list(),
        tls: Tls,
    }
}

pub(super) fn webhook(parent: &Place<'_>, node: Node<Webhook>) -> Option<WebhookConfig> {
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
