//! What the sink decides and sends, without a cluster; the real one is in `tests/it/relay/kafka`.

mod broken;
mod judge;
mod records;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::{Format, KafkaConnection, TemplatePart};
use crate::sink::wire::Transport;

fn connection(brokers: &str) -> Arc<KafkaConnection> {
    Arc::new(KafkaConnection {
        name: None,
        brokers: vec![brokers.to_owned()],
        properties: BTreeMap::new(),
        oauth: None,
        compression: "none",
        timeout: Duration::from_secs(5),
        dangerous_allow_weak_delivery: false,
    })
}

/// A sink for the topic `nft` of that connection.
fn sink(connection: &Arc<KafkaConnection>, producers: &mut Producers) -> Kafka {
    let config = KafkaConfig {
        connection: Arc::clone(connection),
        topic: Template(vec![TemplatePart::Text("nft".to_owned())]),
        key: None,
        headers: Vec::new(),
    };
    let encoder = Encoder::new("bus", Format::Raw, Transport::Kafka);
    Kafka::new(encoder, &config, producers, &Clock::default()).unwrap()
}
