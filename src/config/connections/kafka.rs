//! A client of a Kafka cluster: brokers, credentials, and what else librdkafka is told.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::oauth::{Oauth, OauthConfig, oauth};
use super::properties::{self, properties};
use crate::config::Secret;
use crate::config::outline::{Form, words_of};
use crate::config::reader::Place;
use crate::config::shape::{Named, NoMapping, Node, Text, shape};

/// A producer; sinks that name one connection share it.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaConnection {
    /// In `connections`; none if it is that of one sink.
    pub name: Option<String>,
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// Further properties of librdkafka, all of which it knows.
    pub properties: BTreeMap<String, Secret>,
    pub oauth: Option<OauthConfig>,
    pub compression: &'static str,
    /// Bounds an attempt, from the relay's hands to the confirmation of the broker.
    pub timeout: Duration,
    /// Confirmations may be weaker than "all replicas in sync have it, once".
    pub dangerous_allow_weak_delivery: bool,
}

const COMPRESSIONS: [(&str, &str); 5] =
    [("none", "none"), ("gzip", "gzip"), ("snappy", "snappy"), ("lz4", "lz4"), ("zstd", "zstd")];
const TRUTHS: [(&str, bool); 2] = [("true", true), ("false", false)];

const TIMEOUT: Duration = Duration::from_secs(30);
/// A topic that was only just made may be unknown to a broker for a while.
const TOPIC_APPEARS_WITHIN: Duration = Duration::from_secs(10);
/// More than any broker takes by default, so that it is the broker who says what is too large. Batches stay below
/// librdkafka's `batch.size`.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
pub(in crate::config) const BROKER: &str = r"^[^\s,/]+:[0-9]{1,5}$";

shape! {
    Client {
        brokers: NoMapping = Form::pattern(BROKER).list().required().filled(),
        properties: Named<NoMapping> = Form::TEXT.named(properties::NAME),
        oauth: Oauth,
        compression: NoMapping = Form::words(compressions),
        timeout: NoMapping = Form::DURATION,
        dangerous_allow_weak_delivery: NoMapping = Form::BOOL,
    }
}

/// The words for `compression`.
pub(in crate::config) fn compressions() -> Vec<&'static str> {
    words_of(&COMPRESSIONS)
}

impl Client {
    /// A key that is given, if any is.
    pub(in crate::config) fn first_key(&self) -> Option<&'static str> {
        let keys = [
            ("brokers", self.brokers.is_some()),
            ("properties", self.properties.is_some()),
            ("oauth", self.oauth.is_some()),
            ("compression", self.compression.is_some()),
            ("timeout", self.timeout.is_some()),
            ("dangerous_allow_weak_delivery", self.dangerous_allow_weak_delivery.is_some()),
        ];
        keys.into_iter().find(|(_, is_given)| *is_given).map(|(key, _)| key)
    }
}

pub(super) fn in_section(name: &str, parent: &Place<'_>, node: Node<Client>) -> Option<KafkaConnection> {
    let (keys, place) = parent.map("kafka", Some(node));
    client(&place, keys).map(|connection| KafkaConnection { name: Some(name.to_owned()), ..connection })
}

/// A client as its keys describe it; none only if a fault was noted.
pub(in crate::config) fn client(place: &Place<'_>, keys: Client) -> Option<KafkaConnection> {
    let brokers = brokers(place, keys.brokers);
    let weak = place.choice("dangerous_allow_weak_delivery", keys.dangerous_allow_weak_delivery, &TRUTHS);
    let weak = weak.unwrap_or_default();
    if weak {
        place.warn("confirmed events may be lost or come in another order, if the properties say so", None);
    }
    let oauth_place = keys.oauth.as_ref().map(|node| place.key("oauth", node.key));
    let properties = properties(place, keys.properties, weak);
    let oauth = match keys.oauth {
        Some(node) => Some(oauth(place, node)?),
        None => None,
    };
    let connection = KafkaConnection {
        name: None,
        compression: place.choice("compression", keys.compression, &COMPRESSIONS).unwrap_or("none"),
        timeout: place.duration("timeout", keys.timeout, TIMEOUT),
        dangerous_allow_weak_delivery: weak,
        brokers: brokers?,
        properties: properties?,
        oauth,
    };
    properties::check_security(oauth_place.as_ref().unwrap_or(place), &connection);
    properties::check_whole(place, &connection)?;
    Some(connection)
}

fn brokers(place: &Place<'_>, node: Option<Text>) -> Option<Vec<String>> {
    let Some(node) = node else {
        place.fault("`brokers` is missing: where to ask for the cluster, such as [kafka-0:9092]");
        return None;
    };
    let at = node.at;
    let given = place.texts("brokers", Some(node)).unwrap_or_default();
    if given.is_empty() {
        place.key("brokers", at).fault("there must be at least one broker");
    }
    given.iter().map(|given| given.parse(broker)).collect()
}

fn broker(text: &str) -> Result<String, String> {
    let is_whole = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ',', ' ', '@']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_whole { Ok(text.to_owned()) } else { Err(format!("expected a broker as host:port, found `{text}`")) }
}

impl KafkaConnection {
    /// Everything librdkafka is told, with the present values of secrets.
    pub(crate) fn settings(&self) -> Vec<(String, SecretString)> {
        let ours = self.defaults().into_iter().map(|(name, value)| (name.to_owned(), SecretString::from(value)));
        let mut settings: BTreeMap<String, SecretString> = ours.collect();
        if self.properties.contains_key("request.required.acks") {
            // The other name of the same.
            settings.remove("acks");
        }
        settings.extend(self.properties.iter().map(|(name, value)| (name.clone(), value.current())));
        settings.into_iter().collect()
    }

    fn defaults(&self) -> Vec<(&'static str, String)> {
        let mut defaults = vec![
            ("bootstrap.servers", self.brokers.join(",")),
            ("client.id", "cspr-relay".to_owned()),
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            // As the Java clients do it, so that their topics and ours can be joined by key.
            ("partitioner", "murmur2_random".to_owned()),
            ("compression.type", self.compression.to_owned()),
            ("message.timeout.ms", self.timeout.as_millis().to_string()),
            ("topic.metadata.propagation.max.ms", self.timeout.min(TOPIC_APPEARS_WITHIN).as_millis().to_string()),
            ("message.max.bytes", MESSAGE_BYTES_MAX.to_string()),
            ("socket.keepalive.enable", "true".to_owned()),
        ];
        if self.oauth.is_some() {
            defaults
                .extend([("security.protocol", "SASL_SSL".to_owned()), ("sasl.mechanism", "OAUTHBEARER".to_owned())]);
        }
        defaults
    }

    /// The present contents of the certificates and keys that are named, as far as they can be read.
    pub(crate) fn files(&self) -> Vec<Vec<u8>> {
        let named = self.properties.iter().filter(|(name, _)| properties::is_file(name));
        named.filter_map(|(_, path)| std::fs::read(path.current().expose_secret()).ok()).collect()
    }

    /// The present values of what nobody may see.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = SecretString> {
        let properties = self.properties.iter().filter(|(name, _)| properties::is_secret(name));
        properties.map(|(_, value)| value.current())
    }

    /// The present value of a property, if it is given.
    pub(super) fn property(&self, name: &str) -> Option<String> {
        self.properties.get(name).map(|value| value.current().expose_secret().to_owned())
    }
}
