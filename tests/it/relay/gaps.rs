//! Spans in which nothing was heard, as an operator sees them: after a kill, a lost connection, and a polite stop.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::listener::Listener;
use super::store::Database;
use super::{BINARY, NFT_TOKENS, Process, Scene, Setup, until};

const TOKEN: &str = "the-token-of-the-operator";

async fn command(config: &Path, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(BINARY).args(arguments).arg("--config").arg(config).output().await.unwrap();
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    if output.status.success() { Ok(serde_json::from_str(&said).unwrap()) } else { Err(said.into_owned()) }
}

/// The gaps, newest first, once the relay has seen to all of them.
async fn settled(config: &Path) -> Vec<Value> {
    for _ in 0..600 {
        let listed = command(config, &["gaps", "list", "--json"]).await.unwrap();
        let gaps = listed["gaps"].as_array().unwrap().clone();
        if gaps.iter().all(|gap| gap["state"] != "open") {
            return gaps;
        }
        tokio::time::sleep(super::POLL * 10).await;
    }
    panic!("there are gaps that nobody sees to");
}

/// The gaps, newest first, once all of them have ended.
async fn gaps(config: &Path, count: usize) -> Vec<Value> {
    for _ in 0..300 {
        let listed = command(config, &["gaps", "list", "--json"]).await.unwrap();
        let gaps = listed["gaps"].as_array().unwrap().clone();
        if gaps.len() == count && gaps.iter().all(|gap| gap["to"].is_string()) {
            return gaps;
        }
        tokio::time::sleep(super::POLL * 10).await;
    }
    panic!("there are not {count} gaps that have ended");
}

async fn running(scene: &Scene, config: &Path) -> Process {
    let relay = scene.relay(config);
    relay.logs("connected to the source").await;
    relay.logs("the relay is running").await;
    relay
}

#[tokio::test]
async fn whatever_may_have_been_missed_lies_in_a_gap() {
    let scene = Scene::new();
    let listener = Listener::start().await;
    let address = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let emulate = ["emulate", "--listen", &address, "--stream", "nft-tokens", "--rate", "50", "--ping-every", "1"];
    let play = || scene.spawn("emulator", Command::new(BINARY).args(emulate));
    let mut emulator = play();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = scene.configure(&Setup {
        source: &format!("url: \"ws://{address}\""),
        streams: NFT_TOKENS,
        more: &format!("admin: {{ listen: \"127.0.0.1:{free}\", token: {TOKEN} }}"),
        sinks: &[("sink", listener.url(), "")],
    });
    let mut relay = running(&scene, &config).await;
    until("what was heard is noted", || Database::open(&scene.data()).heard() > 0).await;
    assert_eq!(gaps(&config, 0).await, Vec::<Value>::new(), "a first start has missed nothing");
    relay.kill().await;
    let mut relay = running(&scene, &config).await;
    let killed = gaps(&config, 1).await;
    assert_eq!(killed[0]["cause"], "stopped");
    emulator.kill().await;
    relay.logs("a gap is open").await;
    let _emulator = play();
    let lost = gaps(&config, 2).await;
    assert_eq!((&lost[0]["cause"], &lost[0]["stream"]), (&"disconnected".into(), &"nft-tokens".into()));
    assert!(lost[0]["from"].as_str() > lost[1]["from"].as_str(), "{lost:?}");
    relay.stop().await;
    let mut relay = running(&scene, &config).await;
    let stopped = gaps(&config, 3).await;
    assert_eq!(stopped[0]["cause"], "stopped");
    for gap in settled(&config).await {
        let note = gap["note"].as_str().unwrap();
        assert!(gap["state"] == "unrepairable" && note.starts_with("no route names a package"), "{gap}");
    }
    for number in ["1", "2", "3"] {
        let close = ["gaps", "close", number, "--note", "the team knows", "--json"];
        assert_eq!(command(&config, &close).await.unwrap()["state"], "closed");
    }
    let refused = command(&config, &["gaps", "close", "9", "--note", "?"]).await.unwrap_err();
    assert!(refused.contains("there is no gap 9 that has ended"), "{refused}");
    assert_eq!(command(&config, &["status", "--json"]).await.unwrap()["gaps"]["open"], 0);
    relay.stop().await;
}

