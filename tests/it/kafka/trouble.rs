//! A cluster that lacks a replica or is away when the relay stops: nothing is lost.

use std::time::Duration;

use tokio::time::Instant;

use super::{Neighbourhood, configure, distinct, plain};
use crate::relay::store::Database;
use crate::relay::{Scene, until};
use crate::servers::Kind;
use crate::servers::kafka::{Kafka, cluster};

const PATIENT: &str = "    retry: { give_up_after: 1h, jitter: 0 }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_replicas_are_waited_for() {
    let Some(mut kafka) = Kafka::start() else { return };
    let scene = Scene::new();
    // Before there is a second node, so that the topic of the neighbour is on the one that stays.
    let others = Neighbourhood::start(&kafka).await;
    kafka.server.command("start 2");
    kafka.create_topic("safe", 1, 2, &[("min.insync.replicas", "2")]).await;
    kafka.server.command("kill9 2");
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "20"]).await;
    let mut relay = super::chatty(&scene, &others.configure(&scene, &url, "safe", PATIENT));
    relay.logs("perhaps fewer than min.insync.replicas").await;
    others.keeps_up(&kafka, &scene).await;
    kafka.server.command("start 2");
    kafka.read(&["safe"], |records| distinct(records) == 20);
    others.webhook.is_untouched(&scene).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_not_held_up_by_a_cluster_that_is_away() {
    let Some(mut kafka) = cluster().await else { return };
    kafka.create_topic("stop", 3, 1, &[]).await;
    kafka.server.pause();
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "50"]).await;
    let sink = plain(&kafka, "bus", "stop", "").replace("timeout: 5s", "timeout: 60s");
    let config = configure(&scene, &url, "shutdown_timeout: 2s", &["bus"], &sink);
    let mut relay = scene.relay(&config);
    relay.logs("connected to the source").await;
    let database = Database::open(&scene.data());
    until("all is accepted", || database.newest() == 50).await;
    let asked = Instant::now();
    relay.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    kafka.server.kill();
    kafka.server.restart();
    let mut relay = scene.relay_in_life(&config, 2, "");
    let records = kafka.read(&["stop"], |records| distinct(records) == 50);
    assert!(records.iter().all(|record| record.headers["cspr-relay-attempt"] == "1"), "the stop cost no attempt");
    relay.stop().await;
}
