//! The Kafka sink against a real cluster, from outside: the relay, an emulator, brokers, and a consumer of our own.

mod broken;
mod delivered;
mod refused;
mod secured;

use std::collections::BTreeSet;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::listener::Arrival;
use super::{Process, Scene, message, until};
use crate::servers::kafka::{Kafka, Record};

/// A configuration in which every sink gets every event of `nft-tokens`. `sinks` is YAML.
fn configure(scene: &Scene, source: &str, more: &str, names: &[&str], sinks: &str) -> PathBuf {
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\", persistent_session: kafka }}\n\
         store: {{ path: \"{}\" }}\n{more}\nsinks:\n{sinks}\n\
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
    let broker = kafka.address("PLAINTEXT");
    format!(
        "  {name}:\n    kafka: {{ brokers: [\"{broker}\"], topic: {topic}, timeout: 5s, \
         headers: {{ X-Life: \"${{LIFE:-0}}\" }} }}\n{more}"
    )
}

/// The same facts in the form in which the oracle takes those of webhooks. There is no signature to be wrong.
fn arrivals(records: &[Record]) -> Vec<Arrival> {
    records.iter().map(arrival).collect()
}

fn arrival(record: &Record) -> Arrival {
    let text = |name: &str| record.headers.get(name).map(String::as_str).unwrap_or_default();
    let (_, number) = text("cspr-relay-sequence").split_once('-').unwrap();
    Arrival {
        at: Instant::now(),
        id: text("cspr-relay-id").into(),
        sequence: text("cspr-relay-sequence").into(),
        number: u64::from_str_radix(number, 16).unwrap(),
        lane: ["cspr-relay-stream", "cspr-relay-contract-package", "cspr-relay-token-id"].map(text).join("/").into(),
        token: text("cspr-relay-token-id").into(),
        attempt: text("cspr-relay-attempt").parse().unwrap(),
        life: text("X-Life").parse().unwrap(),
        digest: Sha256::digest(&record.body).into(),
        is_signed: true,
        is_replay: false,
        is_test: false,
        answer: 200,
    }
}

/// How many different events there are.
fn distinct(records: &[Record]) -> usize {
    records.iter().map(|record| &record.headers["cspr-relay-id"]).collect::<BTreeSet<_>>().len()
}

/// A relay that logs every attempt that fails.
fn chatty(scene: &Scene, config: &std::path::Path) -> Process {
    super::with_free_port(config);
    let mut command = tokio::process::Command::new(super::BINARY);
    command.args(["run", "--config"]).arg(config).env("CSPR_RELAY_LOG_LEVEL", "info,cspr_relay::delivery=debug");
    scene.spawn("relay", &mut command)
}
