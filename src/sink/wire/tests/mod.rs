//! What stands on the wire, value by value.

mod formats;

use super::*;
use crate::sink::tests::delivery;

fn value(sink: &str, delivery: &Delivery, name: &str) -> Option<String> {
    facts(sink, delivery).into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.into_owned())
}

#[test]
fn all_facts_of_an_ordinary_delivery() {
    let delivery = delivery("119");
    let list = facts("market", &delivery);
    let text: Vec<String> = list.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let package = "53".repeat(32);
    let expected = [
        "cspr-relay-network: testnet",
        "cspr-relay-stream: nft-tokens",
        "cspr-relay-action: created",
        &format!("cspr-relay-contract-package: {package}"),
        "cspr-relay-token-id: 119",
        "cspr-relay-sequence: 0000000003e8-0000000000000007",
        "cspr-relay-routes: bucha-city,a%2Cb",
        "cspr-relay-origin: stream",
        "cspr-relay-accepted-at: 2024-02-07T10:21:29.557Z",
        "cspr-relay-attempt: 2",
    ];
    assert_eq!(text.get(..expected.len()).unwrap(), expected);
    assert_eq!(list.len(), expected.len() + 1);
}

#[test]
fn hostile_token_ids_are_encoded_or_left_out() {
    let cases = [
        ("119", Some("119".to_owned())),
        ("a b", Some("a%20b".to_owned())),
        ("100%", Some("100%25".to_owned())),
        ("x\r\nset-cookie: y", Some("x%0D%0Aset-cookie:%20y".to_owned())),
        ("Дім\u{7f}\0", Some("%D0%94%D1%96%D0%BC%7F%00".to_owned())),
        ("!\"~", Some("!\"~".to_owned())),
        ("", None),
        (&"a".repeat(512), Some("a".repeat(512))),
        (&"a".repeat(513), None),
        (&"ä".repeat(100), None),
    ];
    for (token, expected) in cases {
        assert_eq!(value("s", &delivery(token), "cspr-relay-token-id"), expected, "{token:?}");
    }
}

#[test]
fn a_trace_is_the_event_and_a_span_the_attempt() {
    let mut delivery = delivery("1");
    let first = value("a", &delivery, "traceparent").unwrap();
    assert_eq!(first.len(), 55);
    assert!(first.starts_with("00-30313233343536373839616263646566-") && first.ends_with("-01"), "{first}");
    let elsewhere = value("b", &delivery, "traceparent").unwrap();
    delivery.attempt += 1;
    let second = value("a", &delivery, "traceparent").unwrap();
    assert_eq!(first.get(..36), second.get(..36));
    assert!(first != second && first != elsewhere);
}

#[test]
fn only_a_replay_says_so() {
    let mut delivery = delivery("1");
    assert_eq!(value("s", &delivery, "cspr-relay-replay"), None);
    delivery.occasion = Occasion::Replay;
    assert_eq!(value("s", &delivery, "cspr-relay-replay").as_deref(), Some("true"));
}
