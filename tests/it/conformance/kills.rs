//! Killed again and again in the middle of everything: nothing is lost, and what comes twice was under way at a kill.
//!
//! `SINK_KILLS` in the environment says how often, at 2,000 events a second; `make kill-test` has it be 20. Without it
//! the test is short and its pace gentle, since it runs beside others.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Destination;
use super::judge::Allowed;
use super::trial::Trial;
use crate::relay::Process;
use crate::relay::oracle::REPEATS_PER_KILL_MAX;

/// How much of it; a busy machine may not hold the pace, so what was accepted a second is printed.
struct Size {
    kills: usize,
    rate: &'static str,
}

const SHORT: Size = Size { kills: 3, rate: "500" };
const LONG_RATE: &str = "2000";
/// Attempts at once: enough for the pace with a broker that takes its time.
const UNDER_WAY: usize = 64;

fn size() -> Size {
    let Some(kills) = std::env::var_os("SINK_KILLS") else { return SHORT };
    Size { kills: kills.to_str().unwrap().parse().unwrap(), rate: LONG_RATE }
}

/// With a persistent session that outlives a relay, and with events also while none is connected.
async fn trial<D: Destination>(name: &str, size: &Size) -> Option<Trial<D>> {
    let traffic = ["--rate", size.rate, "--unattended", "--history", "200000"];
    Trial::with_concurrency(name, &traffic, UNDER_WAY).await
}

pub(super) async fn kills_of_the_destination_lose_nothing<D: Destination>(name: &str) {
    let size = size();
    let Some(mut trial) = trial::<D>(name, &size).await else { return };
    let (mut began, mut random) = (Instant::now(), fastrand::Rng::with_seed(5));
    let relay = trial.quiet_relay().await;
    trial.taking().await;
    for _ in 0..size.kills {
        sleep(Duration::from_millis(random.u64(500..2_000))).await;
        trial.destination.kill().await;
        sleep(Duration::from_millis(random.u64(200..1_000))).await;
        // A broker takes long to start; the events of that time would be most of all, and show nothing more.
        trial.hold().await;
        let held = Instant::now();
        trial.destination.restart().await;
        // What came during the kill is taken, and the next kill finds it in the midst of its work again.
        trial.caught_up().await;
        began += held.elapsed();
        trial.go_on().await;
    }
    sleep(Duration::from_secs(1)).await;
    // What was under way at the kill, and single probes until the destination was back.
    let allowed = Allowed { repeats: size.kills * 2 * UNDER_WAY, dead: 0 };
    conclude(trial, relay, began, &allowed).await;
}

pub(super) async fn kills_of_the_relay_lose_nothing<D: Destination>(name: &str) {
    let size = size();
    let Some(trial) = trial::<D>(name, &size).await else { return };
    let (began, mut random) = (Instant::now(), fastrand::Rng::with_seed(7));
    for _ in 0..size.kills {
        let mut relay = trial.quiet_relay().await;
        relay.logs("connected to the source").await;
        sleep(Duration::from_millis(random.u64(500..2_000))).await;
        relay.kill().await;
    }
    let relay = trial.quiet_relay().await;
    relay.logs("connected to the source").await;
    sleep(Duration::from_secs(1)).await;
    // What was under way, and what was confirmed but not yet recorded.
    let allowed = Allowed { repeats: size.kills * REPEATS_PER_KILL_MAX, dead: 0 };
    conclude(trial, relay, began, &allowed).await;
}

#[expect(clippy::print_stdout, reason = "the figures are what a long run is for")]
async fn conclude<D: Destination>(mut trial: Trial<D>, mut relay: Process, began: Instant, allowed: &Allowed) {
    // The relay first: it reads what is still under way to it, so that the emulator records all that it has sent.
    relay.stop().await;
    trial.silence().await;
    let accepted = trial.database().newest();
    let rate = accepted as f64 / began.elapsed().as_secs_f64();
    assert!(accepted > 500, "the test was one: {accepted}");
    let relay = trial.quiet_relay().await;
    trial.settle().await;
    let repeats = trial.conclude(relay, allowed).await;
    let receipts = trial.destination.received().await;
    let ours: BTreeSet<String> = receipts.iter().map(|receipt| receipt.id.clone()).collect();
    let theirs = trial.destination.ids_read_by_another_client(ours.len()).await;
    if let Some(theirs) = &theirs {
        assert!(theirs.iter().all(|id| ours.contains(id)), "another client reads other ids");
    }
    println!(
        "{accepted} accepted, {rate:.0} a second, 0 lost, {repeats} repeats; another client read {:?}",
        theirs.map(|ids| ids.len())
    );
}
