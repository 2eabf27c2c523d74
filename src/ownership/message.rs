//! A change of ownership as a message, in the envelope that all streams have.

use serde_json::json;

use super::compare::Change;
use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::store::{Cause, Holding};

/// Who it is about, and what is behind it.
pub(super) struct Told<'a> {
    /// As it is from now on.
    pub(super) holding: &'a Holding,
    pub(super) change: Change,
    /// `None` if it was found without being looked for.
    pub(super) cause: Option<&'a Cause>,
    pub(super) epoch: u64,
    pub(super) at: Timestamp,
}

/// `extra.revision` makes it one of a kind: numbers of tokens recur.
pub(super) fn message(told: &Told<'_>) -> Vec<u8> {
    let Told { holding, change, cause, epoch, at } = told;
    let revision = Sequence { epoch: *epoch, number: holding.revision };
    let data = json!({
        "contract_package_hash": *holding.package,
        "owner_hash": *holding.owner,
        "owner_type": holding.owner_type,
        "tokens_number": holding.tokens,
    });
    let extra = json!({
        "previous_tokens_number": change.previous,
        "deploy_hash": cause.and_then(|cause| cause.deploy_hash.as_deref()),
        "token_id": cause.and_then(|cause| cause.token_id.as_deref()),
        "cause": cause.map(|cause| cause.event.to_string()),
        "revision": revision.to_string(),
    });
    let (action, timestamp) = (json!(change.action()), json!(at.to_string()));
    // In the order in which CSPR.cloud writes them.
    format!(r#"{{"data":{data},"action":{action},"extra":{extra},"timestamp":{timestamp}}}"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::compare::Seen;
    use super::*;
    use crate::event::{EventId, Network, Stream, decode};

    fn told(tokens: u64, previous: u64, revision: u64, cause: Option<&Cause>) -> Vec<u8> {
        let (package, owner) = ("aa".into(), "bb".into());
        let holding = Holding { package, owner, owner_type: Some(1), tokens, revision };
        let change = Change { previous, seen: Seen { owner_type: Some(1), tokens } };
        message(&Told { holding: &holding, change, cause, epoch: 5, at: Timestamp(1_707_301_289_557) })
    }

    #[test]
    fn it_has_the_documented_shape() {
        let (deploy_hash, token_id) = (Some("cc".into()), Some("119".into()));
        let cause = Cause { event: EventId([0; 16]), deploy_hash, token_id };
        let text = String::from_utf8(told(3, 2, 7, Some(&cause))).unwrap();
        assert_eq!(
            text,
            r#"{"data":{"contract_package_hash":"aa","owner_hash":"bb","owner_type":1,"tokens_number":3},"action":"updated","extra":{"cause":"evt_aaaaaaaaaaaaaaaaaaaaaaaaaa","deploy_hash":"cc","previous_tokens_number":2,"revision":"000000000005-0000000000000007","token_id":"119"},"timestamp":"2024-02-07T10:21:29.557Z"}"#
        );
        let decoded = decode(Network::Testnet, Stream::NftTokenOwnership, text.as_bytes()).unwrap();
        assert_eq!((decoded.facts.owner.as_deref(), decoded.facts.owner_type), (Some("bb"), Some(1)));
        assert_eq!(decoded.facts.deploy_hash.as_deref(), Some("cc"));
    }

    #[test]
    fn the_revision_alone_tells_two_of_them_apart() {
        let identity = |text: &[u8]| decode(Network::Testnet, Stream::NftTokenOwnership, text).unwrap().identity;
        let (first, same, next) = (told(3, 2, 7, None), told(3, 2, 7, None), told(3, 2, 8, None));
        assert_eq!(identity(&first), identity(&same));
        assert_ne!(identity(&first).id, identity(&next).id);
        assert!(identity(&first).has_deploy, "it never counts as the recurrence of another");
        assert_eq!(identity(&first).lane, identity(&next).lane);
    }
}
