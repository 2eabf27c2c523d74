//! `kafka`: a record on a topic for each event.

use std::sync::Arc;

use super::super::connections::{
    BROKER, Client, Connections, KafkaConnection, Oauth, PROPERTY_NAME, client, compressions,
};
use super::super::outline::Form;
use super::super::reader::Place;
use super::super::shape::{Named, NoMapping, Node, Text, shape};
use super::super::template::{ChainText, Own, Template, TemplatePart};
use super::headers::{HEADER_NAME, HeaderText, headers};

#[derive(Clone, Debug, PartialEq)]
pub struct KafkaConfig {
    /// The same one for all sinks that name it.
    pub connection: Arc<KafkaConnection>,
    pub topic: Template,
    /// None: the lane, so that the events of one entity are on one partition.
    pub key: Option<Template>,
    pub headers: Vec<(String, HeaderText)>,
}

shape! {
    Kafka {
        connection: NoMapping,
        brokers: NoMapping = Form::pattern(BROKER).list().filled(),
        properties: Named<NoMapping> = Form::TEXT.named(PROPERTY_NAME),
        oauth: Oauth,
        compression: NoMapping = Form::words(compressions),
        timeout: NoMapping = Form::DURATION,
        dangerous_allow_weak_delivery: NoMapping = Form::BOOL,
        topic: NoMapping = Form::TEXT.required(),
        key: NoMapping,
        headers: Named<NoMapping> = Form::TEXT.named(HEADER_NAME),
    }
}

pub(super) fn kafka(
    parent: &Place<'_>,
    node: Node<Kafka>,
    own: &Own<'_>,
    connections: &Connections<'_>,
) -> Option<KafkaConfig> {
    let (kafka, place) = parent.map("kafka", Some(node));
    let topic = topic(&place, kafka.topic, own);
    let key = place.template("key", kafka.key, own, ChainText::Allowed);
    let headers = headers(&place, kafka.headers, own);
    let mut in_place = Client::default();
    in_place.brokers = kafka.brokers;
    in_place.properties = kafka.properties;
    in_place.oauth = kafka.oauth;
    in_place.compression = kafka.compression;
    in_place.timeout = kafka.timeout;
    in_place.dangerous_allow_weak_delivery = kafka.dangerous_allow_weak_delivery;
    let connection = match kafka.connection {
        Some(node) => shared(&place, node, &in_place, connections),
        None => client(&place, in_place).map(Arc::new),
    };
    Some(KafkaConfig { connection: connection?, topic: topic?, key, headers })
}

fn shared(
    place: &Place<'_>,
    node: Text,
    in_place: &Client,
    connections: &Connections<'_>,
) -> Option<Arc<KafkaConnection>> {
    let name = place.text("connection", Some(node))?;
    if let Some(key) = in_place.first_key() {
        let hint = format!("write it in `connections.{}.kafka`, for all sinks that use it", name.text);
        name.place.fault_with(format!("`connection` and `{key}` exclude each other"), Some(hint));
    }
    connections.kafka(&name)
}

/// Kafka's own limit for the name of a topic.
pub(crate) const TOPIC_BYTES_MAX: usize = 249;

fn topic(place: &Place<'_>, node: Option<Text>, own: &Own<'_>) -> Option<Template> {
    let Some(node) = node else {
        place.fault("`topic` is missing");
        return None;
    };
    let at = node.at;
    let topic = place.template("topic", Some(node), own, ChainText::Refused)?;
    let texts = topic.0.iter().filter_map(|part| match part {
        TemplatePart::Text(text) => Some(text.as_str()),
        TemplatePart::Field(_) => None,
    });
    if !texts.into_iter().all(is_legal_in_topics) || topic.0.iter().any(is_too_long) {
        let hint = "it may have ASCII letters, digits, `.`, `_` and `-`, 249 at most".to_owned();
        place.key("topic", at).fault_with("this cannot be the name of a topic", Some(hint));
        return None;
    }
    Some(topic)
}

/// Whether every character may stand in the name of a topic.
pub(crate) fn is_legal_in_topics(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_too_long(part: &TemplatePart) -> bool {
    matches!(part, TemplatePart::Text(text) if text.len() > TOPIC_BYTES_MAX)
}
