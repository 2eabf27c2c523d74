//! What is said about events, by the words of the command line.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::config::SinkName;
use crate::event::decode;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::store::{Candidate, Opened, Settings, Store};

const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    explain: Args,
}

fn message(price: &str, deploy: &str) -> String {
    let data = format!(
        r#"{{"contract_package_hash":"{PACKAGE}","token_id":"11\u202e9","onchain_metadata":{{"price":"{price}"}}}}"#
    );
    format!(r#"{{"data":{data},"action":"created","extra":{deploy}}}"#)
}

/// A directory with a configuration whose store is there too.
fn home() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let yaml = format!(
        "source: {{ network: testnet, api_key: '${{NONE:-x}}' }}\n\
         store: {{ path: '{}' }}\n\
         sinks: {{ bus: {{ stdout: }}, hook: {{ stdout: }} }}\n\
         routes:\n\
         \x20 all: {{ match: all, sinks: [bus] }}\n\
         \x20 dear: {{ match: {{ where: {{ /data/onchain_metadata/price: {{ gte: 20 }} }} }}, sinks: [bus, hook] }}\n\
         \x20 either: {{ match: {{ any: [{{ action: updated }}, {{ all: [{{ token_id: 7 }}] }}] }}, sinks: hook }}\n\
         \x20 sent: {{ stream: transfers, match: all, sinks: hook }}\n",
        directory.path().join("data").display()
    );
    std::fs::write(directory.path().join("relay.yaml"), yaml).unwrap();
    directory
}

