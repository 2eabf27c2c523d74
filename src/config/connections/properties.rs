//! `properties`: handed through to librdkafka, which checks them here already.
//!
//! What would break the promise of a delivery, or has a key of its own, is refused by name.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::types::RDKafkaConfRes;
use secrecy::{ExposeSecret, SecretString};

use super::KafkaConnection;
use crate::config::Secret;
use crate::config::reader::Place;
use crate::config::shape::{Named, NoMapping, Node, Text};

/// What the names of properties look like.
pub(in crate::config) const NAME: &str = "^[a-z0-9._]+$";

/// Properties that have a key of their own.
const KEYS_OF_THEIR_OWN: [(&str, &str); 8] = [
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("compression.type", "compression"),
    ("compression.codec", "compression"),
    ("message.timeout.ms", "timeout"),
    ("delivery.timeout.ms", "timeout"),
    ("sasl.oauthbearer.method", "oauth"),
    ("sasl.oauthbearer.token.endpoint.url", "oauth"),
];

/// Properties that cannot work here, and why.
const UNUSABLE: [(&str, &str); 4] = [
    ("transactional.id", "the relay has no transactions: each event is confirmed by itself"),
    ("delivery.report.only.error", "the relay waits for the confirmation of each event"),
    ("plugin.library.paths", "the relay loads no foreign code"),
    ("enable.gapless.guarantee", "the relay keeps the order of a lane itself, and goes on after an event that fails"),
];

/// Words in the names of properties whose values nobody may see.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "token", "key.pem"];

/// Properties that name files.
const FILES: [&str; 6] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "sasl.kerberos.keytab",
];

/// The properties; none only if a fault was noted.
pub(super) fn properties(
    parent: &Place<'_>,
    node: Option<Node<Named<NoMapping>>>,
    is_weak_allowed: bool,
) -> Option<BTreeMap<String, Secret>> {
    let (properties, place) = parent.map("properties", node);
    let mut read = Some(BTreeMap::new());
    for (key, node) in properties.0 {
        let key_place = place.key(&key.name, key.at);
        let value_place = place.key(&key.name, node.at);
        match property(&key.name, &key_place, &value_place, &node, is_weak_allowed) {
            Some(value) => read.iter_mut().for_each(|read| _ = read.insert(key.name.clone(), value.clone())),
            None => read = None,
        }
    }
    read
}

fn property(name: &str, key: &Place<'_>, place: &Place<'_>, node: &Text, is_weak_allowed: bool) -> Option<Secret> {
    if let Some((_, own)) = KEYS_OF_THEIR_OWN.iter().find(|(property, _)| *property == name) {
        key.fault_with(format!("`{name}` has a key of its own"), Some(format!("write `{own}` beside `properties`")));
        return None;
    }
    if let Some((_, reason)) = UNUSABLE.iter().find(|(property, _)| *property == name) {
        key.fault(*reason);
        return None;
    }
    let is_secret = is_secret(name);
    let mut value = place.secret(node, !is_secret)?;
    if is_file(name) {
        value = readable(place, &value)?;
    }
    let text = value.current();
    refuse_weak(name, text.expose_secret(), place, is_weak_allowed)?;
    librdkafka_takes(name, &text, is_secret).map_err(|(reason, hint)| place.fault_with(reason, hint)).ok()?;
    Some(value)
}

/// Whether nobody may see the values of this property.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether this property names a file.
pub(super) fn is_file(name: &str) -> bool {
    FILES.contains(&name)
}

/// The path of a file, relative to the file that it is written in.
fn readable(place: &Place<'_>, value: &Secret) -> Option<Secret> {
    let text = value.current();
    if text.expose_secret() == "probe" {
        return Some(value.clone());
    }
    let path = place.beside(text.expose_secret());
    match std::fs::metadata(&path) {
        Ok(_) => Some(Secret::literal(path.to_string_lossy())),
        Err(error) => {
            place.fault(format!("cannot read {}: {error}", path.display()));
            None
        }
    }
}

