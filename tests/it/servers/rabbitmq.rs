//! A RabbitMQ node that the tests share, one at a time, and a client that is none of the relay's code.

use std::path::PathBuf;
use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
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

    /// Takes out of a queue what is in it now, in order; nothing if there is no such queue.
    pub(crate) async fn take(&self, queue: &str) -> Vec<lapin::message::Delivery> {
        let (_connection, channel) = self.channel().await;
        let mut taken = Vec::new();
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let Ok(found) = channel.queue_declare(queue.into(), passive, FieldTable::default()).await else { return taken };
        let options = BasicGetOptions { no_ack: true };
        for _ in 0..found.message_count() {
            // A node that is just dying has nothing to give.
            let Ok(Some(message)) = channel.basic_get(queue.into(), options).await else { break };
            taken.push(message.delivery);
        }
        taken
    }
}
