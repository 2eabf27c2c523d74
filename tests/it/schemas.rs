//! The JSON Schemas that consumers may generate types from: they take every message that was ever seen, and the
//! ones that the facts about CSPR.cloud allow, and they still say no to what is no such message.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::receivers::leave_out;

const TOKEN: &str = include_str!("../fixtures/nft-tokens.created.json");
const OWNERSHIP: &str = include_str!("../fixtures/nft-token-ownership.updated.json");
/// One of each action, as the code makes them: a test beside `src/notices/message.rs` says so.
const RELAY: &str = include_str!("../fixtures/relay.jsonl");
const ACTION: &str = include_str!("../fixtures/nft-token-actions.created.json");

/// A change to the sample: where, and to what (`None`: the field is removed). The last part: whether it stays valid.
type Case<'a> = (&'a str, Option<Value>, bool);

#[test]
fn nft_tokens_takes_what_cspr_cloud_may_send() {
    let base64 = "eyJuYW1lIjoiVG9ybmFkbyJ9";
    check(
        "nft-tokens",
        TOKEN,
        &[
            ("/action", Some(json!("updated")), true),
            ("/action", None, false),
            ("/extra", Some(Value::Null), true),
            ("/extra", None, true),
            ("/extra/deploy_hash", Some(Value::Null), true),
            ("/extra/deploy_hash", Some(json!("account-hash-12")), false),
            ("/timestamp", Some(json!("2024-02-07T10:21:29Z")), true),
            ("/timestamp", Some(json!(1_707_301_289)), false),
            ("/data/block_height", Some(json!(2_404_577)), true),
            ("/data/tracking_id", Some(json!("456946")), true),
            ("/data/tracking_id", Some(json!(1.5)), false),
            ("/data/token_id", Some(json!("US-7000001-B2 \u{1F680}\n")), true),
            ("/data/token_id", Some(json!(119)), false),
            ("/data/token_id", None, false),
            ("/data/onchain_metadata", Some(json!(base64)), true),
            ("/data/onchain_metadata", None, true),
            ("/data/offchain_metadata", Some(json!({"attributes": [{"trait_type": "BG"}]})), true),
            ("/data/owner_hash", Some(Value::Null), true),
            ("/data/owner_type", Some(json!(1)), true),
            ("/data/is_burned", Some(json!("no")), false),
            ("/data/contract_package_hash", Some(json!("5341")), false),
            ("/data/owner_cspr_name", Some(json!("olga.cspr")), true),
        ],
    );
}

#[test]
fn nft_token_actions_takes_what_cspr_cloud_may_send() {
    check(
        "nft-token-actions",
        ACTION,
        &[
            ("/data/block_height", Some(json!(1_461_592)), true),
            ("/data/token_tracking_id", Some(json!("456946")), true),
            ("/data/nft_action_id", Some(json!(6)), true),
            ("/data/nft_action_id", Some(json!("mint")), false),
            ("/data/from_hash", Some(json!("nobody")), false),
            ("/data/deploy_hash", None, true),
            ("/extra", Some(Value::Null), true),
            ("/data", None, false),
        ],
    );
}

#[test]
fn nft_token_ownership_takes_what_the_relay_sends() {
    check(
        "nft-token-ownership",
        OWNERSHIP,
        &[
            ("/action", Some(json!("deleted")), true),
            ("/action", Some(json!("burned")), false),
            ("/data/owner_type", Some(Value::Null), true),
            ("/data/tokens_number", Some(json!(0)), true),
            ("/data/tokens_number", Some(json!(-1)), false),
            ("/extra/cause", Some(Value::Null), true),
            ("/extra/deploy_hash", Some(Value::Null), true),
            ("/extra/previous_tokens_number", None, false),
            ("/extra/revision", Some(json!("7")), false),
        ],
    );
}

#[test]
fn relay_takes_each_kind_of_operational_event_and_no_half_of_one() {
    let samples: Vec<Value> = RELAY.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for sample in &samples {
        let mut cases =
            vec![("/timestamp".to_owned(), None, false), ("/action".to_owned(), Some(json!("sink.lost")), false)];
        cases.push(("/data/unheard_of".to_owned(), Some(json!(1)), true));
        cases.extend(sample["data"].as_object().unwrap().keys().map(|field| (format!("/data/{field}"), None, false)));
        cases.extend(
            sample["data"].as_object().unwrap().keys().map(|field| (format!("/data/{field}"), Some(json!(-1)), false)),
        );
        let cases: Vec<Case> =
            cases.iter().map(|(at, value, is_valid)| (at.as_str(), value.clone(), *is_valid)).collect();
        check("relay", &sample.to_string(), &cases);
    }
}

#[test]
fn the_document_tells_of_every_operational_event_and_field() {
    let document = include_str!("../../docs/events.md");
    for sample in RELAY.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let action = sample["action"].as_str().unwrap();
        let row = document.lines().find(|line| line.starts_with(&format!("| `{action}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/events.md has no row for {action}"));
        for field in sample["data"].as_object().unwrap().keys() {
            assert!(row.contains(&format!("`{field}`")), "docs/events.md, {action}: no {field}");
        }
    }
}

fn check(schema: &str, sample: &str, cases: &[Case<'_>]) {
    let sample: Value = serde_json::from_str(sample).unwrap();
    let changed = cases.iter().map(|(pointer, value, _)| change(&sample, pointer, value.clone()));
    let instances: Vec<Value> = std::iter::once(sample.clone()).chain(changed).collect();
    let Some(answers) = validate(schema, &instances) else { return };
    assert_eq!(answers.len(), instances.len());
    assert_eq!(answers[0], "valid", "{schema}: the sample itself");
    for ((pointer, value, is_valid), answer) in cases.iter().zip(&answers[1..]) {
        assert_eq!(answer == "valid", *is_valid, "{schema}: {pointer} = {value:?}: {answer}");
    }
}

/// `sample` with the field at `pointer` set or removed.
fn change(sample: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut changed = sample.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let object = changed.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    match value {
        Some(value) => object.insert(field.to_owned(), value),
        None => object.remove(field),
    };
    changed
}

/// What the validator says to each instance; `None` if it is not there. `schema` is a name or a path, as the script has it.
pub(crate) fn validate(schema: &str, instances: &[Value]) -> Option<Vec<String>> {
    let mut process = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/validate"))
        .arg(schema)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = instances.iter().map(|instance| format!("{instance}\n")).collect();
    // A script that gives up at once does not read; its exit code tells.
    let _unread = process.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = process.wait_with_output().unwrap();
    if output.status.code() == Some(69) {
        leave_out("the JSON Schemas: they need Python 3 with venv");
        return None;
    }
    assert!(output.status.success(), "scripts/validate failed");
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}
