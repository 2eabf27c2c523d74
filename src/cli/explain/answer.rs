//! All that there is to say about one message.

use crate::event::{Decoded, EventId, Malformed, Network, Stream, decode};
use crate::route::{Explained, Router, SinkMatch};

pub(super) struct Answer<'r> {
    pub(super) network: Network,
    pub(super) stream: Stream,
    pub(super) decoded: Decoded,
    pub(super) known: Known,
    /// The sinks that would get it, with the routes that lead there.
    pub(super) sinks: Vec<SinkMatch>,
    pub(super) routes: Vec<Explained<'r>>,
}

/// Whether the relay has accepted the event before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Accepted {
        sequence: u64,
    },
    New,
    /// There is no store, or none that can be read.
    NoStore,
}

/// What the relay would make of a message. `find` says where the store has an id; none: there is no store.
pub(super) fn answer<'r, E>(
    network: Network,
    router: &'r Router,
    (stream, body): (Stream, &[u8]),
    find: impl FnOnce(EventId) -> Result<Option<Option<u64>>, E>,
) -> Result<Result<Answer<'r>, Malformed>, E> {
    let decoded = match decode(network, stream, body) {
        Ok(decoded) => decoded,
        Err(malformed) => return Ok(Err(malformed)),
    };
    let known = match find(decoded.identity.id)? {
        None => Known::NoStore,
        Some(None) => Known::New,
        Some(Some(sequence)) => Known::Accepted { sequence },
    };
    let sinks = router.route(stream, &decoded.facts, body).sinks;
    let routes = router.explain(stream, &decoded.facts, body);
    Ok(Ok(Answer { network, stream, decoded, known, sinks, routes }))
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
