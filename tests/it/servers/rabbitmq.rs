//! A RabbitMQ node that the tests share, one at a time, and a client that is none of the relay's code.

use std::path::PathBuf;
use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::script::Server;

pub(crate) const USER: &str = "relay";
pub(crate) const PASSWORD: &str = "relay-secret";
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

static NODE: Mutex<Option<Node>> = Mutex::const_new(None);

/// A node, and what was done to it. Whoever has it may kill it, stop it and fill it.
pub(crate) struct Node {
    server: Server,
    pub(crate) amqp: u16,
    pub(crate) amqps: u16,
    /// Certificates: `ca`, `client`, `strangerca`, each with `.crt`, and `.key`.
    pub(crate) tls: PathBuf,
    is_running: bool,
    is_paused: bool,
}

/// The node, running and in order; nobody else has it meanwhile. `None`: RabbitMQ is not installed. Needs a runtime
/// with several threads.
pub(crate) async fn node() -> Option<MutexGuard<'static, Option<Node>>> {
    let mut node = NODE.lock().await;
    if node.is_none() {
        *node = block_in_place(Node::start);
    }
    node.as_mut()?.heal();
    Some(node)
}

impl Node {
    fn start() -> Option<Self> {
        let server = Server::start("rabbitmq")?;
        let place = |key: &str| {
            let mut words = server.said.split_whitespace();
            words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned()
        };
        let (amqp, amqps) = (place("amqp").parse().unwrap(), place("amqps").parse().unwrap());
        let tls = place("tls").into();
        Some(Self { server, amqp, amqps, tls, is_running: true, is_paused: false })
    }

    /// What an earlier test that failed may have left.
    fn heal(&mut self) {
        if self.is_paused {
            self.resume();
        }
        if !self.is_running {
            self.restart();
        }
    }

    pub(crate) fn command(&mut self, line: &str) -> String {
        block_in_place(|| self.server.command(line))
    }

    /// As `rabbitmqctl`; arguments cannot have spaces in them.
    pub(crate) fn ctl(&mut self, line: &str) -> String {
        self.command(&format!("ctl {line}"))
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.is_running = false;
        self.command("kill9");
    }

    pub(crate) fn restart(&mut self) {
        self.command("start");
        self.is_running = true;
    }

    /// Stops the process where it is; its sockets stay open.
    pub(crate) fn pause(&mut self) {
        self.command("pause");
        self.is_paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.command("resume");
        self.is_paused = false;
    }

    /// A channel of a client that talks to it in plain.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let uri = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}", self.amqp);
        let connecting = Connection::connect(&uri, ConnectionProperties::default());
        let connection = timeout(CLIENT_TIMEOUT, connecting).await.expect("the node answers").unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Takes everything out of a queue, in order; nothing if there is no such queue.
    pub(crate) async fn take(&self, queue: &str) -> Vec<lapin::message::Delivery> {
        let (_connection, channel) = self.channel().await;
        let mut taken = Vec::new();
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        if channel.queue_declare(queue.into(), passive, FieldTable::default()).await.is_err() {
            return taken;
        }
        let options = BasicGetOptions { no_ack: true };
        // A queue that is just being made, or a node that is just dying, has nothing to give yet.
        while let Ok(Some(message)) = channel.basic_get(queue.into(), options).await {
            taken.push(message.delivery);
        }
        taken
    }
}
