//! Kafka: a bare producer of librdkafka, and how much is on a topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::broker::Broker;
use crate::buses::{Bus, headers};
use crate::source::message;

/// That a new topic has, by the settings of the broker.
const PARTITIONS: i32 = 3;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is looked at between two looks at the clock.
const ROUND: u64 = 1_000;

pub(crate) struct Cluster {
    address: String,
    looker: BaseConsumer,
    topic: String,
    topics: u32,
}

/// Counts confirmed records.
#[derive(Clone, Default)]
struct Confirmed(Arc<AtomicU64>);

impl ClientContext for Confirmed {}

impl ProducerContext for Confirmed {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

impl Cluster {
    pub(crate) fn new(broker: &Broker) -> anyhow::Result<Self> {
        let address = broker.address("plaintext")?;
        let looker = ClientConfig::new()
            .set("bootstrap.servers", &address)
            .set("group.id", "unused")
            .set("allow.auto.create.topics", "true")
            .create()?;
        Ok(Self { address, looker, topic: String::new(), topics: 0 })
    }

    /// A topic that has nothing on it; to name it is to make it.
    fn new_topic(&mut self) -> anyhow::Result<String> {
        self.topics += 1;
        let topic = format!("bench-{}", self.topics);
        let asked = Instant::now();
        loop {
            let found = self.looker.fetch_metadata(Some(&topic), ANSWER_TIMEOUT)?;
            if found.topics().iter().any(|found| found.error().is_none() && !found.partitions().is_empty()) {
                return Ok(topic);
            }
            if asked.elapsed() > ANSWER_TIMEOUT {
                bail!("the topic {topic} was not made in {ANSWER_TIMEOUT:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Bus for Cluster {
    const NAME: &str = "Kafka";
    const AIM: &str = "≥ 40,000/s";

    fn sink(&mut self) -> anyhow::Result<String> {
        self.topic = self.new_topic()?;
        Ok(format!("kafka: {{ brokers: [\"{}\"], topic: {} }}", self.address, self.topic))
    }

    fn count(&mut self) -> anyhow::Result<u64> {
        let mut count = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = self.looker.fetch_watermarks(&self.topic, partition, ANSWER_TIMEOUT)?;
            count += u64::try_from(high - low)?;
        }
        Ok(count)
    }

    fn publish(&mut self, seconds: u64) -> anyhow::Result<f64> {
        let (topic, confirmed) = (self.new_topic()?, Confirmed::default());
        let producer: ThreadedProducer<Confirmed> = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .create_with_context(confirmed.clone())?;
        let (began, mut number) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(seconds) {
            for number in number..number + ROUND {
                send(&producer, &topic, number)?;
            }
            number += ROUND;
        }
        producer.flush(Duration::from_secs(30))?;
        Ok(confirmed.0.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }
}

/// Waits while the producer's queue is full.
fn send(producer: &ThreadedProducer<Confirmed>, topic: &str, number: u64) -> anyhow::Result<()> {
    let (body, key, id) = (message(number), format!("{number:064x}:{number}"), format!("evt_{number:026}"));
    let headers = headers(number);
    let all = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let all = all.chain([("cspr-relay-id", id.as_str()), ("content-type", "application/json")]);
    let headers = all.fold(OwnedHeaders::new_with_capacity(15), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let mut record = BaseRecord::to(topic).key(&key).payload(&body).headers(headers);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => record = unsent,
            Err((error, _)) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
