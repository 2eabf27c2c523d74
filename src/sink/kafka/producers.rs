//! The producers of a connection: made when they are needed, shared by its sinks, replaced when they break.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::client::Client;
use super::context::Label;
use super::oauth::Tokens;
use crate::clock::Clock;
use crate::config::KafkaConnection;

/// How often a producer is held against the credentials of its connection, which may follow files.
const SETTINGS_CHECKED_EVERY: Duration = Duration::from_secs(5);

/// The connections that are in use.
#[derive(Default)]
pub(crate) struct Producers(Vec<(Arc<KafkaConnection>, Weak<Shared>)>);

impl Producers {
    /// For a sink of that name.
    pub(super) fn of(
        &mut self,
        sink: &str,
        connection: &Arc<KafkaConnection>,
        clock: &Clock,
    ) -> anyhow::Result<Arc<Shared>> {
        self.0.retain(|(_, shared)| shared.strong_count() > 0);
        let known = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, connection));
        if let Some(shared) = known.and_then(|(_, shared)| shared.upgrade()) {
            return Ok(shared);
        }
        let shared = Arc::new(Shared::new(sink, Arc::clone(connection), clock)?);
        self.0.push((Arc::clone(connection), Arc::downgrade(&shared)));
        Ok(shared)
    }
}

/// What a producer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Many records in one request.
    Batched,
    /// One record in each request, to learn what the broker thinks of it alone.
    Single,
}

/// The producers of one connection.
pub(super) struct Shared {
    connection: Arc<KafkaConnection>,
    label: Arc<Label>,
    tokens: Option<Arc<Tokens>>,
    batched: Slot,
    single: Slot,
}

#[derive(Default)]
struct Slot {
    current: Mutex<Option<Current>>,
    /// Held while one is made, so that only one is.
    making: tokio::sync::Mutex<()>,
}

struct Current {
    client: Arc<Client>,
    checked_at: Instant,
}

impl Shared {
    fn new(sink: &str, connection: Arc<KafkaConnection>, clock: &Clock) -> anyhow::Result<Self> {
        let tokens = connection.oauth.as_ref().map(|oauth| Tokens::new(oauth, clock).map(Arc::new)).transpose()?;
        let label = Arc::new(Label {
            sink: connection.name.is_none().then(|| sink.into()),
            connection: connection.name.clone(),
            brokers: connection.brokers.join(","),
        });
        Ok(Self { connection, label, tokens, batched: Slot::default(), single: Slot::default() })
    }

    pub(super) fn connection(&self) -> &KafkaConnection {
        &self.connection
    }

    pub(super) fn label(&self) -> &Label {
        &self.label
    }

    /// The producer to use now. The error says in one line why there is none.
    pub(super) async fn client(&self, kind: Kind) -> Result<Arc<Client>, String> {
        if let Some(tokens) = &self.tokens {
            tokens.keep_fresh().await?;
        }
        let slot = self.slot(kind);
        if let Some(client) = slot.current(&self.connection, &self.label) {
            return Ok(client);
        }
        let _only_one = slot.making.lock().await;
        if let Some(client) = slot.current(&self.connection, &self.label) {
            return Ok(client);
        }
        let (connection, label, tokens) = (Arc::clone(&self.connection), Arc::clone(&self.label), self.tokens.clone());
        let runtime = Handle::current();
        let start = move || Client::start(&connection, label, kind, tokens, runtime);
        let client =
            tokio::task::spawn_blocking(start).await.map_err(|_panic| "making a producer failed".to_owned())?;
        let client = Arc::new(client?);
        slot.set(Some(Arc::clone(&client)));
        Ok(client)
    }

    /// Lets the next delivery make a new producer if this one will never deliver again, or has lost track of a record,
    /// which then must not be written later, behind its successors.
    pub(super) fn replace_if_broken(&self, kind: Kind, client: &Arc<Client>, code: RDKafkaErrorCode) {
        let reason = match client.fatal_error() {
            Some(reason) => reason,
            None if code == RDKafkaErrorCode::OperationTimedOut => "a record was not reported on in time".to_owned(),
            None => return,
        };
        if self.slot(kind).take(client) {
            let Label { sink, connection, brokers } = &*self.label;
            tracing::warn!(
                sink,
                connection,
                broker = brokers,
                reason,
                "the Kafka producer is replaced; what it had not delivered goes again"
            );
            client.purge();
        }
    }

    fn slot(&self, kind: Kind) -> &Slot {
        match kind {
            Kind::Batched => &self.batched,
            Kind::Single => &self.single,
        }
    }
}

impl Slot {
    /// None if there is none yet, or none that has the credentials of now. One that is put aside finishes what it has.
    fn current(&self, connection: &KafkaConnection, label: &Label) -> Option<Arc<Client>> {
        let mut slot = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = slot.as_mut()?;
        if current.checked_at.elapsed() >= SETTINGS_CHECKED_EVERY {
            current.checked_at = Instant::now();
            if current.client.is_outdated(connection) {
                let Label { sink, connection, brokers } = label;
                tracing::info!(sink, connection, broker = brokers, "the credentials of a Kafka connection changed");
                *slot = None;
                return None;
            }
        }
        Some(Arc::clone(&current.client))
    }

    fn set(&self, client: Option<Arc<Client>>) {
        let current = client.map(|client| Current { client, checked_at: Instant::now() });
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Empties the slot if this client is in it.
    fn take(&self, client: &Arc<Client>) -> bool {
        let mut slot = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = slot.as_ref().is_some_and(|current| Arc::ptr_eq(&current.client, client));
        if is_current {
            *slot = None;
        }
        is_current
    }
}
