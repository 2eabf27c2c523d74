//! What was missed comes back: many disconnects, some of them by `kill -9`, beside a REST API that lags and refuses.
//!
//! One to 120 seconds of a real outage are 10 ms to 1.2 s here, and REST's lag and the pauses for it shrink alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::gaps::{TOKEN, command, running};
use super::{BINARY, Process, Scene, until, within};

pub(super) const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
const WORLD: [&str; 4] = ["--seed", "5", "--count", "2400"];

/// The states of each token, oldest first.
pub(super) type States = BTreeMap<String, Vec<Value>>;

pub(super) fn free_address() -> String {
    format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
}

pub(super) fn emulate(scene: &Scene, address: &str, more: &[&str]) -> Process {
    let base = ["emulate", "--listen", address, "--now", "--ping-every", "1"];
    scene.spawn("emulator", Command::new(BINARY).args(base).args(more))
}

/// A relay's configuration beside that emulator and its REST API, with these routes to its standard output.
pub(super) fn configure(scene: &Scene, name: &str, (address, rest): (&str, &str), routes: &str) -> PathBuf {
    let config = scene.path(&format!("{name}.yaml"));
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"ws://{address}\", rest: {{ url: \"{rest}\", \
         requests_per_minute: 100000, requests_per_day: 1000000 }} }}\nstore: {{ path: \"{}\" }}\n\
         repair: {{ settle: 500ms, recheck: 4s }}\n\
         admin: {{ listen: \"{}\", token: {TOKEN} }}\nsinks: {{ console: {{ stdout: {{}} }} }}\nroutes:\n{routes}",
        scene.path(name).display(),
        free_address(),
    );
    std::fs::write(&config, text).unwrap();
    config
}

pub(super) fn what_counts(token: &Value) -> Value {
    let keys = ["owner_hash", "is_burned", "onchain_metadata", "offchain_metadata", "offchain_metadata_status"];
    keys.iter().map(|key| token[key].clone()).collect()
}

/// What a stream told of the package, each event once, in the order of their numbers.
pub(super) fn told(relays: &[Process], stream: &str) -> Vec<Value> {
    let said: String = relays.iter().map(Process::said).collect();
    // A relay that was killed may have left half a line.
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = lines.filter(|line| line["stream"] == stream && line["contract_package"] == PACKAGE);
    let events: BTreeMap<String, Value> =
        ours.map(|line| (line["sequence"].as_str().unwrap().to_owned(), line)).collect();
    events.into_values().collect()
}

pub(super) fn by_token(events: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut tokens: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events {
        tokens.entry(event["token_id"].as_str().unwrap().to_owned()).or_default().push(event);
    }
    tokens
}

/// All that a stream tells of the world, as a relay hears it that misses nothing.
async fn history(scene: &Scene, world: &[&str], stream: &str) -> Vec<Value> {
    let address = free_address();
    let mut emulator = emulate(scene, &address, &[world, &["--rate", "0"]].concat());
    let routes = format!("  all: {{ stream: {stream}, match: all, sinks: [console] }}\n");
    let config = configure(scene, stream, (&address, &format!("http://{address}")), &routes);
    let mut relay = vec![running(scene, &config).await];
    until("all is published", || emulator.said().contains("Published all")).await;
    let sent = tally(&mut emulator).await["sent"].as_u64().unwrap();
    until("the witness has told all", || relay[0].said().lines().count() as u64 == sent).await;
    relay[0].stop().await;
    told(&relay, stream)
}

/// What each token of that world was, from its first state to its last.
pub(super) async fn states(scene: &Scene, world: &[&str]) -> States {
    let states = |events: Vec<Value>| events.iter().map(|event| what_counts(&event["message"]["data"])).collect();
    let tokens = by_token(history(scene, world, "nft-tokens").await);
    tokens.into_iter().map(|(id, events)| (id, states(events))).collect()
}

/// Whether the last that was told of each token is what it is.
pub(super) fn is_final(told: Vec<Value>, states: &States) -> bool {
    let tokens = by_token(told);
    let last = |id| tokens.get(id).map(|events| what_counts(&events[events.len() - 1]["message"]["data"]));
    states.iter().all(|(id, states)| last(id).as_ref() == states.last())
}

