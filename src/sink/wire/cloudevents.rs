//! Events as CloudEvents 1.0: the attributes, and the JSON object that holds them together with the message.
//!
//! - An attribute may not have control characters or noncharacters in it, and token ids may: those characters are
//!   percent-encoded, and `%` with them.
//! - `time` is the instant that the message names, in the one way of writing that RFC 3339 takes for certain.
//! - Attributes that a message has no value for are left out.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::Serializer;
use serde_json::value::RawValue;

use super::VALUE_BYTES_MAX;
use crate::event::{Event, Stream};

/// How an attribute is called, in JSON and in the headers of each transport.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) json: &'static str,
    pub(super) http: &'static str,
    pub(super) kafka: &'static str,
    pub(super) amqp: &'static str,
}

type Attribute<'a> = (&'static Names, Cow<'a, str>);

macro_rules! names {
    ($($constant:ident = $name:literal;)*) => {
        $(static $constant: Names = Names {
            json: $name,
            http: concat!("ce-", $name),
            kafka: concat!("ce_", $name),
            // AMQP 1.0 has it as the prefix of application properties, which brokers map onto headers of 0.9.1.
            amqp: concat!("cloudEvents_", $name),
        };)*
    };
}

names! {
    SPEC_VERSION = "specversion";
    ID = "id";
    SOURCE = "source";
    TYPE = "type";
    SUBJECT = "subject";
    TIME = "time";
    DATA_CONTENT_TYPE = "datacontenttype";
    SEQUENCE = "sequence";
    DEPLOY_HASH = "deployhash";
    ORIGIN = "origin";
}

/// The attributes as they stand in headers, where the content type has a header of its own. What is too long for one
/// is left out.
pub(super) fn in_headers(event: &Event) -> impl Iterator<Item = Attribute<'_>> {
    required(event).into_iter().chain(optional(event).filter(|(_, value)| value.len() <= VALUE_BYTES_MAX))
}

/// The whole event as a JSON object; the message is `data`, byte for byte. Fails if the message is no JSON.
pub(super) fn envelope(event: &Event) -> serde_json::Result<Bytes> {
    let _valid: &RawValue = serde_json::from_slice(&event.body)?;
    let content_type = (&DATA_CONTENT_TYPE, Cow::Borrowed("application/json"));
    let attributes = required(event).into_iter().chain(optional(event)).chain([content_type]);
    let mut json = Vec::with_capacity(event.body.len() + 768);
    serde_json::Serializer::new(&mut json).collect_map(attributes.map(|(names, value)| (names.json, value)))?;
    json.pop();
    json.extend_from_slice(b",\"data\":");
    json.extend_from_slice(&event.body);
    json.push(b'}');
    Ok(json.into())
}

fn required(event: &Event) -> [Attribute<'_>; 4] {
    let stream = event.stream.as_str();
    [
        (&SPEC_VERSION, "1.0".into()),
        (&ID, super::printed(&event.id).into()),
        (&SOURCE, source(event).into()),
        (&TYPE, format!("cloud.cspr.{stream}.{}", allowed(&event.facts.action)).into()),
    ]
}

/// Where CSPR.cloud has the stream, also behind a proxy. The relay's own streams have no address.
fn source(event: &Event) -> String {
    match event.stream.is_our_own() {
        true => format!("cspr-relay:{}", event.network),
        false => format!("{}/{}", event.network.streaming_address(), event.stream),
    }
}

fn optional(event: &Event) -> impl Iterator<Item = Attribute<'_>> {
    let facts = &event.facts;
    let optional = [
        (&SUBJECT, subject(event)),
        (&TIME, facts.timestamp.as_deref().and_then(time).map(Cow::Owned)),
        (&SEQUENCE, Some(super::printed(&event.sequence).into())),
        (&DEPLOY_HASH, facts.deploy_hash.as_deref().filter(|hash| !hash.is_empty()).map(allowed)),
        (&ORIGIN, Some(event.origin.as_str().into())),
    ];
    optional.into_iter().filter_map(|(names, value)| Some((names, value?)))
}

/// What the event is about: a token, an owner's holding, or else a contract package.
fn subject(event: &Event) -> Option<Cow<'_, str>> {
    let package = allowed(event.facts.contract_package.as_deref().filter(|package| !package.is_empty())?);
    let holder = event.facts.owner.as_deref().filter(|_| event.stream == Stream::NftTokenOwnership);
    match event.facts.token_id.as_deref().or(holder) {
        None | Some("") => Some(package),
        Some(token) => Some(format!("{package}/{}", allowed(token)).into()),
    }
}

/// None if the text is no instant of the years 0 to 9999.
fn time(text: &str) -> Option<String> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(instant.to_string()).filter(|text| !text.starts_with('-'))
}

fn allowed(text: &str) -> Cow<'_, str> {
    if !text.contains(is_encoded) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_encoded(c) {
            clean.extend(percent_encode(c.encode_utf8(&mut [0; 4]).as_bytes(), NON_ALPHANUMERIC));
        } else {
            clean.push(c);
        }
    }
    clean.into()
}

fn is_encoded(c: char) -> bool {
    let is_noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c == '%' || c.is_control() || is_noncharacter
}
