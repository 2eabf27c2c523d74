//! The wire table, as an independent look at real records shows it.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::{configure, distinct};
use crate::relay::Scene;
use crate::relay::oracle::Sent;
use crate::servers::kafka::cluster;

const COUNT: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_a_record_with_its_key_headers_and_bytes() {
    let Some(kafka) = cluster().await else { return };
    for topic in ["nft.created", "nft.updated", "ce"] {
        kafka.create_topic(topic, 3, 1, &[]).await;
    }
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let connection = format!(
        "connections: {{ main: {{ kafka: {{ brokers: [\"{}\"], compression: lz4 }} }} }}",
        kafka.address("plaintext")
    );
    let sinks = "  raw:\n    labels: { team: market }\n    kafka: { connection: main, topic: \"nft.{{ action }}\", \
                 headers: { X-Team: \"{{ labels.team }} {{ token_id }}\" } }\n  \
                 events:\n    kafka: { connection: main, topic: ce, key: \"{{ contract_package }}\" }\n    \
                 format: cloudevents_binary\n";
    let config = configure(&scene, &url, &connection, &["raw", "events"], sinks);
    let mut relay = scene.relay(&config);

    let raw = kafka.read(&["nft.created", "nft.updated"], |records| distinct(records) == COUNT);
    let events = kafka.read(&["ce"], |records| distinct(records) == COUNT);
    relay.stop().await;
    emulator.stop().await;
    let sent = Sent::read(&scene.path("sent.jsonl"));
    assert_eq!(raw.len(), COUNT, "each once");
    let mut partitions = HashMap::new();
    for record in &raw {
        let header = |name: &str| record.headers[name].as_str();
        assert!(sent.has(&Sha256::digest(&record.body).into()), "byte for byte as it was sent");
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
    assert!(partitions.values().collect::<HashSet<_>>().len() == 3, "keys are spread");
    let ids: BTreeMap<_, _> = raw.iter().map(|record| (&record.headers["cspr-relay-id"], &record.body)).collect();
    for record in &events {
        let header = |name: &str| record.headers[name].as_str();
        assert_eq!(ids[&record.headers["cspr-relay-id"]], &record.body, "the same event has the same id everywhere");
        assert_eq!((header("ce_specversion"), header("ce_id")), ("1.0", header("cspr-relay-id")));
        assert_eq!(header("ce_type"), format!("cloud.cspr.nft-tokens.{}", header("cspr-relay-action")));
        assert_eq!(record.key.as_deref(), Some(header("cspr-relay-contract-package")));
    }
}
