//! What only Kafka does, tried with a real cluster: records, listeners and logins, topics, replicas.
//!
//! What every destination has to stand is in `conformance`.

mod contract;
mod refusals;
mod secured;
mod trouble;

use std::collections::BTreeSet;
use std::path::PathBuf;

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
