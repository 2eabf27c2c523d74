//! What may come over the wire and must not bring the relay down: malformed, absurd and oversized messages.

use std::collections::BTreeMap;

use super::listener::Listener;
use super::oracle::Sent;
use super::store::Database;
use super::{NFT_TOKENS, Scene, Setup, message, until};

/// Deeper than any parser's stack.
const DEPTH: usize = 10_000;

/// What has to become of a message.
enum Fate {
    Accepted,
    /// With a reason that begins like this.
    Quarantined(&'static str),
    /// It is no event at all.
    Skipped,
}

fn cases() -> Vec<(String, Fate)> {
    use Fate::{Accepted, Quarantined, Skipped};
    let token = |fields: &str| format!(r#"{{"data":{{{fields}}},"action":"created","extra":null}}"#);
    let nested = |open: &str, close: &str| open.repeat(DEPTH) + &close.repeat(DEPTH);
    let package = r#""contract_package_hash":"ab""#;
    let with = |more: &str| token(&format!("{package},{more}"));
    let cases = [
        (token(&format!(r#"{package},"token_id":"1""#)), Accepted),
        (with(r#""token_id":18446744073709551616000"#), Accepted),
        (with(r#""token_id":1e400"#), Accepted),
        (with(r#""token_id":"2","onchain_metadata":{"price":1e400}"#), Accepted),
        (with(r#""token_id":"3","unheard_of":[1,2,3]"#), Accepted),
        (with(r#""token_id":"\u0000\r\nevil: 1""#), Accepted),
        (with(r#""token_id":"5","onchain_metadata":{"a":1,"a":2}"#), Accepted),
        (with(r#""token_id":"6","tracking_id":"\ud83d\ude80""#), Accepted),
        (with(r#""token_id" :\t "7" "#).replace("\\t", "\t"), Accepted),
        (with(&format!(r#""token_id":"{}""#, "x".repeat(100_000))), Accepted),
        (with(r#""token_id":"\ud800""#), Quarantined("")),
        (
            with(&format!(r#""token_id":"8","onchain_metadata":{}"#, nested("[", "]"))),
            Quarantined("nested deeper than 64 levels"),
        ),
        (with(&format!(r#""token_id":"9","unheard_of":{}"#, nested("[", "]"))), Accepted),
        (nested(r#"{"data":"#, "}"), Quarantined("")),
        (r#"{"data":"#.repeat(DEPTH), Quarantined("")),
        (token(package), Quarantined("missing field `token_id`")),
        (token(r#""token_id":"1""#), Quarantined("missing field `contract_package_hash`")),
        (with(r#""token_id":null"#), Quarantined("data.token_id is neither a text nor a number")),
        (with(r#""token_id":"""#), Quarantined("data.token_id is missing or empty")),
        (with(r#""token_id":"1","owner_type":"account""#), Quarantined("invalid type")),
        (with(r#""token_id":"1","token_id":"2""#), Quarantined("duplicate field")),
        (r#"{"data":null,"action":"created"}"#.to_owned(), Quarantined("invalid type")),
        (r#"{"data":[],"action":"created"}"#.to_owned(), Quarantined("")),
        ("{}".to_owned(), Quarantined("missing field")),
        ("{".to_owned(), Quarantined("EOF")),
        ("[1,2,3]".to_owned(), Skipped),
        ("Pong".to_owned(), Skipped),
        (nested("[", "]"), Skipped),
    ];
    cases.into()
}

#[tokio::test]
async fn no_message_brings_the_relay_down() {
    let scene = Scene::new();
    let cases = cases();
    let mut messages: Vec<String> = cases.iter().map(|(message, _)| message.clone()).collect();
    messages.push(message("last", 1));
    let (mut emulator, url) = scene.emulator(&["--rate", "0", "--replay", &scene.lines(&messages)]).await;
    let sink = Listener::start().await;
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("sink", sink.url(), "")],
    });

    let mut relay = scene.relay(&config);
    until("the last message is delivered", || sink.count(|arrival| &*arrival.token == "last") == 1).await;
    let accepted = cases.iter().filter(|(_, fate)| matches!(fate, Fate::Accepted)).count();
    until("all good ones are delivered", || sink.received() == accepted + 1).await;
    relay.logs("a message is unusable: it was put into quarantine").await;
    relay.stop().await;
    emulator.stop().await;

    let sent = Sent::read(&scene.path("sent.jsonl"));
    let strange = sink.arrivals().iter().filter(|arrival| !sent.has(&arrival.digest)).count();
    assert_eq!(strange, 0, "delivered byte for byte");
    check_reasons(&cases, Database::open(&scene.data()).quarantined());
}

/// Each reason that was expected is there, and no other.
fn check_reasons(cases: &[(String, Fate)], mut found: BTreeMap<String, usize>) {
    let mut expected: Vec<&str> = cases
        .iter()
        .filter_map(|(_, fate)| if let Fate::Quarantined(reason) = fate { Some(*reason) } else { None })
        .collect();
    assert_eq!(found.values().sum::<usize>(), expected.len(), "{found:#?}");
    // The longest first, since an empty one fits everything.
    expected.sort_by_key(|reason| std::cmp::Reverse(reason.len()));
    for reason in expected {
        let fitting = found.iter_mut().find(|(text, count)| **count > 0 && text.starts_with(reason));
        let (_, count) = fitting.unwrap_or_else(|| panic!("no reason begins with {reason:?}"));
        *count -= 1;
    }
}

#[tokio::test]
async fn giant_messages_and_invalid_text_end_a_connection_and_nothing_else() {
    let scene = Scene::new();
    let faults = ["--giant", "0.01", "--invalid-utf8", "0.01", "--garbage", "0.05", "--duplicate", "0.05"];
    let (mut emulator, url) = scene.emulator(&[&["--rate", "100", "--seed", "3"][..], &faults].concat()).await;
    let sink = Listener::start().await;
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\", persistent_session: hostile"),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("sink", sink.url(), "")],
    });

    let mut relay = scene.relay(&config);
    let database = || Database::open(&scene.data());
    until("a giant is in quarantine", || relay.log().contains("connected") && !database().quarantined().is_empty())
        .await;
    relay.logs("UTF-8").await;
    let before = sink.received();
    until("events arrive after the faults", || sink.received() > before + 100).await;
    relay.stop().await;
    emulator.stop().await;
    let ids: std::collections::HashSet<Box<str>> = sink.arrivals().into_iter().map(|arrival| arrival.id).collect();
    assert_eq!(ids.len(), sink.received(), "what the source repeats is delivered once");
}
