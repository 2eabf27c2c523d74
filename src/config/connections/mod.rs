//! `connections`: clients that several sinks share.

mod kafka;
mod oauth;
mod properties;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::suggest;
use super::named::entries;
use super::reader::{Given, Place};
use super::shape::{Named, Node, shape};

pub use kafka::KafkaConnection;
pub(super) use kafka::{BROKER, Client, client, compressions};
pub(super) use oauth::Oauth;
pub use oauth::OauthConfig;
pub(super) use properties::NAME as PROPERTY_NAME;

shape! { Connection { kafka: Client, } }

/// The connections that could be read, by name.
#[derive(Default)]
pub(super) struct Connections<'a>(BTreeMap<String, Entry<'a>>);

struct Entry<'a> {
    place: Place<'a>,
    /// None if it has faults of its own.
    kafka: Option<Arc<KafkaConnection>>,
    is_used: Cell<bool>,
}

pub(super) fn connections<'a>(root: &Place<'a>, node: Option<Node<Named<Connection>>>) -> Connections<'a> {
    let Some(node) = node else { return Connections::default() };
    let section = vec![(root.clone(), Some(node))];
    let mut named = BTreeMap::new();
    for entry in entries("connections", section, "there are no connections: remove the key") {
        let (name, name_place) = (entry.name.clone(), entry.place.clone());
        let (connection, place) = entry.read();
        if connection.kafka.is_none() {
            place.fault("a connection needs to say what it leads to: `kafka`");
        }
        let kafka = connection.kafka.and_then(|node| kafka::in_section(&name, &place, node)).map(Arc::new);
        named.insert(name, Entry { place: name_place, kafka, is_used: Cell::new(false) });
    }
    Connections(named)
}

impl Connections<'_> {
    /// The connection that a sink names; none if a fault was noted.
    pub(super) fn kafka(&self, name: &Given<'_>) -> Option<Arc<KafkaConnection>> {
        let Some(entry) = self.0.get(&name.text) else {
            let hint = suggest(&name.text, self.0.keys().map(String::as_str));
            name.place.fault_with(format!("there is no connection `{}` in `connections`", name.text), hint);
            return None;
        };
        entry.is_used.set(true);
        entry.kafka.clone()
    }

    pub(super) fn warn_of_unused(&self) {
        for (name, entry) in self.0.iter().filter(|(_, entry)| !entry.is_used.get()) {
            entry.place.warn(format!("no sink uses the connection `{name}`"), None);
        }
    }
}
