//! The promises of the generator.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::emulator::{ExtraShape, MetadataShape, Shape, TrackingShape, World};
use crate::event::Stream;

fn messages(seed: u64, shape: Shape, count: usize) -> Vec<(Stream, Value)> {
    let parse = |(stream, text): (Stream, tokio_tungstenite::tungstenite::Utf8Bytes)| {
        (stream, serde_json::from_str(&text).unwrap())
    };
    World::new(seed, shape).take(count).map(parse).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let texts = |seed| World::new(seed, Shape::default()).take(2_000).collect::<Vec<_>>();
    assert!(texts(7) == texts(7));
    assert!(texts(7) != texts(8));
}

#[test]
fn the_world_has_what_real_traffic_has() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut packages_by_id: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for (stream, message) in messages(1, Shape::default(), 20_000) {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let id = text("/data/token_id");
        packages_by_id.entry(id.to_owned()).or_default().insert(text("/data/contract_package_hash").to_owned());
        let marks = [
            ("created", stream == Stream::NftTokens && text("/action") == "created"),
            ("updated", text("/action") == "updated"),
            ("burned", message.pointer("/data/is_burned") == Some(&Value::Bool(true))),
            ("without deploy", message["extra"].is_null()),
            ("off-chain", message["data"]["offchain_metadata"].is_object()),
            ("base64", message["data"]["onchain_metadata"].is_string()),
            ("77 digits", id.len() == 77 && id.bytes().all(|byte| byte.is_ascii_digit())),
            ("beyond headers", !id.is_ascii() && id.contains(' ')),
            ("approval", message["data"]["nft_action_id"].as_u64() == Some(3)),
            ("contract owner", message["data"]["owner_type"].as_u64() == Some(1)),
        ];
        for (mark, _) in marks.into_iter().filter(|(_, is_there)| *is_there) {
            *seen.entry(mark).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert!(packages_by_id.values().any(|packages| packages.len() > 1));
}

#[test]
fn events_are_distinct_and_deploys_hold_several() {
    let mut distinct = HashSet::new();
    let mut states: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (stream, mut message) in messages(3, Shape::default(), 20_000) {
        message.as_object_mut().unwrap().remove("timestamp");
        if stream == Stream::NftTokens {
            let key = (message["extra"]["deploy_hash"].to_string(), message["data"]["token_id"].to_string());
            *states.entry(key).or_default() += 1;
        }
        assert!(distinct.insert((stream, message.to_string())), "{message}");
    }
    // A → B → A: what the literal rule of one event per deploy and token would lose.
    assert!(states.values().any(|count| *count > 1));
}

#[test]
fn actions_and_tokens_tell_the_same_story() {
    let mut owners: BTreeMap<String, Value> = BTreeMap::new();
    for (stream, message) in messages(5, Shape::default(), 10_000) {
        let token = format!("{}/{}", message["data"]["contract_package_hash"], message["data"]["token_id"]);
        if stream == Stream::NftTokens {
            owners.insert(token, message["data"]["owner_hash"].clone());
        } else if matches!(message["data"]["nft_action_id"].as_u64(), Some(1 | 4)) {
            assert_eq!(owners[&token], message["data"]["to_hash"]);
        }
    }
}

#[test]
fn knobs_change_the_shape() {
    let shape = Shape {
        tracking: TrackingShape::Text,
        has_block_height: true,
        metadata: MetadataShape::Base64,
        extra: ExtraShape::Absent,
        body_bytes: 4_000,
    };
    let messages = messages(1, shape, 5_000);
    let tokens: Vec<&Value> = messages.iter().filter(|m| m.0 == Stream::NftTokens).map(|m| &m.1).collect();
    let has = |message: &Value, key: &str| message.get(key).is_some();
    assert!(tokens.iter().all(|m| m["data"]["tracking_id"].is_string() && m["data"]["block_height"].is_number()));
    assert!(tokens.iter().all(|m| m["data"]["onchain_metadata"].is_string()));
    assert!(tokens.iter().any(|m| !has(m, "extra")) && !tokens.iter().any(|m| m["extra"].is_null() && has(m, "extra")));
}

#[test]
fn bodies_have_the_wanted_size_and_the_key_order_of_the_samples() {
    let mut lengths = Vec::new();
    for (stream, text) in World::new(1, Shape::default()).take(5_000) {
        let places =
            [r#"{"data":{"#, r#"},"action":""#, r#","extra":"#, r#","timestamp":"20"#].map(|key| text.rfind(key));
        assert!(places.is_sorted() && places[0] == Some(0), "{text}");
        if stream == Stream::NftTokens {
            lengths.push(text.len());
        }
    }
    let mean = lengths.iter().sum::<usize>() / lengths.len();
    assert!((1_200..=1_500).contains(&mean), "{mean}");
}
