//! Spans in which nothing was heard, as an operator sees them: after a kill, a lost connection, and a polite stop.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::listener::Listener;
use super::store::Database;
use super::{BINARY, NFT_TOKENS, Process, Scene, Setup, until};

pub(super) const TOKEN: &str = "the-token-of-the-operator";

pub(super) async fn command(config: &Path, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(BINARY).args(arguments).arg("--config").arg(config).output().await.unwrap();
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    if output.status.success() { Ok(serde_json::from_str(&said).unwrap()) } else { Err(said.into_owned()) }
}

/// The gaps, newest first, once the relay has seen to all of them.
pub(super) async fn settled(config: &Path) -> Vec<Value> {
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

pub(super) async fn running(scene: &Scene, config: &Path) -> Process {
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
