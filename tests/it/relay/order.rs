//! Order within a lane, across retries and restarts, and sinks that do not disturb each other.

use std::collections::HashSet;
use std::time::Duration;

use super::listener::{Arrival, Listener};
use super::oracle::{Sent, check_sink, owed};
use super::store::Database;
use super::{NFT_TOKENS, Scene, Setup, message, until};

const RETRY_DELAY: Duration = Duration::from_secs(3);

/// The numbers of a token's events in the order of their first receipt: a crash may repeat what was just received.
fn order(listener: &Listener, token: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for arrival in listener.arrivals() {
        if &*arrival.token == token && arrival.is_received() && !numbers.contains(&arrival.number) {
            numbers.push(arrival.number);
        }
    }
    numbers
}

#[tokio::test]
async fn order_survives_a_crash_in_the_middle_of_a_wait() {
    let scene = Scene::new();
    let messages: Vec<String> = (0..12).map(|n| message(["slow", "quick"][n as usize % 2], n)).collect();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--replay", &scene.lines(&messages)]).await;
    let sink = Listener::answering(|arrival| if arrival.number == 1 && arrival.attempt == 1 { 500 } else { 204 }).await;
    let retry = "    retry: { schedule: [3s], jitter: 0 }\n";
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("sink", sink.url(), retry)],
    });

    let mut first = scene.relay(&config);
    until("the quick lane is through", || sink.received() == 6).await;
    let database = Database::open(&scene.data());
    until("the slow lane waits on disk", || database.waiting() == 6).await;
    first.kill().await;
    assert_eq!(order(&sink, "slow"), [0; 0], "the failed one holds back its lane");

    let mut second = scene.relay_in_life(&config, 2, "");
    until("the slow lane is through too", || order(&sink, "slow").len() == 6).await;
    assert_eq!(order(&sink, "quick"), [2, 4, 6, 8, 10, 12]);
    assert_eq!(order(&sink, "slow"), [1, 3, 5, 7, 9, 11]);
    let tries: Vec<Arrival> = sink.arrivals().into_iter().filter(|arrival| arrival.number == 1).collect();
    assert_eq!(tries.iter().map(|arrival| arrival.attempt).collect::<Vec<_>>(), [1, 2]);
    assert!(tries[1].at - tries[0].at >= RETRY_DELAY, "the wait went on where it was: {tries:?}");
    second.stop().await;
}

#[tokio::test]
async fn a_dead_sink_expires_its_oldest_and_disturbs_nobody() {
    const COUNT: usize = 1_500;
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let (well, dead) = (Listener::start().await, Listener::answering(|_| 503).await);
    let small = "    backlog: { max_bytes: 300KiB }\n    retry: { schedule: [200ms, 200ms, 1h] }\n";
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("well", well.url(), ""), ("dead", dead.url(), small)],
    });

    let mut relay = scene.relay(&config);
    until("the healthy sink has everything", || well.received() == COUNT).await;
    relay.logs("the sink's backlog is over backlog.max_bytes: its oldest deliveries expired").await;
    relay.logs("its breaker is open").await;
    let database = Database::open(&scene.data());
    until("the backlog is within its bounds", || database.expired("dead").len() > COUNT / 2).await;
    relay.stop().await;

    dead.answer(|_| 204);
    let quick = "    backlog: { max_bytes: 300KiB }\n    retry: { schedule: [200ms] }\n";
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("well", well.url(), ""), ("dead", dead.url(), quick)],
    });
    let mut relay = scene.relay_in_life(&config, 2, "");
    let left = || COUNT - database.expired("dead").len();
    until("the dead sink works again and gets what did not expire", || dead.received() == left()).await;
    relay.logs("connected to the source").await;
    relay.stop().await;
    emulator.stop().await;

    let sent = Sent::read(&scene.path("sent.jsonl"));
    check_sink("well", &sent, &well.arrivals(), &owed(&database, "well"));
    assert_eq!(database.newest() as usize, COUNT, "nothing kept intake from taking everything");
    let expired: HashSet<u64> = database.expired("dead").into_iter().collect();
    let owed = owed(&database, "dead").into_iter().filter(|number| !expired.contains(number)).collect();
    let findings = check_sink("dead", &sent, &dead.arrivals(), &owed);
    assert_eq!(findings.received + expired.len(), COUNT, "delivered or expired, and never both");
}
