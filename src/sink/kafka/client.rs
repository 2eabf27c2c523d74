//! One producer of librdkafka, from its making to its end.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{FutureProducer, Producer, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::context::{Context, Label, Reports, Trouble};
use super::oauth::Tokens;
use super::producers::Kind;
use super::record::Record;
use crate::config::KafkaConnection;

/// librdkafka reports by its own time-out; it is asked again for nothing after this much more.
const GRACE: Duration = Duration::from_secs(10);
/// How long a look at a topic may take, and how long its finding is good for others.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Client {
    /// None only while it is dropped.
    producer: Option<FutureProducer<Context>>,
    reports: Arc<Reports>,
    /// What it was made of: librdkafka reads neither again.
    settings: Vec<(String, SecretString)>,
    files: Vec<Vec<u8>>,
    timeout: Duration,
    runtime: Handle,
    looked: Mutex<Option<Look>>,
}

struct Look {
    at: Instant,
    topic: String,
    finding: Option<String>,
}

impl Client {
    /// Blocks for some milliseconds, since files are read and threads started; connects in the background.
    pub(super) fn start(
        connection: &KafkaConnection,
        label: Arc<Label>,
        kind: Kind,
        tokens: Option<Arc<Tokens>>,
        runtime: Handle,
    ) -> Result<Self, String> {
        let (settings, files) = (connection.settings(), connection.files());
        let mut config: ClientConfig =
            settings.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
        config.set_log_level(RDKafkaLogLevel::Info);
        if kind == Kind::Single {
            config.set("batch.num.messages", "1");
        }
        let reports = Arc::new(Reports::new(connection, label));
        let context = Context { reports: Arc::clone(&reports), tokens, runtime: runtime.clone() };
        let producer = config.create_with_context(context).map_err(|error| match error {
            KafkaError::ClientCreation(reason) => format!("librdkafka says: {}", reports.without_secrets(&reason)),
            _ => "librdkafka does not take the properties of this connection".to_owned(),
        })?;
        let (timeout, looked) = (connection.timeout, Mutex::default());
        Ok(Self { producer: Some(producer), reports, settings, files, timeout, runtime, looked })
    }

    fn producer(&self) -> &FutureProducer<Context> {
        #[expect(clippy::expect_used, reason = "only `drop` takes it")]
        self.producer.as_ref().expect("a producer until it is dropped")
    }

    /// Waits for the confirmation. Dropping the future leaves the record to the producer.
    pub(super) async fn send(&self, record: &Record<'_>) -> Result<(), RDKafkaErrorCode> {
        let report = self.producer().send_result(record.to_future()).map_err(|(error, _)| code(&error))?;
        match timeout(self.timeout + GRACE, report).await {
            Ok(Ok(Ok(_delivered))) => {
                self.reports.confirmed();
                Ok(())
            }
            Ok(Ok(Err((error, _)))) => Err(code(&error)),
            Ok(Err(_cancelled)) => Err(RDKafkaErrorCode::DestroyBroker),
            Err(_) => Err(RDKafkaErrorCode::OperationTimedOut),
        }
    }

    /// Whether it was made of other settings than the connection has now.
    pub(super) fn is_outdated(&self, connection: &KafkaConnection) -> bool {
        let now = connection.settings();
        let is_same = |(old, new): (&(String, SecretString), &(String, SecretString))| {
            old.0 == new.0 && old.1.expose_secret() == new.1.expose_secret()
        };
        now.len() != self.settings.len()
            || !self.settings.iter().zip(&now).all(is_same)
            || connection.files() != self.files
    }

    pub(super) fn fatal_error(&self) -> Option<String> {
        self.producer().client().fatal_error().map(|(_, reason)| reason)
    }

    /// Gives up what it has not delivered; each delivery learns of it.
    pub(super) fn purge(&self) {
        self.producer().purge(PurgeConfig::default().queue().inflight());
    }

    /// What the client complained of that may explain the failure of an attempt that began then.
    pub(super) fn trouble_of(&self, began: Instant) -> Option<Trouble> {
        self.reports.trouble_of(began)
    }

    /// What the cluster says about a topic that could explain why nothing is confirmed. Many may ask at once: one look
    /// every few seconds answers them all.
    pub(super) async fn look_at(&self, topic: &str) -> Option<String> {
        let mut looked = self.looked.lock().await;
        if let Some(look) = &*looked
            && look.topic == topic
            && look.at.elapsed() < LOOK_EVERY
        {
            return look.finding.clone();
        }
        let (producer, name) = (self.producer().clone(), topic.to_owned());
        let look = move || producer.client().fetch_metadata(Some(&name), LOOK_TIMEOUT).ok().and_then(|it| finding(&it));
        // A look that panicked has found nothing.
        let finding = tokio::task::spawn_blocking(look).await.ok().flatten();
        *looked = Some(Look { at: Instant::now(), topic: topic.to_owned(), finding: finding.clone() });
        finding
    }
}

impl Drop for Client {
    /// The end of a producer waits for its threads, so it happens aside.
    fn drop(&mut self) {
        let producer = self.producer.take();
        self.runtime.spawn_blocking(move || drop(producer));
    }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

fn finding(metadata: &Metadata) -> Option<String> {
    let topic = metadata.topics().first()?;
    if let Some(error) = topic.error() {
        return Some(RDKafkaErrorCode::from(error).to_string());
    }
    let partition = topic.partitions().iter().find(|it| it.leader() < 0 || it.isr().len() < it.replicas().len())?;
    let (id, all, in_sync) = (partition.id(), partition.replicas().len(), partition.isr().len());
    Some(if partition.leader() < 0 {
        format!("partition {id} has no leader: too many of its brokers are down")
    } else {
        format!("partition {id} has {in_sync} of {all} replicas in sync, perhaps fewer than min.insync.replicas")
    })
}
