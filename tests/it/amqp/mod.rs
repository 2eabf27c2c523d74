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

    /// Writes a configuration in which the sink `bus` and its neighbour get every event.
    fn configure(&self, source: &str, amqp: &str) -> PathBuf {
        self.configure_beside(source, amqp, &[])
    }

    /// The same, and so do further AMQP sinks of these names.
    fn configure_beside(&self, source: &str, amqp: &str, others: &[(&str, String)]) -> PathBuf {
        let retry = format!("retry: {{ schedule: [{}], jitter: 0 }}", ["300ms"; 200].join(", "));
        let sink = |name: &str, amqp: &str| format!("  {name}:\n    amqp: {{ {amqp} }}\n    {retry}\n");
        let sinks = others.iter().map(|(name, amqp)| sink(name, amqp)).collect::<String>() + &sink("bus", amqp);
        let names: Vec<&str> = others.iter().map(|(name, _)| *name).chain(["bus", neighbour::NAME]).collect();
        let text = format!(
            "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\" }}\n\
             store: {{ path: \"{}\" }}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n\
             sinks:\n{sinks}{}routes: {{ all: {{ match: all, sinks: [{}] }} }}\n",
            self.scene.data().display(),
            self.neighbour.sink(),
            names.join(", "),
        );
        let path = self.scene.path("relay.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The part of a sink that says where and as whom.
    fn login(&self) -> String {
        login(&self.node)
    }

    /// A sink to an exchange and a queue that the relay declares.
    fn declaring(&self) -> String {
        self.declaring_at(&self.node)
    }

    /// The same at another node.
    fn declaring_at(&self, node: &Node) -> String {
        let (login, name) = (login(node), self.name.clone());
        format!(
            "{login}, exchange: {name}, routing_key: \"nft.{{{{ action }}}}\", timeout: 5s, \
             declare: {{ queue: {{ name: {name} }} }}"
        )
    }

    /// Waits until this many different events are in the queue, and takes them.
    async fn take(&self, count: usize) -> Vec<Delivery> {
        self.take_at(&self.node, count).await
    }

    /// The same at another node.
    async fn take_at(&self, node: &Node, count: usize) -> Vec<Delivery> {
        let start = Instant::now();
        let mut taken: Vec<Delivery> = Vec::new();
        loop {
            taken.extend(node.take(&self.name).await);
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

fn login(node: &Node) -> String {
    format!("uri: \"amqp://127.0.0.1:{}\", username: {USER}, password: \"${{PASSWORD:-{PASSWORD}}}\"", node.amqp)
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
