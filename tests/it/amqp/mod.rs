//! What only an AMQP broker does, tried with a real RabbitMQ: returns, blocks, closed channels, several brokers.
//!
//! What every destination has to stand is in `conformance`.

mod contract;
mod refusals;
mod trouble;

use std::collections::BTreeSet;
use std::path::PathBuf;

use lapin::message::Delivery;
use lapin::types::AMQPValue;
use tokio::time::Instant;

use crate::neighbour::{self, Neighbour};
use crate::relay::{DEADLINE, POLL, Process, Scene};
use crate::servers::Turn;
use crate::servers::rabbitmq::{Node, PASSWORD, USER, node};

/// A relay's scene with a node of its own for as long as it lives, and a name for its exchange and queue. Beside the
/// sink to that is another one, which must notice nothing of what happens to it.
struct Stage {
    node: Turn<Node>,
    name: String,
    neighbour: Neighbour,
    scene: Scene,
}

impl Stage {
    /// `None`: RabbitMQ is not there.
    async fn new(name: &str) -> Option<Self> {
        let node = node().await?;
        let neighbour = Neighbour::start().await;
        Some(Self { scene: Scene::new(), node, name: format!("amqp-{name}"), neighbour })
    }

    fn uri(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.node.amqp)
    }

    /// Writes a configuration in which the sink `bus` and its neighbour get every event.
    fn configure(&self, source: &str, amqp: &str, more: &str) -> PathBuf {
        let text = format!(
            "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\" }}\n\
             store: {{ path: \"{}\" }}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n\
             sinks:\n  bus:\n    amqp: {{ {amqp} }}\n    retry: {{ schedule: [{}], jitter: 0 }}\n{more}{}\
             routes: {{ all: {{ match: all, sinks: [bus, {}] }} }}\n",
            self.scene.data().display(),
            ["300ms"; 200].join(", "),
            self.neighbour.sink(),
            neighbour::NAME,
        );
        let path = self.scene.path("relay.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The part of a sink that says where and as whom.
    fn login(&self) -> String {
        format!("uri: \"{}\", username: {USER}, password: \"${{PASSWORD:-{PASSWORD}}}\"", self.uri())
    }

    /// A sink to an exchange and a queue that the relay declares.
    fn declaring(&self) -> String {
        let (login, name) = (self.login(), self.name.clone());
        format!(
            "{login}, exchange: {name}, routing_key: \"nft.{{{{ action }}}}\", timeout: 5s, \
             declare: {{ queue: {{ name: {name} }} }}"
        )
    }

    /// Waits until this many different events are in the queue, and takes them.
    async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let (name, start) = (self.name.clone(), Instant::now());
        let mut taken: Vec<Delivery> = Vec::new();
        loop {
            taken.extend(self.node.take(&name).await);
            let ids: BTreeSet<String> = taken.iter().map(id).collect();
            if ids.len() >= count {
                return taken;
            }
            assert!(start.elapsed() < DEADLINE, "{} of {count} events came", ids.len());
            tokio::time::sleep(POLL).await;
        }
    }

    /// While the sink is in trouble: its neighbour gets what is accepted.
    async fn is_alone_in_trouble(&self) {
        self.neighbour.keeps_up(&self.scene, "bus").await;
    }

    /// Ends a relay politely; nothing of it may have been given up, and its other sink may not have noticed anything.
    async fn stop(&self, mut relay: Process) {
        self.neighbour.is_untouched(&self.scene).await;
        relay.stop().await;
        assert!(!relay.log().contains("given up"), "{}", relay.log());
    }
}

/// A header of a message, which must be a text.
fn header(delivery: &Delivery, name: &str) -> String {
    match delivery.properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

fn id(delivery: &Delivery) -> String {
    delivery.properties.message_id().as_ref().unwrap().to_string()
}
