//! What is an event, and which two are the same one.

use serde_json::{Value, json};

use super::*;
use crate::event::EventId;

const MINT: &str = include_str!("../../../tests/fixtures/nft-tokens.created.json");
const MINT_ACTION: &str = include_str!("../../../tests/fixtures/nft-token-actions.created.json");

fn decoded(stream: Stream, message: &str) -> Decoded {
    decode(Network::Testnet, stream, message.as_bytes()).unwrap()
}

fn mint() -> Value {
    serde_json::from_str(MINT).unwrap()
}

fn id(message: &Value) -> EventId {
    decoded(Stream::NftTokens, &message.to_string()).identity.id
}

/// The mint with the value at `pointer` replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut message = mint();
    *message.pointer_mut(pointer).unwrap() = value;
    message
}

#[test]
fn the_documented_mint_gives_its_facts() {
    let Decoded { facts, identity, .. } = decoded(Stream::NftTokens, MINT);
    assert_eq!(&*facts.action, "created");
    assert_eq!(facts.token_id.as_deref(), Some("119"));
    assert!(facts.contract_package.as_deref().unwrap().starts_with("5341882b"));
    assert!(facts.owner.as_deref().unwrap().starts_with("66b1b6b3"));
    assert!(facts.deploy_hash.as_deref().unwrap().starts_with("f7da222b"));
    assert_eq!((facts.owner_type, facts.is_burned, facts.token_standard), (Some(0), Some(false), Some(1)));
    assert_eq!(facts.timestamp.as_deref(), Some("2024-02-07T10:21:29.557865809Z"));
    assert!(identity.has_deploy && identity.lane.is_some());
    assert_eq!(super::facts(Stream::NftTokens, MINT.as_bytes()).unwrap(), facts);
}

#[test]
fn the_documented_action_gives_its_facts() {
    let Decoded { facts, identity, .. } = decoded(Stream::NftTokenActions, MINT_ACTION);
    assert_eq!(facts.kind, Some(ActionKind::Mint));
    assert_eq!(facts.from, None);
    assert_eq!(facts.to, facts.owner);
    assert!(identity.has_deploy);
    assert_ne!(identity.lane, decoded(Stream::NftTokens, MINT).identity.lane);
}

#[test]
fn the_id_is_fixed_for_ever() {
    // Consumers keep ids: a change of this text is a change of the wire contract.
    assert_eq!(id(&mint()).to_string(), "evt_kaspmoaxsqy3yufux6wb6qon44");
}

#[test]
fn what_differs_between_redeliveries_does_not_change_the_id() {
    let metadata = mint().pointer("/data/onchain_metadata").unwrap().to_string();
    let encoded = data_encoding::BASE64.encode(metadata.as_bytes());
    let same = [
        ("envelope time", with("/timestamp", json!("2025-01-01T00:00:00Z"))),
        ("data time", with("/data/timestamp", json!("2025-01-01T00:00:00Z"))),
        ("tracking id as text", with("/data/tracking_id", json!("1"))),
        (
            "upper-case hash",
            with("/data/owner_hash", json!("66B1B6B393E5AED08BE0759D52C484BA2921C844CC0918D5B8BB02849BB833D4")),
        ),
        ("base64 metadata", with("/data/onchain_metadata", json!(encoded))),
        ("numeric token id", with("/data/token_id", json!(119))),
        ("a further extra key", with("/extra", json!({"a": 1, "deploy_hash": mint().pointer("/extra/deploy_hash")}))),
    ];
    for (what, message) in same {
        assert_eq!(id(&message), id(&mint()), "{what}");
    }
}

#[test]
fn what_makes_another_event_changes_the_id() {
    let other = [
        ("action", with("/action", json!("updated"))),
        ("token", with("/data/token_id", json!("120"))),
        ("package", with("/data/contract_package_hash", json!("00"))),
        ("deploy", with("/extra/deploy_hash", json!("00"))),
        ("no deploy", with("/extra", Value::Null)),
        ("owner", with("/data/owner_hash", json!("00"))),
        ("owner type", with("/data/owner_type", json!(1))),
        ("burned", with("/data/is_burned", json!(true))),
        ("on-chain metadata", with("/data/onchain_metadata/price", json!("21"))),
        ("off-chain metadata", with("/data/offchain_metadata", json!({"name": "x"}))),
        ("off-chain status", with("/data/offchain_metadata_status", json!(2))),
    ];
    for (what, message) in other {
        assert_ne!(id(&message), id(&mint()), "{what}");
    }
    assert_ne!(
        decode(Network::Mainnet, Stream::NftTokens, MINT.as_bytes()).unwrap().identity.id,
        id(&mint()),
        "network"
    );
}

