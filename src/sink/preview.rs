//! What a sink would make of a delivery, told without a destination: for operators who ask before they send.
//!
//! The texts come from the functions that make the real messages.

use std::borrow::Cow;

use super::{Failure, amqp, kafka, wire};
use crate::config::{HeaderText, SinkConfig, SinkKind};
use crate::event::Delivery;

/// A text that differs from event to event, such as a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// `topic`, `key`, `exchange`, `routing_key`, or `headers.` and a name.
    pub(crate) name: String,
    /// Or why the sink would reject the delivery.
    pub(crate) text: Result<String, String>,
}

impl Part {
    fn new(name: impl Into<String>, text: Result<Cow<'_, str>, Failure>) -> Self {
        Self { name: name.into(), text: text.map(Cow::into_owned).map_err(|failure| failure.detail) }
    }
}

/// The texts that the templates of a sink, and its rules where there are none, make of a delivery.
pub(crate) fn preview(config: &SinkConfig, delivery: &Delivery) -> Vec<Part> {
    let (mut parts, headers) = match &config.kind {
        SinkKind::Webhook(webhook) => (Vec::new(), webhook.headers.as_slice()),
        SinkKind::Kafka(kafka) => {
            let topic = Part::new("topic", kafka::topic(&kafka.topic, delivery));
            let key = kafka::key(kafka.key.as_ref(), delivery).transpose().map(|key| Part::new("key", key));
            (std::iter::once(topic).chain(key).collect(), kafka.headers.as_slice())
        }
        SinkKind::Amqp(amqp) => {
            let exchange = Part::new("exchange", amqp::exchange(&amqp.exchange, delivery));
            let routing_key = Part::new("routing_key", amqp::routing_key(&amqp.routing_key, delivery));
            (vec![exchange, routing_key], amqp.headers.as_slice())
        }
        SinkKind::Stdout => (Vec::new(), [].as_slice()),
    };
    // A header that is the same for every event may be a secret.
    parts.extend(headers.iter().filter_map(|(name, value)| match value {
        HeaderText::Fixed(_) => None,
        HeaderText::Template(template) => {
            Some(Part::new(format!("headers.{name}"), wire::render_header(template, delivery)))
        }
    }));
    parts
}
