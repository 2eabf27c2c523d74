//! Tables of conditions and events, read as an operator writes them.

use super::*;
use crate::event::{Network, decode};

const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
const OWNER: &str = "66b1b6b393e5aed08be0759d52c484ba2921c844cc0918d5b8bb02849bb833d4";
const OTHER: &str = "8e09f028baff4e3a851e70bb8a5dc02eae7f8cb7faf1b52d9c8dafa7f41fa55c";

fn token() -> String {
    format!(
        r#"{{"data":{{"contract_package_hash":"{PACKAGE}","token_id":"119","token_standard_id":2,"owner_type":1,
        "owner_hash":"{OWNER}","is_burned":false,"offchain_metadata":null,"offchain_metadata_status":2,
        "onchain_metadata":{{"price":"20","big":123456789012345678901234567890.5,"a/b":[{{"x":true}},"\u0041\n"],
        "uri":"ipfs://Qm","uri":"ipfs://Zz"}}}},"action":"created","extra":{{"deploy_hash":"d1"}},"timestamp":"2024"}}"#
    )
}

fn transfer() -> String {
    format!(
        r#"{{"data":{{"deploy_hash":"d1","contract_package_hash":"{PACKAGE}","token_id":"119","from_type":0,
        "from_hash":"{OWNER}","to_type":1,"to_hash":"{OTHER}","nft_action_id":4}},"action":"created","extra":null}}"#
    )
}

