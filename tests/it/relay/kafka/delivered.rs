//! What arrives, and that it does whatever becomes of the relay.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::sleep;

use super::super::oracle::{Sent, check_sink, owed};
use super::super::store::Database;
use super::{Kafka, Scene, arrivals, configure, distinct, plain, until};

const COUNT: usize = 400;
const RELAY_KILLS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_a_record_with_its_key_headers_and_bytes() {
    let Some(kafka) = Kafka::start(&[]).await else { return };
    for topic in ["nft.created", "nft.updated", "ce"] {
        kafka.create_topic(topic, 3, 1, &[]).await;
    }
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let connection = format!(
        "connections: {{ main: {{ kafka: {{ brokers: [\"{}\"], compression: lz4 }} }} }}",
        kafka.address("PLAINTEXT")
    );
    let sinks = "  raw:\n    labels: { team: market }\n    kafka: { connection: main, topic: \"nft.{{ action }}\", \
                 headers: { X-Life: \"1\", X-Team: \"{{ labels.team }} {{ token_id }}\" } }\n  \
                 events:\n    kafka: { connection: main, topic: ce, key: \"{{ contract_package }}\" }\n    \
                 format: cloudevents_binary\n";
    let config = configure(&scene, &url, &connection, &["raw", "events"], sinks);
    let mut relay = scene.relay(&config);

    let raw = kafka.read(&["nft.created", "nft.updated"], |records| distinct(records) == COUNT);
    let events = kafka.read(&["ce"], |records| distinct(records) == COUNT);
    relay.stop().await;
    emulator.stop().await;
    let sent = Sent::read(&scene.path("sent.jsonl"));
    check_sink("raw", &sent, &arrivals(&raw), &owed(&Database::open(&scene.data()), "raw"));
    let mut partitions = HashMap::new();
    for record in &raw {
        let header = |name: &str| record.headers[name].as_str();
        let message: serde_json::Value = serde_json::from_slice(&record.body).unwrap();
        let token = message["data"]["token_id"].as_str().unwrap();
        let key = format!("{}:{token}", message["data"]["contract_package_hash"].as_str().unwrap());
        assert_eq!(record.key.as_ref(), Some(&key));
        assert_eq!(record.topic, format!("nft.{}", message["action"].as_str().unwrap()));
        assert_eq!(partitions.entry((record.topic.clone(), key)).or_insert(record.partition), &record.partition);
        let time: jiff::Timestamp = message["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(record.timestamp_ms, Some(time.as_millisecond()));
        assert_eq!((header("content-type"), header("cspr-relay-stream")), ("application/json", "nft-tokens"));
        assert_eq!(header("X-Team"), format!("market {}", header("cspr-relay-token-id")), "encoded alike");
    }
    assert!(partitions.values().collect::<std::collections::HashSet<_>>().len() == 3, "keys are spread");
    let ids: BTreeMap<_, _> = raw.iter().map(|record| (&record.headers["cspr-relay-id"], &record.body)).collect();
    for record in &events {
        let header = |name: &str| record.headers[name].as_str();
        assert_eq!(ids[&record.headers["cspr-relay-id"]], &record.body, "the same event has the same id everywhere");
        assert_eq!((header("ce_specversion"), header("ce_id")), ("1.0", header("cspr-relay-id")));
        assert_eq!(header("ce_type"), format!("cloud.cspr.nft-tokens.{}", header("cspr-relay-action")));
        assert_eq!(record.key.as_deref(), Some(header("cspr-relay-contract-package")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_relay_loses_nothing() {
    let Some(kafka) = Kafka::start(&[]).await else { return };
    kafka.create_topic("nft", 3, 1, &[]).await;
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "1000", "--unattended", "--history", "200000"]).await;
    let config = configure(&scene, &url, "", &["bus"], &plain(&kafka, "bus", "nft", ""));
    let mut random = fastrand::Rng::with_seed(5);
    for life in 1..=RELAY_KILLS {
        let mut relay = scene.relay_in_life(&config, life, "");
        relay.logs("connected to the source").await;
        sleep(Duration::from_millis(random.u64(200..1_500))).await;
        relay.kill().await;
    }
    let mut relay = scene.relay_in_life(&config, RELAY_KILLS + 1, "");
    relay.logs("connected to the source").await;
    emulator.stop().await;
    until("the relay sees that its source is gone", || relay.log().contains("no connection to the source")).await;
    let database = Database::open(&scene.data());
    let newest = || usize::try_from(database.newest()).unwrap();
    let records = kafka.read(&["nft"], |records| distinct(records) >= newest());
    relay.stop().await;
    assert!(database.newest() > RELAY_KILLS * 100, "the test was one: {}", database.newest());
    let sent = Sent::read(&scene.path("sent.jsonl"));
    let findings = check_sink("bus", &sent, &arrivals(&records), &owed(&database, "bus"));
    println!("{RELAY_KILLS} kills of the relay: {findings:?}");
}