/// Exit code, output and errors.
fn explain(home: &Path, line: &[&str], input: &str) -> (u8, String, String) {
    let config = home.join("relay.yaml");
    let line = ["explain", "--config", config.to_str().unwrap()].into_iter().chain(line.iter().copied());
    let args = Command::try_parse_from(line).unwrap().explain;
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(&args, &mut input.as_bytes(), &mut out, &mut errors).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

/// Lets a store accept a message.
async fn accept(home: &Path, body: &str) {
    let config = config::load(&home.join("relay.yaml")).unwrap().config;
    let settings = Settings {
        network: config.source.network,
        store: config.store,
        dedup: config.dedup,
        dead_letters: config.dead_letters,
        sinks: config.sinks.iter().map(|(name, sink)| (name.clone(), sink.backlog)).collect(),
    };
    let Opened { store, queues } =
        Store::open(settings, Clock::default(), Metrics::new([]), &Lifecycle::default()).unwrap();
    let decoded = decode(config.source.network, Stream::NftTokens, body.as_bytes()).unwrap();
    let routes: Arc<[Arc<str>]> = Arc::from([Arc::from("all")]);
    let candidate = Candidate {
        stream: Stream::NftTokens,
        identity: decoded.identity,
        facts: decoded.facts,
        body: body.to_owned().into(),
        targets: vec![(store.sink_id(&SinkName("bus".into())).unwrap(), routes)],
        quarantine: None,
        repaired: None,
    };
    store.accept(vec![candidate]).await.unwrap();
    drop(queues);
    tokio::time::timeout(Duration::from_secs(10), store.close()).await.unwrap().unwrap();
}

#[test]
fn each_route_is_told_with_the_condition_that_failed() {
    let home = home();
    let (code, out, errors) = explain(home.path(), &[], &message("19.5", r#"{"deploy_hash":"d1"}"#));
    assert_eq!((code, errors.as_str()), (0, ""));
    let id = decode(
        crate::event::Network::Testnet,
        Stream::NftTokens,
        message("19.5", r#"{"deploy_hash":"d1"}"#).as_bytes(),
    );
    let expected = format!(
        "event id   {}\n\
         duplicate  unknown: there is no store to look it up in\n\
         made of    network           testnet\n\
         \x20          stream            nft-tokens\n\
         \x20          action            created\n\
         \x20          contract_package  {PACKAGE}\n\
         \x20          token_id          11\\u{{202e}}9\n\
         \x20          deploy_hash       d1\n\
         \x20          state             {{\"is_burned\":null,\"offchain_metadata\":null,\"offchain_metadata_status\":null,\
         \"onchain_metadata\":{{\"price\":\"19.5\"}},\"owner_hash\":null,\"owner_type\":null}}\n\
         sink       bus, by all\n\
         \n\
         match      all → bus\n\
         no match   dear\n\
         \x20          match.where./data/onchain_metadata/price.gte: expected a number ≥ 20, found \"19.5\"\n\
         no match   either\n\
         \x20          match.any: expected one of 2 alternatives, found none\n\
         \x20            match.any[0].action: expected \"updated\", found \"created\"\n\
         \x20            match.any[1].all[0].token_id: expected \"7\", found \"11\\u{{202e}}9\"\n\
         1 route is for another stream\n",
        id.unwrap().identity.id
    );
    assert_eq!(out, expected);
}

#[tokio::test]
async fn what_was_accepted_before_is_a_duplicate() {
    let home = home();
    let (first, other) = (message("1", r#"{"deploy_hash":"d1"}"#), message("2", "null"));
    accept(home.path(), &first).await;
    let (code, out, _) = explain(home.path(), &["--format", "json"], &format!("{first}\n{other}\n"));
    assert_eq!(code, 0);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["duplicate"], serde_json::json!({ "known": true, "sequence": 1 }));
    assert_eq!(lines[1]["duplicate"], serde_json::json!({ "known": false }));
    assert_eq!((&lines[0]["has_deploy"], &lines[1]["has_deploy"]), (&true.into(), &false.into()));
    let (_, by_number, _) = explain(home.path(), &["--format", "json", "--event", "1"], "");
    let id = lines[0]["id"].as_str().unwrap();
    let (_, by_id, _) = explain(home.path(), &["--format", "json", "--event", id], "");
    assert_eq!(by_number.trim_end(), out.lines().next().unwrap());
    assert_eq!(by_id, by_number);
    let (code, out, errors) = explain(home.path(), &["--event", "7"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(errors, "event 7: the message is not there, or no longer kept\n");
}

#[tokio::test]
async fn by_the_literal_rule_another_state_of_the_same_deploy_is_a_duplicate() {
    let home = home();
    let deploy = r#"{"deploy_hash":"d1"}"#;
    accept(home.path(), &message("1", deploy)).await;
    let told = || explain(home.path(), &[], &message("2", deploy)).1;
    assert!(told().contains("\nduplicate  no: "));
    let path = home.path().join("relay.yaml");
    let yaml = std::fs::read_to_string(&path).unwrap() + "dedup: { identity: deploy_token }\n";
    std::fs::write(&path, yaml).unwrap();
    assert!(told().contains("\nduplicate  yes, by dedup.identity deploy_token: number 1 is of the same"));
}

#[test]
fn json_says_the_same_and_can_be_narrowed_to_routes() {
    let home = home();
    let (_, out, _) = explain(home.path(), &["--format", "json", "--route", "dear"], &message("20.0", "null"));
    let answer: Value = serde_json::from_str(&out).unwrap();
    let expected = serde_json::json!([{ "name": "dear", "matched": true, "sinks": ["bus", "hook"], "failure": null }]);
    assert_eq!(answer["routes"], expected);
    let expected = serde_json::json!([["bus", ["all", "dear"]], ["hook", ["dear"]]]);
    let sinks = answer["sinks"].as_array().unwrap();
    let sinks: Vec<Value> = sinks.iter().map(|sink| serde_json::json!([sink["name"], sink["routes"]])).collect();
    assert_eq!(Value::from(sinks), expected);
    assert_eq!(answer["identity"]["token_id"], "11\u{202e}9");
    assert!(!out.contains('\u{202e}'));
    let (code, _, errors) = explain(home.path(), &["--route", "deer"], "");
    assert_eq!((code, errors.as_str()), (2, "there is no route `deer`\n"));
}

#[test]
fn a_threshold_of_ownership_is_explained_as_any_other_route() {
    let home = tempfile::tempdir().unwrap();
    let yaml = format!(
        "source: {{ network: testnet, api_key: '${{NONE:-x}}' }}\n\
         sinks: {{ bus: {{ kafka: {{ brokers: ['k:9092'], topic: owners, key: '{{{{ owner }}}}' }}, format: \
         cloudevents }} }}\n\
         routes:\n\
         \x20 whales: {{ stream: nft-token-ownership, match: {{ contract_package: {PACKAGE}, owner_type: contract, where: {{ \
         /data/tokens_number: {{ gte: 100 }}, /extra/previous_tokens_number: {{ lt: 100 }} }} }}, sinks: [bus] }}\n"
    );
    std::fs::write(home.path().join("relay.yaml"), yaml).unwrap();
    let message = |previous: u64| {
        let owner = "66b1b6b393e5aed08be0759d52c484ba2921c844cc0918d5b8bb02849bb833d4";
        format!(
            r#"{{"data":{{"contract_package_hash":"{PACKAGE}","owner_hash":"{owner}","owner_type":1,"tokens_number":100}},"action":"updated","extra":{{"previous_tokens_number":{previous},"revision":"01-07"}}}}"#
        )
    };
    let told = |previous| explain(home.path(), &["--stream", "nft-token-ownership"], &message(previous)).1;
    assert!(told(99).contains("match      whales → bus"), "{}", told(99));
    assert!(told(99).contains("66b1b6b3"), "{}", told(99));
    let failure = "match.where./extra/previous_tokens_number.lt: expected a number < 100, found 100";
    assert!(told(100).contains(failure), "{}", told(100));
}

/// Sinks of every kind, with templates.
const TEMPLATES: &str = r#"
source: { network: testnet, api_key: '${NONE:-x}' }
store: { path: nowhere }
sinks:
  bus:
    kafka:
      { brokers: ['127.0.0.1:1'], topic: 'nft.{{ action }}', headers: { x-to: '{{ owner }}', x-env: prod } }
  keyed: { kafka: { brokers: ['127.0.0.1:1'], topic: nft, key: '{{ route }}/{{ sequence }}' } }
  rabbit:
    amqp: { uri: 'amqp://127.0.0.1', username: relay, password: '${NONE:-x}', exchange: 'nft.{{ action }}', routing_key: '{{ token_id }}' }
  hook: { webhook: { url: 'http://127.0.0.1', headers: { x-token: '{{ token_id }}' } } }
routes:
  first: { match: all, sinks: [bus, keyed, rabbit, hook] }
"#;

#[tokio::test]
async fn templates_are_filled_in_as_the_sinks_do_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let yaml = TEMPLATES.replace("nowhere", data.to_str().unwrap());
    std::fs::write(home.path().join("relay.yaml"), yaml).unwrap();
    let message = message("1", r#"{"deploy_hash":"d1"}"#);
    let (code, out, errors) = explain(home.path(), &[], &message);
    assert_eq!((code, errors.as_str()), (0, ""));
    let expected = format!(
        "sink       bus, by first\n\
         \x20          topic: nft.created\n\
         \x20          key: {PACKAGE}:11\\u{{202e}}9\n\
         \x20          headers.x-to: rejected, the event has no `owner`, which a template of this sink names\n\
         sink       keyed, by first\n\
         \x20          topic: nft\n\
         \x20          key: first/000000000000-0000000000000000\n\
         sink       rabbit, by first\n\
         \x20          exchange: nft.created\n\
         \x20          routing_key: 11\\u{{202e}}9\n\
         sink       hook, by first\n\
         \x20          headers.x-token: 11%E2%80%AE9\n"
    );
    assert!(out.contains(&expected), "{out}");
    accept(home.path(), &message).await;
    let (_, out, _) = explain(home.path(), &["--format", "json"], &message);
    let sinks = &serde_json::from_str::<Value>(&out).unwrap()["sinks"];
    assert_eq!(sinks[0]["rejected"].as_object().unwrap().keys().collect::<Vec<_>>(), ["headers.x-to"]);
    let key = sinks[1]["rendered"]["key"].as_str().unwrap();
    assert!(
        key.starts_with("first/0") && key.ends_with("-0000000000000001") && !key.contains("/000000000000-"),
        "{key}"
    );
}

#[test]
fn files_may_hold_many_messages_in_any_layout() {
    let home = home();
    let pretty: Value = serde_json::from_str(&message("1", "null")).unwrap();
    let path = home.path().join("events.json");
    let text = format!("{}\n{}", serde_json::to_string_pretty(&pretty).unwrap(), message("2", "null"));
    std::fs::write(&path, text).unwrap();
    let (code, out, _) = explain(home.path(), &["--format", "json", path.to_str().unwrap()], "");
    assert_eq!((code, out.lines().count()), (0, 2));
    let (code, out, errors) = explain(home.path(), &[], "{\"data\":{}}");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.starts_with("standard input, message 1: unusable, the relay would"), "{errors}");
    let (code, _, errors) = explain(home.path(), &[], "");
    assert_eq!((code, errors.as_str()), (1, "there was no message to explain\n"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let home = home();
    let config = home.path().join("relay.yaml");
    let fails = |line: &[&str], input: &str| {
        let line = ["explain", "--config", config.to_str().unwrap()].into_iter().chain(line.iter().copied());
        let args = Command::try_parse_from(line).unwrap().explain;
        format!("{:#}", run(&args, &mut input.as_bytes(), &mut Vec::new(), &mut Vec::new()).unwrap_err())
    };
    assert!(fails(&["nowhere.json"], "").starts_with("reading nowhere.json: "));
    assert!(fails(&[], "{} [").starts_with("standard input: message 2 is not JSON: "));
    assert!(fails(&["--event", "1"], "").starts_with("looking for events in "));
    std::fs::write(home.path().join("data"), "no directory").unwrap();
    let (code, _, errors) = explain(home.path(), &[], &message("1", "null"));
    assert_eq!(code, 0);
    assert!(errors.starts_with("whether events are known is not looked up: "), "{errors}");
    std::fs::write(&config, "source: 1").unwrap();
    assert_eq!(explain(home.path(), &[], "").0, 2);
}
