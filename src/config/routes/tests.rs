//! What conditions mean that no single mistake shows: lists from files, warnings, and what is no contradiction.

use std::path::Path;

use super::{Condition, Key, MatchConfig};
use crate::config::load::load_with;
use crate::config::{Faults, Loaded};

const OWNER: &str = "66b1b6b393e5aed08be0759d52c484ba2921c844cc0918d5b8bb02849bb833d4";
const OTHER: &str = "8e09f028baff4e3a851e70bb8a5dc02eae7f8cb7faf1b52d9c8dafa7f41fa55c";

fn loaded(directory: &Path, stream: &str, conditions: &[&str]) -> Result<Loaded, Faults> {
    let routes: String = conditions
        .iter()
        .enumerate()
        .map(|(number, condition)| {
            format!("  r{number}: {{ stream: {stream}, match: {{ {condition} }}, sinks: bus }}\n")
        })
        .collect();
    let yaml = format!(
        "source: {{ network: testnet, api_key: '${{KEY}}' }}\nsinks: {{ bus: {{ stdout: }} }}\nroutes:\n{routes}"
    );
    let path = directory.join("relay.yaml");
    std::fs::write(&path, yaml).unwrap();
    load_with(&path, &|name| (name == "KEY").then(|| "x".to_owned()))
}

fn matchers(loaded: Loaded) -> Vec<MatchConfig> {
    loaded.config.routes.into_iter().map(|route| route.matcher).collect()
}

fn implied(matcher: &MatchConfig, key: Key) -> Vec<String> {
    let mut texts: Vec<String> = matcher.implied(key).unwrap().iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}

#[test]
fn a_list_may_come_from_a_file_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let list = format!("# whales\r\n\r\n  account-hash-{OWNER} # the first\r\n");
    std::fs::write(directory.path().join("whales.txt"), list).unwrap();
    std::fs::write(directory.path().join("ids.txt"), "007\na#1\n").unwrap();
    let conditions = [
        "owner: { file: whales.txt }",
        &format!("owner: [{OTHER}, {{ file: whales.txt }}], token_id: {{ file: ids.txt }}"),
        "where: { /data/owner_hash: { not_in: { file: whales.txt } } }",
    ];
    let matchers = matchers(loaded(directory.path(), "nft-tokens", &conditions).unwrap());
    assert_eq!(implied(&matchers[0], Key::Owner), [OWNER]);
    assert_eq!(implied(&matchers[1], Key::Owner), [OWNER, OTHER]);
    assert_eq!(implied(&matchers[1], Key::TokenId), ["007", "a#1"]);
    // As it stands in the file: what is compared there is not known to be a hash.
    let Condition::Where(_, predicate) = &matchers[2].conditions[0] else { panic!("a where") };
    assert_eq!(predicate.to_string(), format!("not \"account-hash-{OWNER}\""));
}

#[test]
fn a_file_full_of_mistakes_is_told_in_part() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("whales.txt"), "x\n".repeat(100)).unwrap();
    let faults = loaded(directory.path(), "nft-tokens", &["owner: { file: whales.txt }"]).unwrap_err();
    assert_eq!(faults.0.len(), 11);
    assert!(faults.to_string().contains("100 lines of"), "{faults}");
}

#[test]
fn a_pointer_beside_the_envelope_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let conditions =
        ["where: { /onchain_metadata/price: 1 }", "where: { /extras/deploy_hash: a }", "where: { /data: a }"];
    let warnings = loaded(directory.path(), "nft-tokens", &conditions).unwrap().warnings;
    let told: Vec<_> = warnings.iter().map(|warning| warning.hint.as_deref().unwrap()).collect();
    assert_eq!(told, ["did you mean `/data/onchain_metadata/price`?", "did you mean `extra`?"]);
}

#[test]
fn what_can_hold_is_no_contradiction() {
    let directory = tempfile::tempdir().unwrap();
    let both = format!("owner: {OWNER}, all: [{{ owner: {OTHER} }}]");
    loaded(directory.path(), "nft-token-actions", &[&both]).unwrap();
    let faults = loaded(directory.path(), "nft-tokens", &[&both]).unwrap_err();
    assert!(faults.to_string().contains("can never hold"), "{faults}");
    let conditions = [
        "token_id: [1, 2], all: [{ token_id: [2, 3] }], not: { token_id: 4 }",
        "any: [{ token_id: 1 }, { token_id: 2 }]",
        "where: { /data/x: { gte: 20, lte: 20.0 }, /data/y: { gt: 20 } }",
        "where: { /data/x: { in: [a, 3], gte: 3, not_in: [a] } }",
        "where: { /data/x: { prefix: a } }, all: [{ where: { /data/x: { prefix: ab, regex: c } } }]",
        "where: { /data/x: { exists: true, lt: 3 } }, not: { where: { /data/x: 1 } }",
    ];
    loaded(directory.path(), "nft-tokens", &conditions).unwrap_or_else(|faults| panic!("{faults}"));
}
