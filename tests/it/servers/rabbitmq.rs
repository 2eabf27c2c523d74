//! A RabbitMQ node that the tests share, one at a time, and a client that is none of the relay's code.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::timeout;

use super::{Kind, Server, Shared, Turn};

pub(crate) const USER: &str = "relay";
pub(crate) const PASSWORD: &str = "relay-secret";
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

static NODE: Shared<Node> = Shared::new();

/// A node. Whoever has it may kill it, stop it and fill it.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) amqp: u16,
    pub(crate) amqps: u16,
    /// Certificates: `ca`, `client`, `stranger`, each with `.crt`, and `.key`.
    pub(crate) tls: PathBuf,
}

/// The node of all tests. `None`: RabbitMQ is not installed.
pub(crate) async fn node() -> Option<Turn<Node>> {
    NODE.turn().await
}

impl Kind for Node {
    fn start() -> Option<Self> {
        let server = Server::start("rabbitmq", &[])?;
        let (amqp, amqps) = (server.place("amqp").parse().unwrap(), server.place("amqps").parse().unwrap());
        Some(Self { amqp, amqps, tls: server.place("tls").into(), server })
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Node {
    /// As `rabbitmqctl`; arguments cannot have spaces in them.
    pub(crate) fn ctl(&mut self, line: &str) -> String {
        self.server.command(&format!("ctl {line}"))
    }

    /// A channel of a client that talks to it in plain.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let uri = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}", self.amqp);
        let connecting = Connection::connect(&uri, ConnectionProperties::default());
        let connection = timeout(CLIENT_TIMEOUT, connecting).await.expect("the node answers").unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Makes a durable topic exchange and an empty durable queue that gets everything of it.
    pub(crate) async fn bind_queue(&self, channel: &Channel, exchange: &str, queue: &str) {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let table = FieldTable::default;
        channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, table()).await.unwrap();
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, table()).await.unwrap();
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), "#".into(), options, table()).await.unwrap();
    }

    /// Takes out of a queue what is in it now, in order; nothing if there is no such queue, or the node dies.
    pub(crate) async fn take(&self, queue: &str) -> Vec<Message> {
        let (_connection, channel) = self.channel().await;
        take(&channel, queue).await.unwrap_or_default()
    }
}

async fn take(channel: &Channel, queue: &str) -> lapin::Result<Vec<Message>> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    let count = u16::try_from(found.message_count()).unwrap_or(u16::MAX);
    if count == 0 {
        return Ok(Vec::new());
    }
    // The node hands out no more than this, so that what is not taken stays.
    channel.basic_qos(count, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    let mut taken = Vec::new();
    while taken.len() < count.into()
        && let Ok(Some(message)) = timeout(CLIENT_TIMEOUT, consumer.next()).await
    {
        taken.push(message?);
    }
    // Before the acknowledgement, which would make room for more.
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
    if let Some(last) = taken.last() {
        channel.basic_ack(last.delivery_tag, BasicAckOptions { multiple: true }).await?;
    }
    // The node answers in order, so then it has the acknowledgement.
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok(taken)
}
