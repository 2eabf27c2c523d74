//! A delivery as an AMQP message: where it goes, its properties and its body.

use std::borrow::Cow;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use secrecy::ExposeSecret;

use crate::config::{HeaderText, Template};
use crate::event::Delivery;
use crate::sink::Failure;
use crate::sink::wire::{self, Encoder, Fact};

/// What AMQP calls a short string has at most this many bytes.
const SHORT_STRING_BYTES_MAX: usize = 255;
/// The delivery mode of a message that survives a restart of its broker, if the queue does.
const PERSISTENT: u8 = 2;
const APPLICATION: &str = "cspr-relay";

/// Ready to be published.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) target: Target<'a>,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// Where a message goes.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub(super) exchange: Cow<'a, str>,
    pub(super) routing_key: Cow<'a, str>,
}

/// How a sink makes its messages.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) encoder: Encoder,
    pub(super) exchange: Template,
    pub(super) routing_key: Template,
    /// The operator's own.
    pub(super) headers: Vec<(ShortString, HeaderText)>,
}

impl Form {
    /// The failure says why it never will be a message.
    pub(super) fn message<'a>(&'a self, delivery: &'a Delivery) -> Result<Message<'a>, Failure> {
        let wire::Message { body, content_type, headers } = self.encoder.encode(delivery)?;
        let headers = self.headers(delivery, &headers)?;
        let (exchange, routing_key) = (exchange(&self.exchange, delivery)?, routing_key(&self.routing_key, delivery)?);
        Ok(Message {
            target: Target { exchange, routing_key },
            properties: properties(delivery, content_type, headers),
            body,
        })
    }

    /// The operator's first: what the relay itself says takes their place.
    fn headers(&self, delivery: &Delivery, facts: &[Fact<'_>]) -> Result<FieldTable, Failure> {
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            let value = match value {
                HeaderText::Fixed(secret) => text(secret.current().expose_secret()),
                HeaderText::Template(template) => text(&wire::render_header(template, delivery)?),
            };
            headers.insert(name.clone(), value);
        }
        for (name, value) in facts {
            headers.insert((*name).into(), text(value));
        }
        Ok(headers)
    }
}

/// The exchange that a template names for a delivery.
pub(in crate::sink) fn exchange<'a>(template: &'a Template, delivery: &'a Delivery) -> Result<Cow<'a, str>, Failure> {
    short("the name of the exchange", wire::render(template, delivery)?)
}

/// The routing key that a template makes of a delivery.
pub(in crate::sink) fn routing_key<'a>(
    template: &'a Template,
    delivery: &'a Delivery,
) -> Result<Cow<'a, str>, Failure> {
    short("the routing key", wire::render(template, delivery)?)
}

fn properties(delivery: &Delivery, content_type: &'static str, headers: FieldTable) -> BasicProperties {
    let event = &*delivery.event;
    let properties = BasicProperties::default()
        .with_content_type(content_type.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(wire::printed(&event.id).into())
        .with_timestamp(event.accepted_at.unix_seconds())
        .with_app_id(APPLICATION.into())
        .with_headers(headers);
    // An action is text from outside; its header is left out at a length where this one would be, too.
    let kind = format!("{}.{}", event.stream.as_str(), event.facts.action);
    if kind.len() <= SHORT_STRING_BYTES_MAX { properties.with_type(kind.into()) } else { properties }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn short<'a>(what: &str, value: Cow<'a, str>) -> Result<Cow<'a, str>, Failure> {
    match value.len() {
        0..=SHORT_STRING_BYTES_MAX => Ok(value),
        bytes => {
            Err(Failure::invalid(format!("{what} would have {bytes} bytes; AMQP allows {SHORT_STRING_BYTES_MAX}")))
        }
    }
}
