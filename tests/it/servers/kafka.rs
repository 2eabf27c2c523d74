//! Apache Kafka: a cluster of one node, or of two, and what is needed to look into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::{Kind, Server, Shared, Turn};

/// How long nothing may come while something is missing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the first record of what is there may take.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// How long what is there already may take to come, once there is enough.
const MORE_MAX: Duration = Duration::from_secs(5);

static CLUSTER: Shared<Kafka> = Shared::new();

/// A cluster; node 1 runs from the start, node 2 once `start 2` was commanded.
pub(crate) struct Kafka {
    pub(crate) server: Server,
}

/// The cluster of those tests that need no other settings. `None`: Kafka is not installed.
pub(crate) async fn cluster() -> Option<Turn<Kafka>> {
    CLUSTER.turn().await
}

impl Kind for Kafka {
    fn start() -> Option<Self> {
        Self::with(&[])
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
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
    /// A cluster with these further settings of its nodes.
    pub(crate) fn with(settings: &[&str]) -> Option<Self> {
        let server = Server::start("kafka", &[&["auto.create.topics.enable=false"], settings].concat())?;
        Some(Self { server })
    }

    /// The address of one of the listeners of node 1: `plaintext`, `ssl`, `mtls`, `sasl_ssl`.
    pub(crate) fn address(&self, listener: &str) -> String {
        format!("127.0.0.1:{}", self.server.place(listener))
    }

    /// The path of a certificate or key: ca.crt, client.crt, client.key, stranger.crt.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        PathBuf::from(self.server.place("tls")).join(name)
    }

    /// A topic, new and empty.
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
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => self.delete_topic(name).await,
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
        config.set("bootstrap.servers", self.address("plaintext"));
        config
    }

    /// Reads topics from their beginning until `is_enough`, then what else is there already.
    pub(crate) fn read(&self, topics: &[&str], mut is_enough: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
        let reader = self.reader(topics);
        let (mut records, mut last, mut enough_since) = (Vec::new(), Instant::now(), None);
        loop {
            let more = reader.read();
            let is_quiet = more.is_empty();
            if !more.is_empty() {
                last = Instant::now();
                records.extend(more);
            }
            if enough_since.is_none() && is_enough(&records) {
                enough_since = Some(Instant::now());
            }
            // Where more comes all the time, there is no silence to wait for.
            if enough_since.is_some_and(|since: Instant| is_quiet || since.elapsed() > MORE_MAX) {
                return records;
            }
            let ids = records.iter().map(|record: &Record| &record.headers["cspr-relay-id"]);
            let seen = (records.len(), ids.collect::<BTreeSet<_>>().len());
            assert!(last.elapsed() < SILENCE_MAX, "nothing more comes from {topics:?} after {seen:?}");
        }
    }

    /// A consumer of these topics, from their beginning.
    pub(crate) fn reader(&self, topics: &[&str]) -> Reader {
        let mut config = self.client();
        let consumer: BaseConsumer = config
            .set("group.id", "unused")
            .set("enable.auto.commit", "false")
            // Where a partition that has only just been made answers that it has no such offset.
            .set("auto.offset.reset", "earliest")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .unwrap();
        block_in_place(|| consumer.assign(&partitions(&consumer, topics)).unwrap());
        Reader(consumer)
    }
}

/// What comes from some topics.
pub(crate) struct Reader(BaseConsumer);

impl Reader {
    /// What has come beyond what was read before; nothing also while the brokers are away.
    pub(crate) fn read(&self) -> Vec<Record> {
        let (mut records, mut patience) = (Vec::new(), READ_PAUSE);
        while let Some(polled) = block_in_place(|| self.0.poll(patience)) {
            // A broker that is away is looked for again.
            records.extend(polled.iter().map(record));
            patience = Duration::ZERO;
        }
        records
    }
}

fn partitions(consumer: &BaseConsumer, topics: &[&str]) -> TopicPartitionList {
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
