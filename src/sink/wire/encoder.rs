//! A delivery in the form that its sink asked for: body, content type and headers, the same for every transport but
//! for names and encodings.

use std::borrow::Cow;

use bytes::Bytes;

use super::cloudevents::{self, Names};
use super::{ENCODED_AS_ATTRIBUTE, Fact, encode, facts};
use crate::config::Format;
use crate::event::Delivery;
use crate::sink::Failure;

const JSON: &str = "application/json";

/// What carries the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http,
    Kafka,
    Amqp,
}

/// Knows how one sink wants its events.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    /// The name of the sink.
    pub(crate) sink: Box<str>,
    format: Format,
    transport: Transport,
}

/// What goes over the wire, beside what each transport has a place of its own for, such as the event id.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) body: Bytes,
    pub(crate) content_type: &'static str,
    /// Facts are visible ASCII on every transport; CloudEvents attributes are percent-encoded for HTTP only.
    pub(crate) headers: Vec<Fact<'a>>,
}

impl Encoder {
    pub(crate) fn new(sink: &str, format: Format, transport: Transport) -> Self {
        Self { sink: sink.into(), format, transport }
    }

    /// Fails if the message cannot be put in that form, which then never will work.
    pub(crate) fn encode<'a>(&self, delivery: &'a Delivery) -> Result<Message<'a>, Failure> {
        let event = &*delivery.event;
        let mut headers = facts(&self.sink, delivery);
        let (body, content_type) = match self.format {
            Format::Raw => (event.body.clone(), JSON),
            Format::CloudEvents => (envelope(delivery)?, self.transport.envelope_type()),
            Format::CloudEventsBinary => {
                let attributes = cloudevents::in_headers(event);
                headers.extend(attributes.map(|(names, value)| self.transport.header(names, value)));
                (event.body.clone(), JSON)
            }
        };
        Ok(Message { body, content_type, headers })
    }
}

/// The event in the structured mode of CloudEvents.
pub(crate) fn envelope(delivery: &Delivery) -> Result<Bytes, Failure> {
    cloudevents::envelope(&delivery.event).map_err(no_json)
}

pub(crate) fn no_json(error: serde_json::Error) -> Failure {
    Failure::invalid(format!("the message is not JSON: {error}"))
}

impl Transport {
    fn header<'a>(self, names: &'static Names, value: Cow<'a, str>) -> Fact<'a> {
        match self {
            Self::Http => (names.http, encode(value, ENCODED_AS_ATTRIBUTE)),
            Self::Kafka => (names.kafka, value),
            Self::Amqp => (names.amqp, value),
        }
    }

    /// The content type of the structured mode of CloudEvents.
    fn envelope_type(self) -> &'static str {
        match self {
            Self::Http => "application/cloudevents+json; charset=UTF-8",
            Self::Kafka => "application/cloudevents+json",
            Self::Amqp => "application/cloudevents+json; charset=utf-8",
        }
    }
}
