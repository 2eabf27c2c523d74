//! Trying a sink with an event that never was.
//!
//! It goes the way of every delivery but for the queue: the same bytes on the wire, the same signature, the same
//! judgement, and a header that says what it is. Nothing of it is stored, retried or counted, and neither a pause nor
//! the breaker keeps it back, since it is how an operator finds out whether to resume.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Setup;
use super::group::deliver;
use crate::clock::Timestamp;
use crate::event::{self, Delivery, Event, EventId, Network, Occasion, Origin, Sequence, Stream};
use crate::sink::{Cause, Failure, Outcome};

/// Somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(18);

/// What came of a trial.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) id: EventId,
    pub(crate) took: Duration,
    pub(crate) is_delivered: bool,
    /// The HTTP status where there is one.
    pub(crate) status: Option<u16>,
    /// Why it was not delivered, as a word and in words.
    pub(crate) cause: Option<&'static str>,
    pub(crate) detail: Option<String>,
}

/// Sends one test event.
pub(crate) async fn trial(setup: &Setup, network: Network, now: Timestamp) -> Trial {
    let event = event(network, now);
    let id = event.id;
    let delivery = Delivery { event: Arc::new(event), routes: Arc::from([]), attempt: 1, occasion: Occasion::Test };
    let began = tokio::time::Instant::now();
    let outcome = tokio::time::timeout(PATIENCE, deliver(&*setup.sink, delivery)).await;
    let (is_delivered, status, failure) = match outcome {
        Ok(Outcome::Delivered { status }) => (true, status, None),
        Ok(Outcome::Retry { failure, .. } | Outcome::Reject { failure }) => (false, failure.status, Some(failure)),
        Err(_elapsed) => {
            let detail = format!("no answer within {} s; the sink itself waits longer", PATIENCE.as_secs());
            (false, None, Some(Failure { cause: Cause::Timeout, status: None, detail }))
        }
    };
    let cause = failure.as_ref().map(|failure| failure.cause.as_str());
    Trial { id, took: began.elapsed(), is_delivered, status, cause, detail: failure.map(|failure| failure.detail) }
}

/// A token of a package that cannot exist, with a value for whatever a template may name. Its id differs from that of
/// every real event, and from that of the last test.
fn event(network: Network, now: Timestamp) -> Event {
    let zeros = "0".repeat(64);
    let body = Bytes::from(format!(
        "{{\"data\":{{\"contract_package_hash\":\"{zeros}\",\"token_id\":\"test\",\"owner_type\":0,\
         \"owner_hash\":\"{zeros}\",\"is_burned\":false}},\"action\":\"updated\",\
         \"extra\":{{\"deploy_hash\":\"{zeros}\",\"test\":true}},\"timestamp\":\"{now}\"}}"
    ));
    let digest = Sha256::new().chain_update("a test of a sink").chain_update(&body).finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    let stream = Stream::NftTokens;
    // It is written above, and a test reads it.
    let facts = event::facts(stream, &body).unwrap_or_default();
    Event {
        id: EventId(id),
        sequence: Sequence { epoch: 0, number: 0 },
        network,
        stream,
        origin: Origin::Stream,
        accepted_at: now,
        facts,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_event_has_every_fact_and_an_id_of_its_own() {
        let (one, other) = (event(Network::Testnet, Timestamp(1)), event(Network::Testnet, Timestamp(2)));
        assert_ne!(one.id, other.id);
        let facts = one.facts;
        assert_eq!((&*facts.action, facts.token_id.as_deref()), ("updated", Some("test")));
        assert!(facts.contract_package.is_some() && facts.owner.is_some() && facts.deploy_hash.is_some());
        assert_eq!(facts.timestamp.as_deref(), Some("1970-01-01T00:00:00.001Z"));
    }
}