#[test]
fn numbers_of_any_size_keep_their_digits() {
    let big = |last: u8| {
        with("/data/onchain_metadata", json!(null)).to_string().replace(
            "\"onchain_metadata\":null",
            &format!("\"onchain_metadata\":{{\"n\":1234567890123456789012345678901234567890{last}}}"),
        )
    };
    let ids = [1, 2].map(|last| decoded(Stream::NftTokens, &big(last)).identity.id);
    assert_ne!(ids[0], ids[1]);
    let infinite = MINT.replace("\"price\": \"20\"", "\"price\": 1e400");
    assert_ne!(infinite, MINT);
    decoded(Stream::NftTokens, &infinite);
}

#[test]
fn the_literal_rules_key_ignores_state_and_keeps_packages_apart() {
    let base = |message: &Value| decoded(Stream::NftTokens, &message.to_string()).identity.base;
    assert_eq!(base(&with("/data/owner_hash", json!("00"))), base(&mint()));
    assert_ne!(base(&with("/data/contract_package_hash", json!("00"))), base(&mint()));
    let nameless = decoded(Stream::NftTokens, &with("/extra", Value::Null).to_string()).identity;
    assert!(!nameless.has_deploy);
    assert_eq!(nameless.base, nameless.id.0);
}

#[test]
fn untyped_streams_have_facts_and_an_id() {
    let message = r#"{"action":"emitted","timestamp":"2026-07-01T09:01:19.286323672Z","extra":{"block_height":1,
        "deploy_hash":"012F","event_id":0,"transform_id":7},"data":{"contract_package_hash":"ffb5","name":"Swap"}}"#;
    let Decoded { facts, identity, .. } = decoded(Stream::ContractEvents, message);
    assert_eq!(facts.contract_package.as_deref(), Some("ffb5"));
    assert_eq!(facts.deploy_hash.as_deref(), Some("012f"));
    assert!(identity.lane.is_some());
    let transfer = r#"{"action":"created","extra":null,"data":{"deploy_hash":"aa","to_account_hash":"bb","id":0}}"#;
    let Decoded { facts, identity, .. } = decoded(Stream::Transfers, transfer);
    assert_eq!((facts.owner.as_deref(), facts.to.as_deref()), (Some("bb"), Some("bb")));
    assert!(identity.lane.is_none() && identity.has_deploy);
}

#[test]
fn malformed_messages_are_named_and_never_panic() {
    let deep = format!("{{\"a\":{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_metadata = MINT.replace(
        "\"offchain_metadata\": null",
        &format!("\"offchain_metadata\": {}1{}", "[".repeat(10_000), "]".repeat(10_000)),
    );
    let cases: Vec<(String, &str)> = vec![
        ("not json".into(), "expected"),
        ("{\"data\":".into(), "EOF"),
        ("[]".into(), "invalid length 0"),
        ("{}".into(), "missing field `action`"),
        (r#"{"action":"created","data":null}"#.into(), "invalid type: null"),
        (r#"{"action":1,"data":{}}"#.into(), "invalid type"),
        (with("/data/token_id", json!("")).to_string(), "data.token_id is missing or empty"),
        (with("/data/token_id", json!({})).to_string(), "neither a text nor a number"),
        (with("/data/contract_package_hash", json!("")).to_string(), "data.contract_package_hash"),
        (with("/data/is_burned", json!("no")).to_string(), "expected a boolean"),
        (MINT.replace("\"action\"", "\"action\":\"x\",\"action\""), "duplicate field `action`"),
        (MINT.replace("\"created\"", "\"\\ud800\""), "hex escape"),
        (deep, "EOF"),
        (deep_metadata, "nested deeper than 64 levels"),
    ];
    for (message, expected) in cases {
        let error = decode(Network::Testnet, Stream::NftTokens, message.as_bytes()).unwrap_err();
        assert!(error.reason.contains(expected), "{error} does not name {expected}");
    }
    assert!(decode(Network::Testnet, Stream::NftTokens, b"{\"action\":\"\xff\"}").is_err());
    assert!(decode(Network::Testnet, Stream::Blocks, br#"{"action":"created"}"#).is_err());
}
