//! A gap, and a backfill, beside a REST API that refuses, hangs or may not be asked any more: the live events do not
//! notice, an operator sees what they wait for, and all of it is done as soon as there are answers.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Scene;
use super::gaps::command;
use super::gate::{Gate, Refusal};
use super::missed::{Play, WORLD};
use super::repair::{States, states};

/// What `status` says of the requests to the REST API.
async fn rest(config: &Path) -> Value {
    let shown = command(config, &["status", "--json"]).await.unwrap();
    assert!(shown["gaps"]["open"].is_u64(), "{shown}");
    shown["rest"].clone()
}

/// A REST API that is made sick so, and what an operator then reads.
async fn is_survived(states: &States, says: &str, sicken: impl FnOnce(&Gate)) {
    let mut play = Play::with_gap(1_000_000).await;
    sicken(&play.gate);
    play.run().await;
    let gap = play.open_gap(says).await;
    assert!(!gap.to_string().contains("emulator-key"), "{gap}");
    let shown = rest(&play.config).await;
    assert!(shown["trouble"].as_str().is_some_and(|trouble| trouble.contains(says)), "{says}: {shown}");
    play.order_backfill().await;
    play.job("it says why it waits", |job| job["trouble"].as_str().is_some_and(|why| why.contains(says))).await;
    play.live_events_flow().await;
    assert_eq!(play.open_gap(says).await["returned"], 0, "nothing was repaired meanwhile");
    play.gate.open();
    let job = play.job("the backfill ends", |job| job["state"] != "running").await;
    assert_eq!((&job["state"], &job["trouble"]), (&"done".into(), &Value::Null), "{job}");
    play.is_repaired(states).await;
    assert_eq!(rest(&play.config).await["trouble"], Value::Null);
    play.relays[1].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_waits_for_a_sick_rest_api_and_the_live_events_do_not() {
    let states = states(&Scene::new(), &WORLD).await;
    let throttled = Refusal { status: 429, retry_after: Some(1) };
    tokio::join!(
        is_survived(&states, "refused the key (HTTP 401)", |gate| gate.shut(401)),
        is_survived(&states, "it wants fewer requests (HTTP 429)", |gate| gate.refuse(throttled)),
        is_survived(&states, "the server answered HTTP 502", |gate| gate.shut(502)),
        is_survived(&states, "is slow: no answer within 5 s", |gate| gate.slow(Duration::from_secs(20))),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_waits_when_the_requests_of_a_day_are_spent() {
    let states = states(&Scene::new(), &WORLD).await;
    let mut play = Play::with_gap(1).await;
    play.run().await;
    play.open_gap("source.rest allows no more requests for now; it is asked again at ").await;
    let shown = rest(&play.config).await;
    assert!(shown["waiting_until"].is_string() && shown["day_requests"] == 1, "{shown}");
    play.live_events_flow().await;
    assert_eq!(play.gate.asked(), 1, "the budget holds");
    let text = std::fs::read_to_string(&play.config).unwrap();
    std::fs::write(&play.config, text.replace("requests_per_day: 1 ", "requests_per_day: 1000000 ")).unwrap();
    play.relays[1].stop().await;
    play.run().await;
    play.is_repaired(&states).await;
    let spent = rest(&play.config).await["day_requests"].as_u64().unwrap();
    assert_eq!(spent, play.gate.asked() as u64, "what was spent before the restart is not forgotten");
    play.relays[2].stop().await;
}
