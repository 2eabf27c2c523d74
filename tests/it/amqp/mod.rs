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

use crate::relay::{DEADLINE, POLL, Process, Scene};
use crate::servers::Turn;
use crate::servers::rabbitmq::{Node, PASSWORD, USER, node};

/// A relay's scene with a node of its own for as long as it lives, and a name for its exchange and queue.
struct Stage {
    node: Turn<Node>,
    name: String,
    scene: Scene,
}

impl Stage {
    /// `None`: RabbitMQ is not there.
    async fn new(name: &str) -> Option<Self> {
        let node = node().await?;
        Some(Self { scene: Scene::new(), node, name: format!("amqp-{name}") })
    }

    fn uri(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.node.amqp)
    }

    /// Writes a configuration in which one sink, `bus`, gets every event.
    fn configure(&self, source: &str, amqp: &str, more: &str) -> PathBuf {
        let text = format!(
            "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\" }}\n\
             store: {{ path: \"{}\" }}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n\
             sinks:\n  bus:\n    amqp: {{ {amqp} }}\n    retry: {{ schedule: [{}], jitter: 0 }}\n{more}\
             routes: {{ all: {{ match: all, sinks: [bus] }} }}\n",
            self.scene.data().display(),
            ["300ms"; 200].join(", "),
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

/// Ends a relay politely; nothing of it may have been given up.
async fn stop(mut relay: Process) {
    relay.stop().await;
    assert!(!relay.log().contains("given up"), "{}", relay.log());
}
