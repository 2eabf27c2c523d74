//! All that there is to say about one message.

use super::known::Known;
use crate::event::{Decoded, Network, Stream};
use crate::route::{Explained, SinkMatch};
use crate::sink::Part;

/// A sink that would get the message.
pub(super) struct Destination {
    /// With the routes that lead there.
    pub(super) sink: SinkMatch,
    /// What the sink would make of it, as far as that differs from event to event.
    pub(super) parts: Vec<Part>,
}

pub(super) struct Answer<'r> {
    pub(super) network: Network,
    pub(super) stream: Stream,
    pub(super) decoded: Decoded,
    pub(super) known: Known,
    /// The sinks that would get it.
    pub(super) sinks: Vec<Destination>,
    pub(super) routes: Vec<Explained<'r>>,
}

impl Answer<'_> {
    /// Without the routes that are not named; all of them if none is.
    pub(super) fn only(mut self, names: &[String]) -> Self {
        self.routes.retain(|route| names.is_empty() || names.iter().any(|name| name == route.route));
        self
    }

    /// What the id is made of, by the names that stand in messages and headers.
    pub(super) fn identity(&self) -> [(&'static str, Option<String>); 7] {
        let facts = &self.decoded.facts;
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        [
            ("network", Some(self.network.to_string())),
            ("stream", Some(self.stream.to_string())),
            ("action", Some(facts.action.to_string())),
            ("contract_package", text(&facts.contract_package)),
            ("token_id", text(&facts.token_id)),
            ("deploy_hash", text(&facts.deploy_hash)),
            ("state", Some(String::from_utf8_lossy(&self.decoded.state).into_owned())),
        ]
    }
}
