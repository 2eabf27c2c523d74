//! What is printed of a store, by the words of the command line.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::config::{BacklogConfig, DeadLettersConfig, DedupConfig, IdentityRule, OnFull, SinkName, StoreConfig};
use crate::event::{Network, Stream, decode};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::store::{Attempt, Candidate, Change, End, Opened, Settings, Settlement, Store, Waiting};

const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
const TOKEN: &str = "11\u{202e}9";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    events: Args,
}

fn open(path: &Path) -> Opened {
    let backlog = BacklogConfig { max_bytes: 1 << 40, on_full: OnFull::Expire };
    let hour = Duration::from_secs(3600);
    let settings = Settings {
        network: Network::Testnet,
        store: StoreConfig { path: path.to_owned(), retention: hour, max_bytes: 1 << 40 },
        dedup: DedupConfig {
            identity: IdentityRule::State,
            window: hour,
            window_without_deploy: hour,
            max_keys: 1_000_000,
        },
        dead_letters: DeadLettersConfig { retention: hour, max_bytes: 1 << 40 },
        sinks: ["crm", "audit", "mail", "log"].map(|name| (SinkName(name.into()), backlog)).into(),
    };
    Store::open(settings, Clock::default(), Metrics::new([]), &Lifecycle::default()).unwrap()
}

fn candidate(store: &Store, deploy: u64) -> Candidate {
    let data = format!(r#"{{"contract_package_hash":"{PACKAGE}","token_id":"{TOKEN}"}}"#);
    let body = format!(r#"{{"data":{data},"action":"created","extra":{{"deploy_hash":"{deploy}"}}}}"#);
    let decoded = decode(Network::Testnet, Stream::NftTokens, body.as_bytes()).unwrap();
    let routes: Arc<[Arc<str>]> = Arc::from([Arc::from("mints")]);
    let target = |name: &str| (store.sink_id(&SinkName(name.into())).unwrap(), Arc::clone(&routes));
    Candidate {
        stream: Stream::NftTokens,
        identity: decoded.identity,
        facts: decoded.facts,
        body: body.into(),
        targets: ["crm", "audit", "mail", "log"].map(target).into(),
        quarantine: None,
        repaired: None,
    }
}

/// A store with three events of a token; the first is delivered to `crm`, dead at `audit`, and waits at `mail`.
pub(in crate::cli) async fn fill(path: &Path) {
    let Opened { store, queues } = open(path);
    let events = (0..3).map(|deploy| candidate(&store, deploy)).collect();
    store.accept(events).await.unwrap();
    let settle = |end| Change::Settle(Settlement { seq: 1, has_waited: true, attempts: 2, body_bytes: 1, end });
    let attempt = || {
        let detail = "\u{1b}[2Jgo away".to_owned();
        Change::Attempt(Attempt { seq: 1, at: Timestamp(0), cause: "server", status: Some(503), detail })
    };
    let waiting = Waiting {
        seq: 1,
        lane: 7,
        body_bytes: 1,
        attempts: 3,
        is_replay: true,
        delay: Duration::ZERO,
        due_at: Timestamp(0),
        blocking_since: None,
    };
    let changes = [
        vec![settle(End::Delivered { status: Some(204) }), attempt()],
        vec![settle(End::Dead { cause: "refused", reason: "told to \u{7}".to_owned() })],
        vec![Change::Wait(waiting)],
    ];
    for ((_, queue), changes) in queues.iter().zip(changes) {
        queue.record_durably(changes).await.unwrap();
    }
    drop(queues);
    store.close().await.unwrap();
}

async fn print(path: &Path, line: &[&str]) -> (u8, String, String) {
    let data = ["--data", path.to_str().unwrap()];
    let line = ["x"].iter().chain(line).chain(&data);
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(Command::try_parse_from(line).unwrap().events, &mut out, &mut errors).await.unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

#[tokio::test]
async fn an_event_is_shown_with_all_that_became_of_it() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let (code, by_number, _) = print(directory.path(), &["show", "1"]).await;
    assert_eq!(code, 0);
    let expected = [
        "contract_package  5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508\n",
        "token_id          11\\u{202e}9\n",
        "sink crm, by route mints\n  delivered ",
        ", 2 attempts, status 204\n    1  1970-01-01T00:00:00.000Z  server     503  \\u{1b}[2Jgo away\n",
        ", 2 attempts; refused: told to \\u{7}\n",
        "sink mail, by route mints\n  waiting until 1970-01-01T00:00:00.000Z, after 3 attempts, a replay\n",
        "sink log, by route mints\n  pending: not attempted yet\n",
        "\"token_id\":\"11\\u202e9\"",
    ];
    for part in expected {
        assert!(by_number.contains(part), "no {part:?} in\n{by_number}");
    }
    let (_, json, _) = print(directory.path(), &["show", "1", "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["token_id"], TOKEN);
    let states: Vec<_> = json["deliveries"].as_array().unwrap().iter().map(|one| one["state"].as_str()).collect();
    assert_eq!(states, [Some("delivered"), Some("dead"), Some("waiting"), Some("pending")]);
    for name in ["id", "wire_sequence"] {
        let (_, by_name, _) = print(directory.path(), &["show", json[name].as_str().unwrap()]).await;
        assert_eq!(by_name, by_number);
    }
}

#[tokio::test]
async fn the_events_of_a_token_are_listed_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let (code, text, _) = print(directory.path(), &["token", &format!("hash-{PACKAGE}"), TOKEN, "--limit", "2"]).await;
    assert_eq!(code, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("       3 ") && lines[1].ends_with("created   4 pending"), "{text}");
    assert!(lines[2].starts_with("       2 "), "{text}");
    assert_eq!(lines[3..], ["… and older ones; --limit shows more of them"]);
    let (_, json, _) = print(directory.path(), &["token", PACKAGE, TOKEN, "--json"]).await;
    let sequence = |line| serde_json::from_str::<Value>(line).unwrap()["sequence"].clone();
    assert_eq!(json.lines().map(sequence).collect::<Vec<_>>(), [3, 2, 1]);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    for line in [&["show", "4"], &["show", "evt_aaaaaaaaaaaaaaaaaaaaaaaaaa"]] {
        let (code, out, errors) = print(directory.path(), line).await;
        assert_eq!((code, out.as_str()), (NOT_FOUND, ""));
        assert!(errors.starts_with("There is no such event"), "{errors}");
    }
    assert_eq!(print(directory.path(), &["token", PACKAGE, "4"]).await.0, NOT_FOUND);
    let empty = tempfile::tempdir().unwrap();
    let args = ["x", "show", "1", "--data", empty.path().to_str().unwrap()];
    let args = Command::try_parse_from(args).unwrap().events;
    let error = format!("{:#}", run(args, &mut Vec::new(), &mut Vec::new()).await.unwrap_err());
    assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
}
