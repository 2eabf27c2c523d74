//! A cluster that is away, dies, stands still or lacks a replica: nothing is lost, and the order of each token is kept.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::oracle::{Sent, check_sink, owed};
use super::super::store::Database;
use super::{Kafka, Scene, arrivals, configure, distinct, plain, until};

const BROKER_KILLS: usize = 3;
/// Longer than the time-out of an attempt.
const STANDSTILL: Duration = Duration::from_secs(9);
const PATIENT: &str = "    retry: { give_up_after: 1h, jitter: 0 }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_or_stands_still_loses_nothing() {
    let Some(mut kafka) = Kafka::start(&[]).await else { return };
    kafka.create_topic("nft", 3, 1, &[]).await;
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "500", "--history", "200000"]).await;
    let config = configure(&scene, &url, "", &["bus"], &plain(&kafka, "bus", "nft", PATIENT));
    let mut relay = scene.relay(&config);
    for _ in 0..BROKER_KILLS {
        sleep(Duration::from_secs(1)).await;
        kafka.first.kill().await;
        sleep(Duration::from_secs(1)).await;
        kafka.restart().await;
    }
    kafka.first.pause().await;
    sleep(STANDSTILL).await;
    kafka.first.resume().await;
    sleep(Duration::from_secs(1)).await;
    emulator.stop().await;
    until("the relay sees that its source is gone", || relay.log().contains("no connection to the source")).await;

    let database = Database::open(&scene.data());
    let newest = usize::try_from(database.newest()).unwrap();
    let records = kafka.read(&["nft"], |records| distinct(records) >= newest);
    relay.stop().await;
    let sent = Sent::read(&scene.path("sent.jsonl"));
    // The oracle expects repeats from other lives of the relay only; here they come with a higher attempt.
    let mut arrivals = arrivals(&records);
    arrivals.iter_mut().for_each(|arrival| arrival.life = arrival.attempt.into());
    let findings = check_sink("bus", &sent, &arrivals, &owed(&database, "bus"));
    assert_eq!(database.dead("bus"), [0; 0]);
    println!("{BROKER_KILLS} kills of the broker and a standstill, {newest} events: {findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_at_the_start_gets_everything_later() {
    let Some(mut kafka) = Kafka::start(&[]).await else { return };
    kafka.create_topic("nft", 3, 1, &[]).await;
    kafka.first.kill().await;
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "50"]).await;
    let config = configure(&scene, &url, "", &["bus"], &plain(&kafka, "bus", "nft", PATIENT));
    let mut relay = scene.relay(&config);
    relay.logs("the Kafka client has trouble, and tries again").await;
    relay.logs("its breaker is open").await;
    kafka.restart().await;
    let records = kafka.read(&["nft"], |records| distinct(records) == 50);
    assert!(records.len() >= 50);
    relay.logs("its breaker is closed").await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_replicas_are_waited_for() {
    let Some(mut kafka) = Kafka::start(&[]).await else { return };
    kafka.start_second().await;
    kafka.create_topic("safe", 1, 2, &[("min.insync.replicas", "2")]).await;
    kafka.second = None;
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "20"]).await;
    let config = configure(&scene, &url, "", &["bus"], &plain(&kafka, "bus", "safe", PATIENT));
    let mut relay = super::chatty(&scene, &config);
    relay.logs("perhaps fewer than min.insync.replicas").await;
    kafka.start_second().await;
    kafka.read(&["safe"], |records| distinct(records) == 20);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_not_held_up_by_a_cluster_that_is_away() {
    let Some(mut kafka) = Kafka::start(&[]).await else { return };
    kafka.create_topic("nft", 3, 1, &[]).await;
    kafka.first.pause().await;
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "50"]).await;
    let sink = plain(&kafka, "bus", "nft", "").replace("timeout: 5s", "timeout: 60s");
    let config = configure(&scene, &url, "shutdown_timeout: 2s", &["bus"], &sink);
    let mut relay = scene.relay(&config);
    relay.logs("connected to the source").await;
    let database = Database::open(&scene.data());
    until("all is accepted", || database.newest() == 50).await;
    let asked = Instant::now();
    relay.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    kafka.first.resume().await;
    kafka.first.kill().await;
    kafka.restart().await;
    let mut relay = scene.relay_in_life(&config, 2, "");
    let records = kafka.read(&["nft"], |records| distinct(records) == 50);
    assert!(records.iter().all(|record| record.headers["cspr-relay-attempt"] == "1"), "the stop cost no attempt");
    relay.stop().await;
}
