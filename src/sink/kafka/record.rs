//! From a delivery to a record of Kafka.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use secrecy::ExposeSecret;

use super::Kafka;
use crate::config::{HeaderText, TOPIC_BYTES_MAX, Template, is_legal_in_topics};
use crate::event::{Delivery, Event};
use crate::sink::Failure;
use crate::sink::wire::{self, Message};

/// A record, before it is copied into the producer's queue.
pub(super) struct Record<'a> {
    pub(super) topic: Cow<'a, str>,
    key: Option<Cow<'a, str>>,
    id: String,
    message: Message<'a>,
    /// The operator's own headers.
    headers: Vec<(&'a str, Cow<'a, str>)>,
    timestamp_ms: i64,
}

impl<'a> Record<'a> {
    /// Fails if no record can be made of this event, whenever it is tried.
    pub(super) fn new(sink: &'a Kafka, delivery: &'a Delivery) -> Result<Self, Failure> {
        let topic = topic(&sink.topic, delivery)?;
        let key = key(sink.key.as_ref(), delivery)?;
        let message = sink.encoder.encode(delivery)?;
        let own = sink.headers.iter().map(|(name, value)| Ok((name.as_str(), own_header(value, delivery)?)));
        let headers = own.collect::<Result<_, Failure>>()?;
        let (id, timestamp_ms) = (wire::printed(&delivery.event.id), timestamp_ms(&delivery.event));
        Ok(Self { topic, key, id, message, headers, timestamp_ms })
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.message.body
    }

    /// The same in librdkafka's form, whose headers are many small allocations: made once for each sending.
    pub(super) fn to_future(&self) -> FutureRecord<'_, str, [u8]> {
        let record =
            FutureRecord::to(&self.topic).payload(self.body()).headers(self.all_headers()).timestamp(self.timestamp_ms);
        match &self.key {
            Some(key) => record.key(key),
            None => record,
        }
    }

    fn all_headers(&self) -> OwnedHeaders {
        let first = [("cspr-relay-id", self.id.as_str()), ("content-type", self.message.content_type)];
        let facts = self.message.headers.iter().map(|(name, value)| (*name, &**value));
        let own = self.headers.iter().map(|(name, value)| (*name, &**value));
        let count = first.len() + self.message.headers.len() + self.headers.len();
        let all = first.into_iter().chain(facts).chain(own);
        all.fold(OwnedHeaders::new_with_capacity(count), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    }
}

fn own_header<'a>(value: &'a HeaderText, delivery: &'a Delivery) -> Result<Cow<'a, str>, Failure> {
    match value {
        HeaderText::Fixed(text) => Ok(text.current().expose_secret().to_owned().into()),
        HeaderText::Template(template) => wire::render_header(template, delivery),
    }
}

/// The topic that a template names for a delivery.
pub(in crate::sink) fn topic<'a>(template: &'a Template, delivery: &'a Delivery) -> Result<Cow<'a, str>, Failure> {
    let name = wire::render(template, delivery)?;
    let is_legal = is_legal_in_topics(&name) && name.len() <= TOPIC_BYTES_MAX && !matches!(&*name, "." | "..");
    if is_legal { Ok(name) } else { Err(Failure::invalid("the event makes an illegal name for a topic".to_owned())) }
}

/// The key of a delivery: what the template makes of it, else its lane.
pub(in crate::sink) fn key<'a>(
    template: Option<&'a Template>,
    delivery: &'a Delivery,
) -> Result<Option<Cow<'a, str>>, Failure> {
    match template {
        Some(template) => Ok(Some(wire::render(template, delivery)?)),
        None => Ok(lane(&delivery.event)),
    }
}

/// What keeps the events of one entity on one partition; none on streams without entities.
fn lane(event: &Event) -> Option<Cow<'_, str>> {
    match (&event.facts.contract_package, &event.facts.token_id) {
        (Some(package), Some(token)) => Some([package, ":", token].concat().into()),
        (Some(package), None) => Some((&**package).into()),
        (None, _) => None,
    }
}

/// When the event happened, or else when it was accepted.
fn timestamp_ms(event: &Event) -> i64 {
    let said = event.facts.timestamp.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let accepted = i64::try_from(event.accepted_at.0).unwrap_or(i64::MAX);
    said.map_or(accepted, jiff::Timestamp::as_millisecond).max(0)
}
