//! A persistent session is recognised by what it brings: a gap that it has filled closes by itself, with that reason.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::gaps::running;
use super::repair::{PACKAGE, configure, emulate, free_address, gaps};
use super::store::Database;
use super::{DEADLINE, Scene, until};

const WORLD: [&str; 5] = ["--seed", "7", "--rate", "60", "--unattended"];

/// The gap of each stream after a relay with a session was away for a while, once it was looked at.
async fn looked_at(sessions: &str) -> Vec<Value> {
    let scene = Scene::new();
    let address = free_address();
    let emulator = emulate(&scene, &address, &[&WORLD[..], &["--rest", "--sessions", sessions]].concat());
    let routes = format!(
        "  named: {{ match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n  \
         everything: {{ match: all, sinks: [console] }}\n  \
         named-actions: {{ stream: nft-token-actions, match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n  \
         all-actions: {{ stream: nft-token-actions, match: all, sinks: [console] }}\n"
    );
    let config = configure(&scene, "data", (&address, &format!("http://{address}")), &routes);
    let text = std::fs::read_to_string(&config).unwrap();
    let key = "api_key: emulator-key,";
    std::fs::write(&config, text.replace(key, &format!("{key} persistent_session: mine,"))).unwrap();
    let mut relay = running(&scene, &config).await;
    until("what was heard is noted", || Database::open(&scene.data()).heard() > 1).await;
    relay.stop().await;
    sleep(Duration::from_secs(8)).await;
    let mut relay = running(&scene, &config).await;
    let start = Instant::now();
    loop {
        let found = gaps(&config).await;
        if found.len() == 2 && found.iter().all(|gap| gap["state"] != "open") {
            relay.stop().await;
            drop(emulator);
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "nobody looks at the gaps: {found:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_closes_by_itself_if_the_session_has_brought_all_of_it() {
    let (brought, ignored) = tokio::join!(looked_at("replay"), looked_at("ignore"));
    for gap in brought {
        let note = gap["note"].as_str().unwrap();
        assert!(note.starts_with("the persistent session brought ") && note.contains("nothing was missing"), "{gap}");
        assert_eq!((&gap["state"], &gap["returned"]), (&"repaired".into(), &0.into()), "{gap}");
    }
    for gap in ignored {
        assert!(gap["state"] == "partial" && gap["returned"].as_u64() > Some(0), "{gap}");
        assert!(gap["note"].as_str().unwrap().contains("nothing says whom to ask about"), "{gap}");
    }
}