/// Ends an emulator and takes its word.
pub(super) async fn tally(emulator: &mut Process) -> Value {
    emulator.terminate().await;
    emulator.ended().await;
    serde_json::from_str(emulator.said().lines().last().unwrap()).unwrap()
}

fn action(event: &Value) -> String {
    let data = &event["message"]["data"];
    ["deploy_hash", "token_id", "nft_action_id", "from_hash", "to_hash"]
        .iter()
        .map(|key| data[key].to_string())
        .collect()
}

/// What is told of a token comes in the order in which it happened, `created` included, and nothing of it twice.
pub(super) fn check_token(id: &str, events: &[Value], states: &[Value]) {
    let (mut at, mut last) = (0, (Value::Null, Value::Null));
    for event in events {
        let (state, deploy) = (what_counts(&event["message"]["data"]), event["deploy_hash"].clone());
        // By another deploy it is another event, though it may have come back to the same state.
        let is_backfill = event["origin"] == "backfill";
        let is_same = state == last.0 && (deploy == last.1 || last.1.is_null() || is_backfill);
        let is_again = event["origin"] != "stream" && event["action"] != "created" && is_same;
        assert!(!is_again, "{id}: what had arrived came back: {event}");
        let ahead = states[at..].iter().position(|known| *known == state);
        at += ahead.unwrap_or_else(|| panic!("{id}: back to an older state: {event}"));
        last = (state, deploy);
    }
    assert!(events.iter().any(|event| event["action"] == "created"), "{id}: nobody was told of its mint");
}

pub(super) async fn gaps(config: &Path) -> Vec<Value> {
    let listed = command(config, &["gaps", "list", "--json"]).await.unwrap();
    listed["gaps"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_in_fifty_disconnects_is_told_in_its_final_state() {
    let scene = Scene::new();
    let tokens = states(&scene, &WORLD).await;
    let actions: BTreeSet<String> = history(&scene, &WORLD, "nft-token-actions").await.iter().map(action).collect();
    let address = free_address();
    let faults =
        ["--rate", "50", "--unattended", "--drop", "0.03", "--rest", "--rest-lag", "1500", "--refuse", "0.005"];
    let mut emulator = emulate(&scene, &address, &[&WORLD[..], &faults].concat());
    let routes = format!(
        "  named: {{ match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n  \
         named-actions: {{ stream: nft-token-actions, match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n  \
         everything: {{ match: all, sinks: [console] }}\n"
    );
    let config = configure(&scene, "data", (&address, &format!("http://{address}")), &routes);
    let (mut relays, mut random, began) = (Vec::new(), fastrand::Rng::with_seed(5), Instant::now());
    // All is published after 48 seconds.
    while began.elapsed() < Duration::from_secs(48) {
        let mut relay = running(&scene, &config).await;
        sleep(Duration::from_millis(random.u64(700..1500))).await;
        if random.bool() {
            relay.kill().await
        } else {
            relay.stop().await
        }
        relays.push(relay);
        sleep(Duration::from_millis(random.u64(10..1200))).await;
    }
    relays.push(running(&scene, &config).await);
    let is_told = || {
        is_final(told(&relays, "nft-tokens"), &tokens)
            && told(&relays, "nft-token-actions").iter().map(action).collect::<BTreeSet<_>>() == actions
    };
    within(Duration::from_secs(60), "each token was told in its final state, and each action", is_told).await;
    for (id, events) in by_token(told(&relays, "nft-tokens")) {
        check_token(&id, &events, &tokens[&id]);
    }
    let told_actions = told(&relays, "nft-token-actions");
    assert_eq!(told_actions.len(), actions.len(), "an action was told twice");
    assert!(told_actions.iter().any(|event| event["origin"] == "repair"));
    for gap in gaps(&config).await.iter().filter(|gap| gap["state"] != "open" && gap["stream"] == "nft-tokens") {
        let note = gap["note"].as_str().unwrap();
        assert!(gap["state"] == "partial" && note.contains("nothing says whom to ask about for everything"), "{gap}");
    }
    relays.pop().unwrap().stop().await;
    let tally = tally(&mut emulator).await;
    assert!(tally["connections"].as_u64().unwrap() >= 50, "{tally}");
}
