//! The three formats on the three transports.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::*;
use crate::config::Format;
use crate::event::{Event, Facts};

/// An event as CSPR.cloud's documentation has it.
fn ordinary() -> Delivery {
    let delivery = delivery("119");
    let facts = Facts {
        timestamp: Some("2024-02-07T10:21:29.557865809Z".into()),
        deploy_hash: Some("f7".repeat(32).into()),
        ..delivery.event.facts.clone()
    };
    with(&delivery, |event| Event { facts, ..event })
}

fn with(delivery: &Delivery, change: impl FnOnce(Event) -> Event) -> Delivery {
    Delivery { event: Arc::new(change((*delivery.event).clone())), ..delivery.clone() }
}

fn with_facts(delivery: &Delivery, change: impl FnOnce(&mut Facts)) -> Delivery {
    with(delivery, |mut event| {
        change(&mut event.facts);
        event
    })
}

fn message(format: Format, transport: Transport, delivery: &Delivery) -> Message<'_> {
    Encoder::new("market", format, transport).encode(delivery).unwrap()
}

/// The attributes of an event in binary mode, by name without the transport's prefix.
fn attributes<'a>(prefix: &str, message: &'a Message<'_>) -> BTreeMap<&'a str, &'a str> {
    let ours = message.headers.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, &**value)));
    ours.collect()
}