const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

/// The tokens of a package as the emulated REST API tells them, by id: what counts of their state.
async fn truth(address: &str) -> BTreeMap<String, Value> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: String| -> Value {
        let url = format!("http://{address}/contract-packages/{PACKAGE}/{path}");
        let answer = http.get(url).header("authorization", "emulator-key").send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    let mut tokens = BTreeMap::new();
    for page in 1.. {
        let listed = get(format!("nft-token-actions?page={page}&page_size=250")).await;
        for action in listed["data"].as_array().unwrap() {
            tokens.insert(action["token_id"].as_str().unwrap().to_owned(), Value::Null);
        }
        if listed["page_count"].as_u64().unwrap() <= page {
            break;
        }
    }
    for (id, state) in &mut tokens {
        *state = what_counts(&get(format!("nft-tokens/{id}")).await["data"]);
    }
    tokens
}

fn what_counts(token: &Value) -> Value {
    let keys = ["owner_hash", "is_burned", "onchain_metadata", "offchain_metadata", "offchain_metadata_status"];
    keys.iter().map(|key| token[key].clone()).collect()
}

/// Of each token: its last delivered state, and whether its creation was delivered.
fn delivered(relays: &[Process]) -> BTreeMap<String, (Value, bool)> {
    let mut tokens: BTreeMap<String, (Value, bool)> = BTreeMap::new();
    for line in relays.iter().map(Process::said).collect::<String>().lines() {
        // A relay that was killed may have left half a line.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let message = &line["message"];
        let entry = tokens.entry(message["data"]["token_id"].as_str().unwrap().to_owned()).or_default();
        *entry = (what_counts(&message["data"]), entry.1 || message["action"] == "created");
    }
    tokens
}

#[tokio::test]
async fn what_happened_in_a_gap_is_delivered_in_its_final_state() {
    let scene = Scene::new();
    let address = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let play =
        ["emulate", "--listen", &address, "--rest", "--now", "--rest-lag", "700", "--rate", "60", "--count", "1500"];
    let faults = ["--unattended", "--ping-every", "1", "--drop", "2s", "--seed", "5"];
    let _emulator = scene.spawn("emulator", Command::new(BINARY).args(play).args(faults));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = scene.path("relay.yaml");
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"ws://{address}\", rest: {{ url: \"http://{address}\", \
         requests_per_minute: 100000, requests_per_day: 1000000 }} }}\nstore: {{ path: \"{}\" }}\n\
         admin: {{ listen: \"127.0.0.1:{free}\", token: {TOKEN} }}\nsinks: {{ console: {{ stdout: {{}} }} }}\n\
         routes: {{ named: {{ match: {{ contract_package: {PACKAGE} }}, sinks: [console] }} }}\n",
        scene.data().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut relays = Vec::new();
    // Killed twice while gaps come and go, the second time most likely in the middle of a repair.
    for seconds in [6, 8] {
        let mut relay = running(&scene, &config).await;
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        relay.kill().await;
        relays.push(relay);
    }
    relays.push(running(&scene, &config).await);
    // All is published after 25 seconds, and then only the connection still comes and goes.
    tokio::time::sleep(std::time::Duration::from_secs(14)).await;
    let truth = truth(&address).await;
    assert!(truth.len() > 30, "{}", truth.len());
    let told = || delivered(&relays);
    let is_whole = || truth.iter().all(|(id, state)| told().get(id).is_some_and(|(last, _)| last == state));
    until("each token was delivered in its final state", is_whole).await;
    let uncreated: Vec<String> = told().into_iter().filter(|(_, (_, created))| !created).map(|(id, _)| id).collect();
    assert_eq!(uncreated, Vec::<String>::new());
    let listed = command(&config, &["gaps", "list", "--json"]).await.unwrap();
    let gaps = listed["gaps"].as_array().unwrap();
    let returned: u64 = gaps.iter().map(|gap| gap["returned"].as_u64().unwrap()).sum();
    assert!(gaps.len() >= 5 && returned > 0, "{returned} events of {} gaps came back", gaps.len());
}
