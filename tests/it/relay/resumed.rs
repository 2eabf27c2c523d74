//! A repair that is killed, and one beside a backfill of the same tokens: whatever comes between, each token is told in
//! its final state, no state twice, and none that is older than what was told.

use std::time::Duration;

use super::missed::{Play, WORLD};
use super::repair::{states, told};
use super::{Scene, leave_out};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_killed_goes_on_where_it_was() {
    if !cfg!(feature = "failpoints") {
        return leave_out("kills inside a repair: build with --features failpoints, as scripts/test does");
    }
    let states = states(&Scene::new(), &WORLD).await;
    let mut play = Play::with_gap(1_000_000).await;
    // After the walk, after the first and the third accepted token, and when all is accepted but nothing noted.
    for point in ["repair-walked", "repair-accepted", "repair-accepted=2*off->return", "repair-settles"] {
        play.dies_at(&if point.contains('=') { point.to_owned() } else { format!("{point}=return") }).await;
    }
    play.run().await;
    play.is_repaired(&states).await;
    play.relays.last_mut().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_and_a_backfill_of_the_same_tokens_tell_each_state_once() {
    let states = states(&Scene::new(), &WORLD).await;
    let mut play = Play::with_gap(1_000_000).await;
    play.gate.slow(Duration::from_secs(3));
    play.run().await;
    play.order_backfill().await;
    play.relays[1].kill().await;
    play.gate.open();
    if cfg!(feature = "failpoints") {
        play.dies_at("backfill-accepted=return").await;
    }
    play.run().await;
    for _ in 0..8 {
        let job = play.job("the backfill ends", |job| job["state"] != "running").await;
        assert_eq!(job["state"], "done", "{job}");
        play.order_backfill().await;
    }
    play.job("the last backfill ends", |job| job["state"] == "done").await;
    play.is_repaired(&states).await;
    let events = told(&play.relays, "nft-tokens");
    assert!(events.iter().any(|event| event["origin"] == "backfill"), "the test was one");
    play.relays.last_mut().unwrap().stop().await;
}
