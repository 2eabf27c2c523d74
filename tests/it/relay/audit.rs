//! A source that drops events in silence: the connection is up, pings come, and nothing shows but what REST knows.
//!
//! Six hours between two audits are two seconds here, and the ten minutes that are left to the next one are twenty seconds:
//! the emulator tells of blocks eleven seconds after them, as CSPR.cloud does.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::gaps::{running, settled};
use super::owners::metric;
use super::repair::{PACKAGE, by_token, configure, emulate, free_address, tally, told};
use super::{Scene, within};

/// From the start of the relay until everything that happens is audited.
const BEGINS_AFTER: Duration = Duration::from_secs(4);
const BOUND: Duration = Duration::from_secs(90);

/// All rows of a list of the emulator's REST API.
async fn listed(address: &str, what: &str) -> Vec<Value> {
    let (mut rows, http) = (Vec::new(), reqwest::Client::builder().no_proxy().build().unwrap());
    for page in 1.. {
        let url = format!("http://{address}/contract-packages/{PACKAGE}/{what}?page={page}&page_size=250");
        let request = http.get(url).header("authorization", "emulator-key");
        let text = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        rows.extend(answer["data"].as_array().unwrap().clone());
        if page >= answer["page_count"].as_u64().unwrap() {
            break;
        }
    }
    rows
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What may only change by an action.
fn on_chain(token: &Value) -> [Value; 3] {
    ["owner_hash", "is_burned", "onchain_metadata"].map(|key| token[key].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_drops_in_silence_comes_back_and_is_a_gap() {
    let scene = Scene::new();
    let address = free_address();
    let world = ["--seed", "5", "--count", "12000", "--rate", "400"];
    let faults = ["--lose", "0.1", "--rest"];
    let mut emulator = emulate(&scene, &address, &[&world[..], &faults].concat());
    let routes = format!(
        "  named: {{ match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n  \
         named-actions: {{ stream: nft-token-actions, match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n"
    );
    let config = configure(&scene, "data", (&address, &format!("http://{address}")), &routes);
    let quick = "repair: { settle: 500ms, recheck: 2s, audit: 2s }";
    let written = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, written.replace("repair: { settle: 500ms, recheck: 4s }", quick)).unwrap();
    let mut relays = [running(&scene, &config).await];
    let begins = jiff::Timestamp::now() + BEGINS_AFTER;
    within(BOUND, "all is published", || emulator.said().contains("Published all")).await;

    let actions = listed(&address, "nft-token-actions").await;
    let is_late = |action: &&Value| action["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > begins;
    let late: Vec<&Value> = actions.iter().filter(is_late).collect();
    let of = |action: &Value| (text(&action["deploy_hash"]), text(&action["token_id"]));
    let happened: BTreeSet<(String, String)> = late.iter().map(|action| of(action)).collect();
    let changes = late.iter().filter(|action| [1, 2, 4, 5].contains(&action["nft_action_id"].as_u64().unwrap()));
    let changed: BTreeSet<String> = changes.map(|action| text(&action["token_id"])).collect();
    let tokens = listed(&address, "nft-tokens").await;
    let tokens = || tokens.iter().filter(|token| changed.contains(token["token_id"].as_str().unwrap()));
    assert!(happened.len() > 100 && tokens().count() > 50, "the test was one: {} {}", happened.len(), changed.len());
    let untold = || {
        let by_token = by_token(told(&relays, "nft-tokens"));
        let last = |id: &str| by_token.get(id).map(|told| on_chain(&told[told.len() - 1]["message"]["data"]));
        let is_untold = |token: &&Value| last(token["token_id"].as_str().unwrap()) != Some(on_chain(token));
        let actions = told(&relays, "nft-token-actions");
        let told: BTreeSet<(String, String)> = actions.iter().map(|event| of(&event["message"]["data"])).collect();
        let missed = happened.difference(&told).map(|action| format!("{action:?}"));
        missed.chain(tokens().filter(is_untold).map(ToString::to_string)).collect::<Vec<String>>()
    };
    let start = Instant::now();
    while !untold().is_empty() && start.elapsed() < BOUND {
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(untold(), [""; 0], "each token is told in its final state, and each action");

    let repaired = |stream| told(&relays, stream).iter().filter(|event| event["origin"] == "repair").count();
    assert!(repaired("nft-tokens") > 0 && repaired("nft-token-actions") > 0);
    let missed = metric(&relays[0], "cspr_relay_audit_missed_total").await;
    assert!(missed >= 5.0, "{missed}");
    assert_eq!(relays[0].log().matches("connected to the source").count(), 2, "nothing was disconnected");
    let found = settled(&config).await;
    assert!(found.iter().all(|gap| gap["cause"] == "audit" && gap["to"].is_string()), "{found:?}");
    let returned: u64 = found.iter().map(|gap| gap["returned"].as_u64().unwrap()).sum();
    assert_eq!(returned as usize, repaired("nft-tokens") + repaired("nft-token-actions"), "{found:?}");

    let audits = metric(&relays[0], "cspr_relay_audits_total").await;
    let next = async {
        while metric(&relays[0], "cspr_relay_audits_total").await < audits + 2.0 {
            sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(BOUND, next).await.expect("audits go on");
    assert_eq!(metric(&relays[0], "cspr_relay_audit_missed_total").await, missed, "what came back is not missed again");
    relays[0].stop().await;
    let tally = tally(&mut emulator).await;
    assert!(tally["lost"].as_u64().unwrap() > 20, "{tally}");
}
