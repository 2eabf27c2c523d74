//! What only Kafka does, tried with a real cluster: records, listeners and logins, topics, replicas.
//!
//! What every destination has to stand is in `conformance`.

mod contract;
mod refusals;
mod secured;
mod trouble;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::neighbour::{self, Neighbour};
use crate::relay::store::Database;
use crate::relay::{BINARY, Process, Scene, with_free_port};
use crate::servers::kafka::{Kafka, Record};

/// A configuration in which every sink gets every event of `nft-tokens`. `sinks` is YAML.
fn configure(scene: &Scene, source: &str, more: &str, names: &[&str], sinks: &str) -> PathBuf {
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\", persistent_session: kafka }}\n\
         store: {{ path: \"{}\" }}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n{more}\nsinks:\n{sinks}\n\
         routes:\n  all: {{ match: all, sinks: [{}] }}\n",
        scene.data().display(),
        names.join(", "),
    );
    let path = scene.path("relay.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A sink of this name for a topic of the cluster's plain listener, with further lines of YAML.
fn plain(kafka: &Kafka, name: &str, topic: &str, more: &str) -> String {
    let broker = kafka.address("plaintext");
    format!("  {name}:\n    kafka: {{ brokers: [\"{broker}\"], topic: {topic}, timeout: 5s }}\n{more}")
}

/// The sink `bus` that is to be in trouble, and two that must notice nothing of it: a webhook, and one that shares the
/// producer.
struct Neighbourhood {
    broker: String,
    webhook: Neighbour,
}

/// The topic of the sink that shares the producer.
const WELL: &str = "well";

impl Neighbourhood {
    async fn start(kafka: &Kafka) -> Self {
        kafka.create_topic(WELL, 1, 1, &[]).await;
        Self { broker: kafka.address("plaintext"), webhook: Neighbour::start().await }
    }

    /// With further lines of YAML for `bus`, whose topic this is.
    fn configure(&self, scene: &Scene, source: &str, topic: &str, more: &str) -> PathBuf {
        let client = format!("brokers: [\"{}\"], timeout: 5s", self.broker);
        let shared = format!("connections: {{ main: {{ kafka: {{ {client} }} }} }}");
        let sink = |name, topic| format!("  {name}:\n    kafka: {{ connection: main, topic: {topic} }}\n");
        let sinks = sink("bus", topic) + more + &sink(WELL, WELL) + &self.webhook.sink();
        configure(scene, source, &shared, &["bus", WELL, neighbour::NAME], &sinks)
    }

    /// While `bus` is in trouble: the others get what is accepted.
    async fn keeps_up(&self, kafka: &Kafka, scene: &Scene) {
        let newest = usize::try_from(Database::open(&scene.data()).newest()).unwrap();
        kafka.read(&[WELL], |records| distinct(records) >= newest);
        self.webhook.keeps_up(scene, "bus").await;
    }
}

/// How many different events there are.
fn distinct(records: &[Record]) -> usize {
    records.iter().map(|record| &record.headers["cspr-relay-id"]).collect::<BTreeSet<_>>().len()
}

/// A relay that logs every attempt that fails.
fn chatty(scene: &Scene, config: &std::path::Path) -> Process {
    with_free_port(config);
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["run", "--config"]).arg(config).env("CSPR_RELAY_LOG_LEVEL", "info,cspr_relay::delivery=debug");
    scene.spawn("relay", &mut command)
}
