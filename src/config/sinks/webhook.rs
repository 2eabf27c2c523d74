//! `webhook`: a signed HTTP POST for each event.

use std::time::Duration;

use data_encoding::BASE64;
use reqwest::Url;
use secrecy::ExposeSecret;

use super::super::Secret;
use super::super::outline::Form;
use super::super::reader::{Place, number};
use super::super::settings::url;
use super::super::shape::{Named, NoMapping, Node, Text, shape};
use super::super::template::Own;
use super::headers::{HEADER_NAME, HeaderText, headers};
use super::tls::{Tls, TlsConfig, tls};

#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    /// `http` or `https`, with a host, without userinfo.
    pub url: Url,
    /// `whsec_…`; all of them sign. Empty: unsigned.
    pub secrets: Vec<Secret>,
    /// Bounds a whole attempt, from name resolution to the end of the answer.
    pub timeout: Duration,
    pub headers: Vec<(String, HeaderText)>,
    /// Statuses that make the delivery a dead letter at once.
    pub reject_on: Vec<u16>,
    pub tls: TlsConfig,
}

shape! {
    Webhook {
        url: NoMapping = Form::pattern("^https?://[^/?#@]+([/?#]|$)").required(),
        secrets: NoMapping = Form::pattern("^whsec_[A-Za-z0-9+/]{32,86}={0,2}$").list(),
        timeout: NoMapping = Form::DURATION,
        headers: Named<NoMapping> = Form::TEXT.named(HEADER_NAME),
        reject_on: NoMapping = Form::number(300, 599).list(),
        tls: Tls,
    }
}

pub(super) fn webhook(parent: &Place<'_>, node: Node<Webhook>, own: &Own<'_>) -> Option<WebhookConfig> {
    let (webhook, place) = parent.map("webhook", Some(node));
    let url = webhook_url(&place, webhook.url);
    let reject_on = place
        .texts("reject_on", webhook.reject_on)
        .map(|list| list.iter().filter_map(|given| given.parse(status)).collect::<Vec<u16>>());
    Some(WebhookConfig {
        secrets: secrets(&place, webhook.secrets),
        timeout: place.duration("timeout", webhook.timeout, Duration::from_secs(15)),
        headers: headers(&place, webhook.headers, own),
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
            let hint = "make one with `cspr-relay secret new`";
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