fn envelope_of(delivery: &Delivery) -> serde_json::Map<String, serde_json::Value> {
    let message = message(Format::CloudEvents, Transport::Http, delivery);
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn raw_is_the_message_and_no_attribute() {
    let delivery = ordinary();
    for transport in [Transport::Http, Transport::Kafka, Transport::Amqp] {
        let message = message(Format::Raw, transport, &delivery);
        assert_eq!((&message.body, message.content_type), (&delivery.event.body, "application/json"));
        assert_eq!(message.headers, facts("market", &delivery));
    }
}

#[test]
fn a_structured_event_byte_for_byte() {
    let delivery = ordinary();
    let (package, deploy) = ("53".repeat(32), "f7".repeat(32));
    let expected = format!(
        r#"{{"specversion":"1.0","id":"evt_gaytemzugu3doobzmfrggzdfmy","source":"wss://streaming.testnet.cspr.cloud/nft-tokens","type":"cloud.cspr.nft-tokens.created","subject":"{package}/119","time":"2024-02-07T10:21:29.557865809Z","sequence":"0000000003e8-0000000000000007","deployhash":"{deploy}","origin":"stream","datacontenttype":"application/json","data":{{"data": {{"token_id":"1"}},"action":"created"}}}}"#
    );
    for (transport, content_type) in [
        (Transport::Http, "application/cloudevents+json; charset=UTF-8"),
        (Transport::Kafka, "application/cloudevents+json"),
        (Transport::Amqp, "application/cloudevents+json; charset=utf-8"),
    ] {
        let message = message(Format::CloudEvents, transport, &delivery);
        assert_eq!(std::str::from_utf8(&message.body), Ok(expected.as_str()));
        assert_eq!(message.content_type, content_type);
        assert_eq!(message.headers, facts("market", &delivery));
    }
}

#[test]
fn a_binary_event_has_its_attributes_in_headers() {
    let delivery = ordinary();
    let envelope = envelope_of(&delivery);
    for (transport, prefix) in [(Transport::Http, "ce-"), (Transport::Kafka, "ce_"), (Transport::Amqp, "cloudEvents_")]
    {
        let message = message(Format::CloudEventsBinary, transport, &delivery);
        assert_eq!((&message.body, message.content_type), (&delivery.event.body, "application/json"));
        let attributes = attributes(prefix, &message);
        assert_eq!(attributes.len() + 2, envelope.len(), "all but the content type and the data: {attributes:?}");
        for (name, value) in &attributes {
            assert_eq!(envelope[*name], *value, "{name}");
        }
        assert_eq!(message.headers.len(), facts("market", &delivery).len() + attributes.len());
    }
}

#[test]
fn characters_that_attributes_must_not_have_are_encoded() {
    // In JSON, over Kafka, over HTTP.
    for (token, plain, http) in [
        ("a b", "a b", "a%20b"),
        ("Euro \u{20ac} \u{1F600}", "Euro \u{20ac} \u{1F600}", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("\"q\"", "\"q\"", "%22q%22"),
        ("50%", "50%25", "50%2525"),
        ("a\r\nb\0", "a%0D%0Ab%00", "a%250D%250Ab%2500"),
        ("\u{7f}\u{85}", "%7F%C2%85", "%257F%25C2%2585"),
        (
            "\u{fdd0}\u{ffff}\u{1fffe}",
            "%EF%B7%90%EF%BF%BF%F0%9F%BF%BE",
            "%25EF%25B7%2590%25EF%25BF%25BF%25F0%259F%25BF%25BE",
        ),
    ] {
        let delivery = delivery(token);
        let package = "53".repeat(32);
        assert_eq!(envelope_of(&delivery)["subject"], format!("{package}/{plain}"), "{token:?}");
        for (transport, prefix, value) in [(Transport::Kafka, "ce_", plain), (Transport::Http, "ce-", http)] {
            let message = message(Format::CloudEventsBinary, transport, &delivery);
            assert_eq!(attributes(prefix, &message)["subject"], format!("{package}/{value}"), "{token:?}");
        }
    }
}

#[test]
fn what_a_message_does_not_say_is_left_out() {
    let bare = with_facts(&ordinary(), |facts| *facts = Facts { action: "created".into(), ..Facts::default() });
    let names: Vec<_> = envelope_of(&bare).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["data", "datacontenttype", "id", "origin", "sequence", "source", "specversion", "type"]);
    let package = with_facts(&ordinary(), |facts| facts.token_id = None);
    assert_eq!(envelope_of(&package)["subject"], "53".repeat(32));
}

#[test]
fn a_subject_too_long_for_a_header_stands_in_json_only() {
    let delivery = delivery(&"7".repeat(VALUE_BYTES_MAX));
    let message = message(Format::CloudEventsBinary, Transport::Kafka, &delivery);
    assert!(!attributes("ce_", &message).contains_key("subject"));
    assert_eq!(envelope_of(&delivery)["subject"].as_str().unwrap().len(), 65 + VALUE_BYTES_MAX);
}

#[test]
fn the_time_is_an_instant_or_missing() {
    for (timestamp, expected) in [
        ("2024-02-07T10:21:29.557865809Z", Some("2024-02-07T10:21:29.557865809Z")),
        ("2026-06-29T11:15:00Z", Some("2026-06-29T11:15:00Z")),
        ("2024-02-07T12:21:29.5+02:00", Some("2024-02-07T10:21:29.5Z")),
        ("2024-02-07", None),
        ("yesterday", None),
        ("", None),
        ("-000001-02-07T12:21:29Z", None),
    ] {
        let delivery = with_facts(&ordinary(), |facts| facts.timestamp = Some(timestamp.into()));
        let envelope = envelope_of(&delivery);
        assert_eq!(envelope.get("time").and_then(serde_json::Value::as_str), expected, "{timestamp}");
    }
}

#[test]
fn a_message_that_is_no_json_is_refused() {
    for body in ["", "{", "[1,", "{}x", "{\"a\":\"\u{0}\"}"] {
        let delivery = with(&ordinary(), |event| Event { body: body.to_owned().into(), ..event });
        let failure = Encoder::new("market", Format::CloudEvents, Transport::Http).encode(&delivery).unwrap_err();
        assert!(failure.detail.starts_with("the message is not JSON: "), "{body}: {}", failure.detail);
    }
}

/// Any JSON, with white space in all places and numbers of any size.
fn json() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let number = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        number,
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\ud83d\ude00\u0000\/""#.to_owned()),
    ];
    let white = "[ \t\r\n]{0,2}";
    let padded = (white, leaf, white).prop_map(|(before, leaf, after)| format!("{before}{leaf}{after}"));
    padded.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| {
                let member =
                    |(key, value): (String, String)| format!("{} :{value}", serde_json::to_string(&key).unwrap());
                format!("\n{{{}}} ", members.into_iter().map(member).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    subject: Option<String>,
    time: Option<String>,
    sequence: String,
    deployhash: Option<String>,
    origin: String,
    datacontenttype: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

proptest::proptest! {
    /// Whatever the message and the texts in it: one object with each attribute once, all of them as CloudEvents wants
    /// them, and the message unchanged in it.
    #[test]
    fn every_event_is_a_cloud_event(
        body in json(),
        action in ".*",
        token_id in proptest::option::of(proptest::prelude::any::<String>()),
        deploy_hash in proptest::option::of(".*"),
        timestamp in proptest::option::of("[-+0-9TZ:.]{0,30}|[0-9]{4}-0[1-9]-[01][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[-+]0[0-9]:00)"),
    ) {
        let delivery = with_facts(&ordinary(), |facts| {
            facts.action = action.into();
            facts.token_id = token_id.map(Into::into);
            facts.deploy_hash = deploy_hash.map(Into::into);
            facts.timestamp = timestamp.map(Into::into);
        });
        let delivery = with(&delivery, |event| Event { body: body.clone().into(), ..event });
        let message = message(Format::CloudEvents, Transport::Http, &delivery);
        let end = format!(",\"data\":{body}}}");
        proptest::prop_assert!(message.body.ends_with(end.as_bytes()));
        let envelope: Envelope<'_> = serde_json::from_slice(&message.body).unwrap();
        proptest::prop_assert_eq!(envelope.data.get(), body.trim_matches([' ', '\t', '\r', '\n']));
        proptest::prop_assert_eq!((&*envelope.specversion, &*envelope.datacontenttype), ("1.0", "application/json"));
        let time = envelope.time.as_deref().map(|time| time.as_bytes()[10]);
        proptest::prop_assert!(time.is_none_or(|separator| separator == b'T'));
        let texts = [Some(envelope.id), Some(envelope.source), Some(envelope.r#type), Some(envelope.sequence), Some(envelope.origin)];
        for text in texts.into_iter().chain([envelope.subject, envelope.deployhash, envelope.time]).flatten() {
            proptest::prop_assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
        }
    }
}
