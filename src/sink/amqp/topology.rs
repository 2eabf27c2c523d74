//! What must be there before the first message: declared if the operator wants that, else looked for.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::failure::{self, failure};
use crate::config::{AmqpConfig, ExchangeConfig, ExchangeType, QueueConfig, QueueType};
use crate::sink::{Cause, Failure};

const NOT_FOUND: u16 = 404;

/// The exchange of a sink, as each new connection finds or makes it.
pub(super) struct Topology {
    /// `None`: its name differs from event to event, so it is found out by publishing.
    exchange: Option<String>,
    declare: Option<ExchangeConfig>,
}

impl Topology {
    pub(super) fn new(config: &AmqpConfig) -> Self {
        Self { exchange: config.exchange.literal().map(str::to_owned), declare: config.declare.clone() }
    }

    pub(super) async fn ensure(&self, connection: &Connection, vhost: &str) -> Result<(), Failure> {
        // The default exchange is everywhere.
        let Some(exchange) = self.exchange.as_deref().filter(|name| !name.is_empty()) else { return Ok(()) };
        let done = match &self.declare {
            Some(declare) => set_up(connection, exchange, declare).await,
            None => look(connection, exchange).await,
        };
        done.map_err(|error| self.explain(&error, exchange, vhost))
    }

    fn explain(&self, error: &lapin::Error, exchange: &str, vhost: &str) -> Failure {
        let found = failure(error);
        let is_missing = matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND);
        let advice = match (&self.declare, found.cause) {
            (None, Cause::Denied) if is_missing => {
                let exchange = failure::exchange(exchange);
                format!(": {exchange} is not in virtual host `{vhost}`; create it, or let the relay with `declare`")
            }
            (Some(_), Cause::Denied) => {
                ": `declare` differs from what is there, or the user may not; make them agree, or remove `declare`"
                    .to_owned()
            }
            _ => String::new(),
        };
        Failure { detail: format!("{}{advice}", found.detail), ..found }
    }
}

async fn look(connection: &Connection, exchange: &str) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default()).await
}

async fn set_up(connection: &Connection, exchange: &str, declare: &ExchangeConfig) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let kind = match declare.kind {
        ExchangeType::Topic => ExchangeKind::Topic,
        ExchangeType::Direct => ExchangeKind::Direct,
        ExchangeType::Fanout => ExchangeKind::Fanout,
        ExchangeType::Headers => ExchangeKind::Headers,
    };
    let options = ExchangeDeclareOptions { durable: declare.durable, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await?;
    match &declare.queue {
        Some(queue) => set_up_queue(&channel, exchange, queue).await,
        None => Ok(()),
    }
}

async fn set_up_queue(channel: &Channel, exchange: &str, queue: &QueueConfig) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: queue.durable, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    if queue.kind == QueueType::Quorum {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    let (name, key) = (queue.name.as_str(), queue.routing_key.as_str());
    channel.queue_declare(name.into(), options, arguments).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(name.into(), exchange.into(), key.into(), options, FieldTable::default()).await
}