/// Whether a route with this `match` takes the message.
fn takes(stream: Stream, condition: &str, message: &str) -> bool {
    let yaml = format!(
        "source: {{ network: testnet, api_key: '${{NONE:-x}}' }}\nsinks: {{ bus: {{ stdout: }} }}\n\
         routes: {{ one: {{ stream: {stream}, match: {{ {condition} }}, sinks: bus }} }}\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &yaml).unwrap();
    let config = crate::config::load(file.path()).unwrap_or_else(|faults| panic!("{faults}")).config;
    let facts = decode(Network::Testnet, stream, message.as_bytes()).unwrap().facts;
    let router = Router::new(&config.routes);
    let is_taken = !router.route(stream, &facts, message.as_bytes()).sinks.is_empty();
    let explained = router.explain(stream, &facts, message.as_bytes());
    assert_eq!(explained[0].failure.is_none(), is_taken, "{condition}: {:?}", explained[0].failure);
    is_taken
}

fn check(stream: Stream, message: &str, table: &[(&str, bool)]) {
    for (condition, expected) in table {
        assert_eq!(takes(stream, condition, message), *expected, "{condition}");
    }
}

#[test]
fn every_key_of_a_token_counts() {
    let other = format!("contract_package: [{OTHER}]");
    let both = format!("contract_package: [{OTHER}, contract-package-{PACKAGE}], token_id: 119");
    let table = [
        ("action: [created, updated]", true),
        ("action: updated", false),
        (&other, false),
        (&both, true),
        ("token_id: [0119, 11]", false),
        ("burned: false", true),
        ("burned: true", false),
        ("owner_type: contract", true),
        ("owner_type: [account]", false),
        ("standard: [cep47, cep78]", true),
        ("standard: cep95", false),
        (&format!("owner: {OWNER}"), true),
        (&format!("owner: {PACKAGE}"), false),
    ];
    check(Stream::NftTokens, &token(), &table);
}

#[test]
fn every_key_of_an_action_counts() {
    let table = [
        ("kind: transfer", true),
        ("kind: [mint, burn, approve, metadata_update, revoke]", false),
        (&format!("from: {OWNER}"), true),
        (&format!("from: {OTHER}"), false),
        (&format!("to: account-hash-{OTHER}"), true),
        (&format!("owner: {OWNER}"), true),
        (&format!("owner: {OTHER}"), true),
        (&format!("owner: {PACKAGE}"), false),
        (&format!("owner: {OWNER}, all: [{{ owner: {OTHER} }}]"), true),
        ("owner_type: contract", true),
    ];
    check(Stream::NftTokenActions, &transfer(), &table);
}

#[test]
fn where_looks_anywhere_in_the_message() {
    let table = [
        ("where: { /data/onchain_metadata/price: 20 }", true),
        ("where: { /data/onchain_metadata/price: ['19', 20] }", true),
        ("where: { /data/onchain_metadata/price: { gte: 20, lt: 20.5 } }", true),
        ("where: { /data/onchain_metadata/price: { gt: 20 } }", false),
        ("where: { /data/onchain_metadata/big: { gt: 123456789012345678901234567890.4 } }", true),
        ("where: { /data/onchain_metadata/big: { gte: 123456789012345678901234567890.500001 } }", false),
        ("where: { /data/onchain_metadata/big: 123456789012345678901234567890.50 }", true),
        ("where: { /data/onchain_metadata/a~1b/0/x: true }", true),
        ("where: { /data/onchain_metadata/a~1b/00/x: { exists: true } }", false),
        ("where: { /data/onchain_metadata/a~1b/1: { regex: '^A' } }", true),
        ("where: { /data/onchain_metadata/a~1b/2: { exists: false } }", true),
        ("where: { /data/onchain_metadata/uri: { prefix: 'ipfs://Z' } }", true),
        ("where: { /data/onchain_metadata/uri: { regex: '(?i)^IPFS://[a-z]{2}$' } }", true),
        ("where: { /data/onchain_metadata/uri: { not_in: [a, b] } }", true),
        ("where: { /data/onchain_metadata/uri: { not_in: ['ipfs://Zz'] } }", false),
        ("where: { /data/onchain_metadata: { exists: true } }", true),
        ("where: { /data/offchain_metadata: { exists: true } }", false),
        ("where: { /data/offchain_metadata/name: { not_in: [a] } }", false),
        ("where: { /data/offchain_metadata_status: { in: [1, 2] } }", true),
        ("where: { /extra/deploy_hash: d1, /action: created }", true),
        ("where: { /extra/deploy_hash: d1, /action: updated }", false),
    ];
    check(Stream::NftTokens, &token(), &table);
}

#[test]
fn metadata_in_base64_is_looked_into() {
    let encoded = data_encoding::BASE64.encode(br#"{"price":"20","of":[1,{"x":"y"}]}"#);
    let message = token().replace("null", &format!("\"{encoded}\""));
    let table = [
        ("where: { /data/offchain_metadata/price: { gte: 20 } }", true),
        ("where: { /data/offchain_metadata/of/1/x: y }", true),
        ("where: { /data/offchain_metadata/of/1/z: { exists: false } }", true),
    ];
    check(Stream::NftTokens, &message, &table);
}

#[test]
fn conditions_combine() {
    let table = [
        ("any: [{ token_id: 1 }, { action: created }]", true),
        ("any: [{ token_id: 1 }, { action: updated }]", false),
        ("all: [{ token_id: 119 }, { action: created }]", true),
        ("all: [{ token_id: 119 }, { action: updated }]", false),
        ("not: { token_id: 1 }", true),
        ("not: { token_id: 119, action: updated }", true),
        ("not: { token_id: 119, action: created }", false),
        ("action: created, any: [{ not: { any: [{ token_id: 119 }] } }, { all: [{ burned: false }] }]", true),
        ("not: { where: { /data/nowhere: { gt: 1 } } }", true),
    ];
    check(Stream::NftTokens, &token(), &table);
}

#[test]
fn what_an_event_lacks_matches_no_list() {
    for key in [Key::ContractPackage, Key::Owner, Key::TokenId, Key::From, Key::Kind, Key::Burned, Key::Standard] {
        let router = Router::new(&[route("one", Stream::NftTokens, vec![one_of(key, &[""])], &["bus"])]);
        assert!(router.route(Stream::NftTokens, &Facts::default(), b"{}").sinks.is_empty());
    }
}

#[test]
fn a_message_that_is_no_json_finds_nothing() {
    let yaml = "where: { /data: { exists: false } }";
    assert!(!takes(Stream::NftTokens, yaml, &token()));
    let facts = Facts::default();
    let subject = Subject::new(&facts, b"{\"data\":");
    let RouteConfig { matcher, .. } = route("one", Stream::NftTokens, vec![], &[]);
    assert!(matches(&matcher, &subject));
}

#[test]
fn a_sink_gets_an_event_once_with_the_names_of_all_routes() {
    let package = || vec![one_of(Key::ContractPackage, &["p"])];
    let router = Router::new(&[
        route("b", Stream::NftTokens, vec![], &["bus", "hook"]),
        route("z", Stream::NftTokens, package(), &["hook"]),
        route("a", Stream::NftTokens, vec![], &["bus"]),
        route("c", Stream::Transfers, vec![], &["bus"]),
        route("d", Stream::NftTokens, package(), &["bus"]),
    ]);
    let facts = Facts { contract_package: Some("p".into()), ..Facts::default() };
    let matched = router.route(Stream::NftTokens, &facts, b"{}");
    let seen: Vec<(String, Vec<&str>)> = matched
        .sinks
        .iter()
        .map(|entry| (entry.sink.to_string(), entry.routes.iter().map(|name| &**name).collect()))
        .collect();
    assert_eq!(seen, [("bus".to_owned(), vec!["b", "a", "d"]), ("hook".to_owned(), vec!["b", "z"])]);
    assert!(router.route(Stream::Blocks, &facts, b"{}").sinks.is_empty());
}
