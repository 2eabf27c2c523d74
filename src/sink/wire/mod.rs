//! What goes over the wire, independent of the transport: [`Encoder`] puts a delivery in the form that its sink asked
//! for, [`render`] fills in its templates, [`facts`] is what accompanies every event.
//!
//! HTTP and Kafka headers and AMQP properties carry the same facts under the same names; only the event id stands
//! elsewhere in each. Values consist of visible ASCII: everything else, and `%` itself, is percent-encoded. A value
//! of more than [`VALUE_BYTES_MAX`] bytes is left out, since token ids are text from the chain and may be of any size.

mod cloudevents;
mod encoder;
mod template;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Write};

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

pub(crate) use self::encoder::{Encoder, Message, Transport, envelope, no_json};
pub(crate) use self::template::{render, render_header};
use crate::event::{Delivery, Occasion};

/// The longest value that is sent; a longer one is left out.
pub(crate) const VALUE_BYTES_MAX: usize = 512;

/// What ids, sequences and times take at most; more would cost another allocation.
const PRINTED_BYTES: usize = 32;

/// All but U+0021–U+007E, and `%`.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// In a list the separator is encoded too.
const ENCODED_IN_LIST: &AsciiSet = &ENCODED.add(b',');

/// CloudEvents' rule for HTTP.
const ENCODED_AS_ATTRIBUTE: &AsciiSet = &ENCODED.add(b'"');

/// A name and its encoded value.
pub(crate) type Fact<'a> = (&'static str, Cow<'a, str>);

/// The facts of a delivery to the sink of that name, in the order of the documentation.
pub(crate) fn facts<'a>(sink: &str, delivery: &'a Delivery) -> Vec<Fact<'a>> {
    let event = &*delivery.event;
    let mut list: Vec<Fact<'a>> = Vec::with_capacity(16);
    list.push(("cspr-relay-network", event.network.as_str().into()));
    list.push(("cspr-relay-stream", event.stream.as_str().into()));
    let optional = [
        ("cspr-relay-action", Some(&event.facts.action)),
        ("cspr-relay-contract-package", event.facts.contract_package.as_ref()),
        ("cspr-relay-token-id", event.facts.token_id.as_ref()),
        ("cspr-relay-owner", event.facts.owner.as_ref()),
        ("cspr-relay-deploy-hash", event.facts.deploy_hash.as_ref()),
    ];
    let present = optional.into_iter().filter_map(|(name, text)| Some((name, encode(&**text?, ENCODED))));
    list.extend(present.filter(|(_, value)| is_sendable(value)));
    list.push(("cspr-relay-sequence", printed(&event.sequence).into()));
    let routes = routes(delivery);
    if is_sendable(&routes) {
        list.push(("cspr-relay-routes", routes));
    }
    list.push(("cspr-relay-origin", event.origin.as_str().into()));
    match delivery.occasion {
        Occasion::Live => {}
        Occasion::Replay => list.push(("cspr-relay-replay", "true".into())),
        Occasion::Test => list.push(("cspr-relay-test", "true".into())),
    }
    list.push(("cspr-relay-accepted-at", printed(&event.accepted_at).into()));
    list.push(("cspr-relay-attempt", delivery.attempt.to_string().into()));
    list.push(("traceparent", traceparent(sink, delivery).into()));
    list
}

/// As `to_string`, whose text would be allocated anew as it grows.
pub(crate) fn printed(value: &dyn fmt::Display) -> String {
    let mut text = String::with_capacity(PRINTED_BYTES);
    // Writing to a String cannot fail.
    let _written = write!(text, "{value}");
    text
}

/// W3C trace context: all attempts of an event at all sinks are one trace, each attempt is a span of its own.
pub(crate) fn traceparent(sink: &str, delivery: &Delivery) -> String {
    let digest = Sha256::new().chain_update(sink).chain_update(delivery.attempt.to_be_bytes()).finalize();
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    HEXLOWER.encode_append(&delivery.event.id.0, &mut text);
    text.push('-');
    HEXLOWER.encode_append(digest.first_chunk::<8>().unwrap_or(&[0; 8]), &mut text);
    text.push_str("-01");
    text
}

fn routes(delivery: &Delivery) -> Cow<'_, str> {
    match &*delivery.routes {
        [one] => encode(&**one, ENCODED_IN_LIST),
        many => many.iter().map(|name| encode(&**name, ENCODED_IN_LIST)).collect::<Vec<_>>().join(",").into(),
    }
}

fn encode<'a>(text: impl Into<Cow<'a, str>>, set: &'static AsciiSet) -> Cow<'a, str> {
    match text.into() {
        // Hashes, numbers and most names: no set has any of these.
        plain if plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) => plain,
        Cow::Borrowed(text) => utf8_percent_encode(text, set).into(),
        Cow::Owned(text) => utf8_percent_encode(&text, set).to_string().into(),
    }
}

fn is_sendable(value: &str) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&value.len())
}
