//! What is on the wire: headers, body, signatures.

use super::server::{Seen, Server, answer};
use super::*;

const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The request that a sink makes of a delivery.
async fn request(change: impl FnOnce(&mut WebhookConfig), delivery: &Delivery) -> Seen {
    let server = Server::start(&[answer(204, "", "")]).await;
    let mut config = config(&server.url());
    change(&mut config);
    assert_eq!(webhook(config).deliver(delivery).await, Outcome::Delivered { status: Some(204) });
    server.last()
}

fn with(change: impl FnOnce(&mut Facts)) -> Delivery {
    let mut delivery = delivery_of("{}");
    change(&mut Arc::get_mut(&mut delivery.event).unwrap().facts);
    delivery
}

fn verifies(secret: &str, seen: &Seen) -> bool {
    standardwebhooks::Webhook::new(secret).unwrap().verify(&seen.body, &seen.headers).is_ok()
}

#[tokio::test]
async fn the_wire_carries_the_whole_contract_and_the_exact_bytes() {
    let body = "{ \"data\":\t{\"price\":1.50},\r\n\"action\":\"updated\"}";
    let own = vec![("X-Env".into(), Secret::literal("prod"))];
    let mut seen = request(|config| config.headers = own, &delivery_of(body)).await;
    assert_eq!(seen.line, "POST /hook HTTP/1.1");
    assert_eq!(seen.body, body.as_bytes());
    seen.headers.remove("host").unwrap();
    let trace = seen.headers.remove("traceparent").unwrap();
    assert!(trace.to_str().unwrap().starts_with("00-07070707070707070707070707070707-"), "{trace:?}");
    let stamp: u64 = seen.headers.remove("webhook-timestamp").unwrap().to_str().unwrap().parse().unwrap();
    assert!(Clock::default().now().unix_seconds().abs_diff(stamp) < 60);
    let mut found: Vec<String> =
        seen.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    found.sort();
    let expected = [
        "accept: */*".to_owned(),
        format!("content-length: {}", body.len()),
        "content-type: application/json".to_owned(),
        "cspr-relay-accepted-at: 2024-02-07T10:21:29.557Z".to_owned(),
        "cspr-relay-action: updated".to_owned(),
        "cspr-relay-attempt: 1".to_owned(),
        format!("cspr-relay-contract-package: {}", "ab".repeat(32)),
        format!("cspr-relay-deploy-hash: {}", "cd".repeat(32)),
        "cspr-relay-network: testnet".to_owned(),
        "cspr-relay-origin: stream".to_owned(),
        format!("cspr-relay-owner: {}", "ef".repeat(32)),
        "cspr-relay-routes: bucha-city,whales".to_owned(),
        "cspr-relay-sequence: 00000000018d-000000000000002a".to_owned(),
        "cspr-relay-stream: nft-tokens".to_owned(),
        "cspr-relay-token-id: 1%209".to_owned(),
        concat!("user-agent: cspr-relay/", env!("CARGO_PKG_VERSION")).to_owned(),
        format!("webhook-id: {}", EventId([7; 16])),
        "x-env: prod".to_owned(),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_the_chain_says_cannot_break_out_of_its_header() {
    let (longest, too_long) = ("9".repeat(512), "9".repeat(513));
    let cases = [
        ("x\r\nwebhook-id: forged", Some("x%0D%0Awebhook-id:%20forged")),
        ("a\0b\u{7f}", Some("a%00b%7F")),
        ("100%41", Some("100%2541")),
        ("дім", Some("%D0%B4%D1%96%D0%BC")),
        ("", Some("")),
        (&*longest, Some(&*longest)),
        (&*too_long, None),
    ];
    for (token, expected) in cases {
        let seen = request(|_| (), &with(|facts| facts.token_id = Some(token.into()))).await;
        let found = seen.headers.get("cspr-relay-token-id").map(|value| value.to_str().unwrap());
        assert_eq!(found, expected, "{token:?}");
        assert_eq!(seen.headers.get_all("webhook-id").iter().count(), 1);
    }
}

#[tokio::test]
async fn what_a_message_lacks_has_no_header() {
    let nothing = |facts: &mut Facts| *facts = Facts { action: "emitted".into(), ..Facts::default() };
    let seen = request(|_| (), &with(nothing)).await;
    for name in ["contract-package", "token-id", "owner", "deploy-hash", "replay"] {
        assert!(!seen.headers.contains_key(format!("cspr-relay-{name}")), "{name}");
    }
    assert_eq!(seen.headers["cspr-relay-action"], "emitted");
    assert!(!seen.headers.contains_key("webhook-signature"), "there is no secret");
}

#[tokio::test]
async fn later_attempts_keep_id_and_trace_and_say_what_they_are() {
    let mut delivery = delivery_of("{}");
    let first = request(|_| (), &delivery).await.headers;
    (delivery.attempt, delivery.is_replay) = (3, true);
    let later = request(|_| (), &delivery).await.headers;
    assert_eq!(first["webhook-id"], later["webhook-id"]);
    assert_eq!(
        (&first["cspr-relay-attempt"], &later["cspr-relay-attempt"]),
        (&"1".parse().unwrap(), &"3".parse().unwrap())
    );
    assert_eq!((first.get("cspr-relay-replay"), &later["cspr-relay-replay"]), (None, &"true".parse().unwrap()));
    let trace = |headers: &HeaderMap| {
        headers["traceparent"].to_str().unwrap().split('-').map(str::to_owned).collect::<Vec<_>>()
    };
    let (first, later) = (trace(&first), trace(&later));
    assert_eq!(first.iter().map(String::len).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert_eq!(first[1], later[1], "the trace is the event's");
    assert_ne!(first[2], later[2], "the span is the attempt's");
}

#[tokio::test]
async fn own_headers_never_take_the_place_of_ours() {
    let names = ["Content-Type", "Webhook-Id", "webhook-timestamp", "CSPR-Relay-Stream", "traceparent", "X-Mine"];
    let own = names.map(|name| (name.to_owned(), Secret::literal("mine")));
    let seen = request(|config| config.headers = own.to_vec(), &delivery_of("{}")).await;
    for name in names {
        let values: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}");
        assert_eq!(values[0] == "mine", name == "X-Mine", "{name}");
    }
}

#[tokio::test]
async fn every_secret_signs_and_an_independent_library_agrees() {
    let body = r#"{"data":{"name":"Смарагд"},"action":"updated"}"#;
    let cases: [(&[&str], [bool; 2]); 3] =
        [(&[OLD], [true, false]), (&[NEW], [false, true]), (&[NEW, OLD], [true, true])];
    for (secrets, expected) in cases {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::literal(*text)).collect();
        let count = secrets.len();
        let seen = request(|config| config.secrets = secrets, &delivery_of(body)).await;
        assert_eq!([verifies(OLD, &seen), verifies(NEW, &seen)], expected);
        assert_eq!(seen.headers["webhook-signature"].to_str().unwrap().split(' ').count(), count);
        let mut forged = seen;
        forged.body.push(b' ');
        assert!(!verifies(OLD, &forged) && !verifies(NEW, &forged));
    }
}

#[tokio::test]
async fn a_secret_that_changes_in_its_file_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[answer(200, "", "")]).await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, OLD).unwrap();
    let file = folder.path().join("relay.yaml");
    let text = format!(
        "source: {{ network: testnet, api_key: key }}\n\
         sinks: {{ market: {{ webhook: {{ url: '{}', secrets: ['${{file:{}}}'] }} }} }}\n\
         routes: {{ all: {{ match: all, sinks: market }} }}\n",
        server.url(),
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    let loaded = crate::config::load(&file).unwrap().config;
    let (name, sink) = loaded.sinks.iter().next().unwrap();
    let sink = crate::sink::build(name, sink, &loaded.egress, &Clock::default()).unwrap();
    let delivery = delivery_of("{}");
    assert!(is_delivered(&sink.deliver(&delivery).await));
    assert!(verifies(OLD, &server.last()));

    std::fs::write(&secret, NEW).unwrap();
    while !verifies(NEW, &server.last()) {
        assert!(is_delivered(&sink.deliver(&delivery).await));
        assert!(verifies(OLD, &server.last()) != verifies(NEW, &server.last()), "one or the other, never neither");
    }

    std::fs::write(&secret, "whsec_hunter2!").unwrap();
    let detail = loop {
        match sink.deliver(&delivery).await {
            Outcome::Delivered { .. } => {}
            other => break retried(other).detail,
        }
    };
    assert!(detail.contains("secret") && detail.contains("base64"), "{detail}");
    assert!(!detail.contains("hunter2"), "{detail}");
}

#[tokio::test]
async fn a_header_whose_value_has_become_illegal_is_named_but_not_shown() {
    let server = Server::start(&[answer(200, "", "")]).await;
    let mut config = config(&server.url());
    config.headers = vec![("X-Token".into(), Secret::literal("hunter2\r\nx: y"))];
    let failure = retried(deliver(&webhook(config)).await);
    assert_eq!(failure.cause, Cause::Invalid);
    assert_eq!(failure.detail, "the value of header X-Token is illegal");
    assert!(server.seen().is_empty());
}
