//! Apache Kafka: a cluster of one node, or of two, and what is needed to look into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::process::Command;
use tokio::time::Instant;

use super::{Home, Server, script};
use crate::receivers::leave_out;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers/kafka");
const READY: &str = "Kafka Server started";
/// How long nothing may come while something is missing.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long what is there already may take, once there is enough.
const MORE_MAX: Duration = Duration::from_secs(5);

/// A cluster; node 1 runs from the start.
pub(crate) struct Kafka {
    pub(crate) first: Server,
    pub(crate) second: Option<Server>,
    endpoints: BTreeMap<String, String>,
    home: Home,
}

/// A record as a consumer sees it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timestamp_ms: Option<i64>,
}

impl Kafka {
    /// A cluster with these further settings of its nodes; none, said loudly, where it cannot be had.
    pub(crate) async fn start(settings: &[&str]) -> Option<Self> {
        static FETCHED: OnceLock<Result<(), String>> = OnceLock::new();
        if let Err(reason) = FETCHED.get_or_init(|| script("kafka", &["fetch"])) {
            leave_out(&format!("Kafka, since it could not be fetched: {reason}"));
            return None;
        }
        let home = Home::new("kafka");
        let directory = home.path("cluster");
        script("kafka", &[&["make", directory.to_str().unwrap()], settings].concat()).unwrap();
        let endpoints = std::fs::read_to_string(directory.join("endpoints")).unwrap();
        let endpoints = endpoints.lines().map(|line| line.split_once('=').unwrap());
        let endpoints = endpoints.map(|(name, address)| (name.to_owned(), address.to_owned())).collect();
        let first = node(&home, 1).await;
        Some(Self { first, second: None, endpoints, home })
    }

    /// Starts node 1 again, after it was killed.
    pub(crate) async fn restart(&mut self) {
        self.first = node(&self.home, 1).await;
    }

    /// Starts node 2, or starts it again.
    pub(crate) async fn start_second(&mut self) {
        self.second = Some(node(&self.home, 2).await);
    }

    /// The address of one of the listeners of node 1: `PLAINTEXT`, `SSL`, `MTLS`, `SASL_SSL`.
    pub(crate) fn address(&self, listener: &str) -> &str {
        &self.endpoints[listener]
    }

    /// The path of a certificate or key: ca.crt, client.crt, client.key, strangers-ca.crt.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.home.path("cluster/certs").join(name)
    }

    pub(crate) async fn create_topic(&self, name: &str, partitions: i32, replicas: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        topic.config = settings.to_vec();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let began = Instant::now();
        loop {
            let made = admin.create_topics([&topic], &options).await.unwrap();
            match &made[0] {
                Ok(_) => return,
                // A node that has just started may not be known to the other one.
                Err((_, error)) => assert!(began.elapsed() < SILENCE_MAX, "{name}: {error}"),
            }
        }
    }

    pub(crate) async fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let deleted = admin.delete_topics(&[name], &AdminOptions::new()).await.unwrap();
        assert!(deleted[0].is_ok(), "{deleted:?}");
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address("PLAINTEXT"));
        config
    }

    /// Reads topics from their beginning until `is_enough`, then what else is there already.
    pub(crate) fn read(&self, topics: &[&str], is_enough: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
        let config = self.client();
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        // Polling blocks; the runtime of a test has a thread to spare.
        tokio::task::block_in_place(move || read(config, &topics, is_enough))
    }
}

async fn node(home: &Home, number: u8) -> Server {
    let directory = home.path("cluster");
    let mut command = Command::new(SCRIPT);
    command.arg("run").arg(directory).arg(number.to_string());
    Server::start(&mut command, home.path(&format!("node{number}.log")), READY).await
}

fn read(mut config: ClientConfig, topics: &[String], mut is_enough: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
    let consumer: BaseConsumer = config
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        // Where a partition that has only just been made answers that it has no such offset.
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.assign(&partitions(&consumer, topics)).unwrap();
    let (mut records, mut last, mut complete_since) = (Vec::new(), Instant::now(), None);
    loop {
        match consumer.poll(Duration::from_millis(if complete_since.is_some() { 1_000 } else { 100 })) {
            Some(Ok(message)) => {
                last = Instant::now();
                records.push(record(&message));
                // Where more comes all the time there is no silence to wait for; counting at each one takes too long.
                if complete_since.is_none() && records.len() % 50 == 0 && is_enough(&records) {
                    complete_since = Some(last);
                }
                if complete_since.is_some_and(|since| last > since + MORE_MAX) {
                    return records;
                }
            }
            // A broker that is away is looked for again.
            Some(Err(_)) => {}
            None if complete_since.is_some() => return records,
            None => {
                let is_complete = is_enough(&records);
                complete_since = is_complete.then(Instant::now);
                let ids = records.iter().map(|record: &Record| &record.headers["cspr-relay-id"]);
                let seen = (records.len(), ids.collect::<BTreeSet<_>>().len());
                assert!(
                    is_complete || last.elapsed() < SILENCE_MAX,
                    "nothing more comes from {topics:?} after {seen:?}"
                );
            }
        }
    }
}

fn partitions(consumer: &BaseConsumer, topics: &[String]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
    }
    list
}

fn record(message: &impl Message) -> Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        key: message.key().map(text),
        body: message.payload().expect("never a tombstone").to_vec(),
        headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default()))).collect(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}
