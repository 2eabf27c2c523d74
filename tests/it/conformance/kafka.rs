//! A topic of a Kafka cluster, as a destination.

use std::collections::BTreeMap;

use super::{Access, Destination, Receipt};
use crate::consumers::Consumer;
use crate::servers::Turn;
use crate::servers::kafka::{Kafka, Reader, Record, cluster};

/// So that what is too large is found out by the broker.
const SETTINGS: [(&str, &str); 1] = [("max.message.bytes", "2000000")];
const PARTITIONS: i32 = 3;

pub(super) struct Topic {
    cluster: Turn<Kafka>,
    name: String,
    /// `None`: the topic is not there.
    reader: Option<Reader>,
    received: Vec<Receipt>,
}

impl Topic {
    async fn make(&mut self) {
        self.cluster.create_topic(&self.name, PARTITIONS, 1, &SETTINGS).await;
        self.reader = Some(self.cluster.reader(&[&self.name]));
    }
}

impl Destination for Topic {
    const BYTES_MAX: usize = 2_000_000;

    async fn start(name: &str) -> Option<Self> {
        let name = format!("conformance-{}", name.replace('_', "-"));
        let mut topic = Self { cluster: cluster().await?, name, reader: None, received: Vec::new() };
        topic.make().await;
        Some(topic)
    }

    /// The only listener with passwords has TLS, so its authority is trusted where none is given.
    fn sink(&self, access: &Access<'_>) -> String {
        let own = self.cluster.certificate("ca.crt");
        let key = access.key.map(|key| format!("key: \"{key}\", ")).unwrap_or_default();
        format!(
            "kafka: {{ brokers: [\"{}\"], topic: {}, {key}timeout: 2s, headers: {{ X-Life: \"${{LIFE:-0}}\" }}, properties: {{ security.protocol: SASL_SSL, \
             ssl.ca.location: \"{}\", sasl.mechanism: SCRAM-SHA-512, sasl.username: bob, \
             sasl.password: \"${{file:{}}}\" }} }}",
            self.cluster.address("sasl_ssl"),
            self.name,
            access.ca_file.unwrap_or(&own).display(),
            access.secret_file.display(),
        )
    }

    fn secrets(&self) -> [String; 2] {
        ["bob-secret", "another-secret"].map(str::to_owned)
    }

    fn authorities(&self) -> [String; 2] {
        ["ca.crt", "stranger.crt"].map(|file| std::fs::read_to_string(self.cluster.certificate(file)).unwrap())
    }

    async fn kill(&mut self) {
        self.cluster.server.kill();
    }

    async fn restart(&mut self) {
        self.cluster.server.restart();
    }

    async fn pause(&mut self) {
        self.cluster.server.pause();
    }

    async fn resume(&mut self) {
        self.cluster.server.resume();
    }

    /// The topic is gone.
    async fn refuse(&mut self) {
        self.reader = None;
        self.cluster.delete_topic(&self.name).await;
    }

    async fn accept(&mut self) {
        self.make().await;
    }

    async fn received(&mut self) -> &[Receipt] {
        let records = self.reader.iter().flat_map(Reader::read);
        self.received.extend(records.map(receipt));
        &self.received
    }

    async fn ids_read_by_another_client(&mut self, count: usize) -> Option<Vec<String>> {
        let broker = self.cluster.address("plaintext");
        Consumer::start("java-kafka", &self.name, ("KAFKA_BROKERS", &broker)).read(count).await
    }
}

fn receipt(record: Record) -> Receipt {
    let headers: BTreeMap<String, String> =
        record.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    Receipt { id: headers["cspr-relay-id"].clone(), headers, body: record.body }
}