fn refuse_weak(name: &str, value: &str, place: &Place<'_>, is_allowed: bool) -> Option<()> {
    let reason = match name {
        "acks" | "request.required.acks" if !matches!(value, "all" | "-1") => {
            "with fewer than all acknowledgements an event that counts as delivered can be lost"
        }
        "enable.idempotence" if matches!(value, "false" | "f" | "0") => {
            "without idempotence the retries of the client repeat events and change their order"
        }
        "partitioner" if value == "random" => "a random partition for each event leaves no order to a token's events",
        _ => return Some(()),
    };
    if is_allowed {
        return Some(());
    }
    let hint = "if that is meant, write `dangerous_allow_weak_delivery: true` beside `properties`".to_owned();
    place.fault_with(reason, Some(hint));
    None
}

/// Asks librdkafka about one property. The value of a secret one does not stand in the message.
fn librdkafka_takes(name: &str, value: &SecretString, is_secret: bool) -> Result<(), (String, Option<String>)> {
    let asked = ClientConfig::new().set(name, value.expose_secret()).create_native_config();
    let Err(error) = asked else { return Ok(()) };
    let names = "librdkafka lists what it knows in its CONFIGURATION.md".to_owned();
    Err(match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            (format!("librdkafka has no property `{name}`"), Some(names))
        }
        KafkaError::ClientConfig(_, reason, ..) if !is_secret => (format!("librdkafka says: {reason}"), None),
        _ => (format!("librdkafka does not take this value for `{name}`"), None),
    })
}

/// Warns of properties that have no effect, and of what anybody in between could read.
pub(super) fn check_security(place: &Place<'_>, connection: &KafkaConnection) {
    let protocol = connection.property("security.protocol").map(|text| text.to_lowercase());
    let protocol = protocol.as_deref().unwrap_or(if connection.oauth.is_some() { "sasl_ssl" } else { "plaintext" });
    let given = |prefix: &str| connection.properties.keys().any(|name| name.starts_with(prefix));
    if connection.oauth.is_some() && !protocol.starts_with("sasl_") {
        place.fault(format!("`oauth` needs `security.protocol: SASL_SSL`, and it is {protocol}"));
    }
    let mechanism = connection.property("sasl.mechanism").or_else(|| connection.property("sasl.mechanisms"));
    if connection.oauth.is_some() && mechanism.is_some_and(|text| !text.eq_ignore_ascii_case("OAUTHBEARER")) {
        place.fault("`oauth` goes with the mechanism OAUTHBEARER, and another one is given");
    }
    if given("sasl.") && !protocol.starts_with("sasl_") {
        let hint = "write `security.protocol: SASL_SSL`".to_owned();
        place.warn(format!("the sasl properties have no effect: `security.protocol` is {protocol}"), Some(hint));
    }
    if given("ssl.") && !protocol.ends_with("ssl") {
        let hint = "write `security.protocol: SSL`, or SASL_SSL".to_owned();
        place.warn(format!("the ssl properties have no effect: `security.protocol` is {protocol}"), Some(hint));
    }
    if protocol == "sasl_plaintext" {
        place.warn("credentials are sent unencrypted", Some("use SASL_SSL".to_owned()));
    }
    let is_unchecked = connection.property("enable.ssl.certificate.verification").is_some_and(|text| text == "false");
    let is_anybody =
        connection.property("ssl.endpoint.identification.algorithm").is_some_and(|text| text.to_lowercase() == "none");
    if protocol.ends_with("ssl") && (is_unchecked || is_anybody) {
        place.warn("the broker's certificate is not checked, so anybody in between can read and change events", None);
    }
}

/// Lets librdkafka look at all of it together, with the files that are named, but without brokers to go to.
pub(super) fn check_whole(place: &Place<'_>, connection: &KafkaConnection) -> Option<()> {
    let mut config = ClientConfig::new();
    for (name, value) in connection.settings() {
        config.set(name, value.expose_secret());
    }
    config.remove("bootstrap.servers");
    match config.create::<BaseProducer>() {
        Ok(_) => Some(()),
        Err(KafkaError::ClientCreation(reason)) => {
            place.fault(format!("librdkafka says: {reason}"));
            None
        }
        Err(_) => {
            place.fault("librdkafka does not take these properties together");
            None
        }
    }
}
