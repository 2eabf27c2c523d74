//! Deliveries for the tests of all sinks.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::event::{Delivery, Event, EventId, Facts, Network, Occasion, Origin, Sequence, Stream};

/// A delivery of a token of that id, with a small JSON body.
pub(super) fn delivery(token_id: &str) -> Delivery {
    let facts = Facts {
        action: "created".into(),
        contract_package: Some("53".repeat(32).into()),
        token_id: Some(token_id.into()),
        ..Facts::default()
    };
    let event = Event {
        id: EventId(*b"0123456789abcdef"),
        sequence: Sequence { epoch: 1000, number: 7 },
        network: Network::Testnet,
        stream: Stream::NftTokens,
        origin: Origin::Stream,
        accepted_at: Timestamp(1_707_301_289_557),
        facts,
        body: Bytes::from_static(br#"{"data": {"token_id":"1"},"action":"created"}"#),
    };
    let routes: Vec<Arc<str>> = vec!["bucha-city".into(), "a,b".into()];
    Delivery { event: Arc::new(event), routes: routes.into(), attempt: 2, occasion: Occasion::Live }
}
