//! Kafka: one record for each event, delivered when the brokers have confirmed it.
//!
//! - The value is the message, the key its lane (or what the sink's template says), the headers are those of
//!   [`super::wire`], and the timestamp is the event's own. The value is never null, so nothing deletes a key.
//! - The producer is idempotent, waits for all replicas in sync and keeps what it retries in order. It is made at the
//!   first delivery, so a cluster that is away is no reason not to start.
//! - `timeout` bounds an attempt. After it, whether the record was written is unknown; it goes again with the same id.
//! - A producer that has met a fatal error, or whose credentials have changed, is replaced by a new one.

mod client;
mod context;
mod judge;
mod oauth;
mod producers;
mod record;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode;
use tokio::time::Instant;

use self::client::Client;
use self::judge::{Subject, is_about_a_record, judge};
pub(crate) use self::producers::Producers;
use self::producers::{Kind, Shared};
use self::record::Record;
pub(super) use self::record::{key, topic};
use super::wire::Encoder;
use super::{Cause, Failure, Outcome, Sink};
use crate::clock::Clock;
use crate::config::{HeaderText, KafkaConfig, Template};
use crate::event::Delivery;

/// A topic, or several, of one cluster.
pub(super) struct Kafka {
    encoder: Encoder,
    topic: Template,
    key: Option<Template>,
    headers: Vec<(String, HeaderText)>,
    producers: Arc<Shared>,
}

/// Why a record was not confirmed.
enum Unsent {
    /// There is no producer to send it with.
    NoClient(String),
    Failed {
        code: RDKafkaErrorCode,
        client: Arc<Client>,
    },
}

impl Kafka {
    /// Fails if the client for the tokens cannot be made.
    pub(super) fn new(
        encoder: Encoder,
        config: &KafkaConfig,
        producers: &mut Producers,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            producers: producers.of(&encoder.sink, &config.connection, clock)?,
            encoder,
            topic: config.topic.clone(),
            key: config.key.clone(),
            headers: config.headers.clone(),
        })
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let record = match Record::new(self, delivery) {
            Ok(record) => record,
            Err(failure) => return Outcome::Reject { failure },
        };
        let began = Instant::now();
        let mut sent = self.send(&record, Kind::Batched).await;
        // A broker refuses whole batches: an event that is too large must not take its neighbours along.
        if matches!(sent, Err(Unsent::Failed { code, .. }) if is_about_a_record(code)) {
            sent = self.send(&record, Kind::Single).await;
        }
        match sent {
            Ok(()) => Outcome::Delivered { status: None },
            Err(Unsent::NoClient(detail)) => {
                Outcome::Retry { failure: Failure { cause: Cause::Denied, status: None, detail }, after: None }
            }
            Err(Unsent::Failed { code, client }) => self.judge(code, &client, &record, began).await,
        }
    }

    async fn send(&self, record: &Record<'_>, kind: Kind) -> Result<(), Unsent> {
        let client = self.producers.client(kind).await.map_err(Unsent::NoClient)?;
        match client.send(record).await {
            Ok(()) => Ok(()),
            Err(code) => {
                self.producers.replace_if_broken(kind, &client, code);
                Err(Unsent::Failed { code, client })
            }
        }
    }

    async fn judge(&self, code: RDKafkaErrorCode, client: &Client, record: &Record<'_>, began: Instant) -> Outcome {
        let trouble = client.trouble_of(began);
        let is_open = code == RDKafkaErrorCode::MessageTimedOut && trouble.as_ref().is_none_or(|it| !it.is_definite());
        let finding = if is_open { client.look_at(&record.topic).await } else { None };
        let connection = self.producers.connection();
        judge(
            code,
            &Subject {
                topic: &record.topic,
                brokers: &self.producers.label().brokers,
                bytes: record.body().len(),
                timeout: connection.timeout,
                trouble,
                finding,
            },
        )
    }
}

impl Sink for Kafka {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.attempt(delivery))
    }
}
