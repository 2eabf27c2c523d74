//! A RabbitMQ exchange with a durable queue behind it, as a destination.

use lapin::message::Delivery;
use lapin::options::QueueDeleteOptions;
use lapin::types::AMQPValue;

use super::{Access, Destination, Receipt};
use crate::consumers::Consumer;
use crate::servers::Turn;
use crate::servers::rabbitmq::{Node, PASSWORD, USER, node};

pub(super) struct Exchange {
    node: Turn<Node>,
    name: String,
    received: Vec<Receipt>,
}

impl Destination for Exchange {
    /// `max_message_size` of the node is 2,000,000.
    const BYTES_MAX: usize = 2_000_000;

    async fn start(name: &str) -> Option<Self> {
        let node = node().await?;
        let name = format!("conformance-{name}");
        let (_connection, channel) = node.channel().await;
        // The relay declares the first queue; the second one gets the same for another client.
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        node.bind_queue(&channel, &name, &another(&name)).await;
        Some(Self { node, name, received: Vec::new() })
    }

    fn sink(&self, access: &Access<'_>) -> String {
        let (node, name) = (&self.node, &self.name);
        let key = access.key.unwrap_or("nft.{{ action }}");
        let (scheme, port, tls) = match access.ca_file {
            Some(file) => ("amqps", node.amqps, format!(", tls: {{ ca_file: {} }}", file.display())),
            None => ("amqp", node.amqp, String::new()),
        };
        format!(
            "amqp: {{ uri: \"{scheme}://localhost:{port}\", username: {USER}, password: \"${{file:{}}}\", \
             exchange: {name}, routing_key: \"{key}\", declare: {{ queue: {{ name: {name} }} }}, \
             timeout: 2s, headers: {{ X-Life: \"${{LIFE:-0}}\" }}{tls} }}",
            access.secret_file.display()
        )
    }

    fn secrets(&self) -> [String; 2] {
        [PASSWORD, "another-secret"].map(str::to_owned)
    }

    fn authorities(&self) -> [String; 2] {
        let tls = &self.node.tls;
        ["ca.crt", "stranger.crt"].map(|file| std::fs::read_to_string(tls.join(file)).unwrap())
    }

    async fn kill(&mut self) {
        self.node.server.kill();
    }

    async fn restart(&mut self) {
        self.node.server.restart();
    }

    async fn pause(&mut self) {
        self.node.server.pause();
    }

    async fn resume(&mut self) {
        self.node.server.resume();
    }

    /// The queue is full, and rejects what comes.
    async fn refuse(&mut self) {
        let name = &self.name;
        self.node.ctl(&format!("set_policy full ^{name}$ {{\"max-length\":0,\"overflow\":\"reject-publish\"}}"));
    }

    async fn accept(&mut self) {
        self.node.ctl("clear_policy full");
    }

    async fn received(&mut self) -> &[Receipt] {
        let taken = self.node.take(&self.name).await;
        self.received.extend(taken.into_iter().map(receipt));
        &self.received
    }

    async fn ids_read_by_another_client(&mut self, count: usize) -> Option<Vec<String>> {
        let url = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}", self.node.amqp);
        Consumer::start("java-amqp", &another(&self.name), ("AMQP_URL", &url)).read(count).await
    }
}

fn another(queue: &str) -> String {
    format!("{queue}-another")
}

fn receipt(delivery: Delivery) -> Receipt {
    let properties = &delivery.properties;
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    let table = properties.headers().as_ref().unwrap().inner();
    let header = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => text.to_string(),
        other => panic!("a header that is no text: {other:?}"),
    };
    Receipt {
        id: properties.message_id().as_ref().unwrap().to_string(),
        headers: table.iter().map(|(name, value)| (name.as_str().to_lowercase(), header(value))).collect(),
        body: delivery.data,
    }
}
