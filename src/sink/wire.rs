//! What every sink tells of an event beside its body: the same names and the same values everywhere.
//!
//! Headers carry the values [`encoded`]; a sink that writes JSON carries them as they are.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::event::Delivery;

/// A longer value is left out of headers.
const VALUE_BYTES_MAX: usize = 512;
/// What is not visible ASCII is encoded, and `%` itself, so that decoding gives the text back.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Calls `put` with each name and its value.
pub(super) fn each_fact(delivery: &Delivery, sink: &str, mut put: impl FnMut(&'static str, Cow<'_, str>)) {
    let event = &delivery.event;
    let facts = &event.facts;
    let mut text = |name: &'static str, value: Option<&str>| value.into_iter().for_each(|text| put(name, text.into()));
    text("cspr-relay-network", Some(event.network.as_str()));
    text("cspr-relay-stream", Some(event.stream.as_str()));
    text("cspr-relay-action", Some(&facts.action));
    text("cspr-relay-contract-package", facts.contract_package.as_deref());
    text("cspr-relay-token-id", facts.token_id.as_deref());
    text("cspr-relay-owner", facts.owner.as_deref());
    text("cspr-relay-deploy-hash", facts.deploy_hash.as_deref());
    text("cspr-relay-origin", Some(event.origin.as_str()));
    text("cspr-relay-replay", delivery.is_replay.then_some("true"));
    match &*delivery.routes {
        [one] => text("cspr-relay-routes", Some(one)),
        several => text("cspr-relay-routes", Some(&several.join(","))),
    }
    put("cspr-relay-sequence", event.sequence.to_string().into());
    put("cspr-relay-accepted-at", event.accepted_at.to_string().into());
    put("cspr-relay-attempt", delivery.attempt.to_string().into());
    put("traceparent", traceparent(delivery, sink).into());
}

/// A value in visible ASCII, the rest percent-encoded; `None` if that is too long for a header.
pub(super) fn encoded(value: &str) -> Option<Cow<'_, str>> {
    Some(utf8_percent_encode(value, ENCODED).into()).filter(|encoded: &Cow<'_, str>| encoded.len() <= VALUE_BYTES_MAX)
}

/// A trace of its own for each event, the same on every sink and attempt; a span for each attempt.
fn traceparent(delivery: &Delivery, sink: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (sink, delivery.attempt).hash(&mut hasher);
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    data_encoding::HEXLOWER.encode_append(&delivery.event.id.0, &mut text);
    // All zeros would be an invalid span; writing to a String cannot fail.
    let _written = write!(text, "-{:016x}-01", hasher.finish().max(1));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_so_that_decoding_gives_them_back() {
        let cases = [
            ("119", "119"),
            ("US-7000001-B2", "US-7000001-B2"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
            ("x\r\nevil: 1", "x%0D%0Aevil:%201"),
        ];
        for (value, expected) in cases {
            let encoded = encoded(value).unwrap();
            assert_eq!(encoded, expected);
            assert_eq!(percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap(), value);
        }
        assert!(encoded(&"x".repeat(512)).is_some());
        assert_eq!(encoded(&"x".repeat(513)), None);
        assert_eq!(encoded(&"é".repeat(100)), None, "it is the encoded length that counts");
    }
}
