//! `values.schema.json`: what is the relay's in it is drawn from the relay's own schema.
//!
//! Helm wants draft-07 and Go's regular expressions, and turns every number into a float on its way. So a hash or a
//! token id has to be text there, and no other number may be larger than a float holds exactly.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::tools::{chart, same_as_file};
use crate::relay::BINARY;

/// Before the names of definitions that are the relay's.
const OURS: &str = "relay.";
/// 2^53 - 1.
const EXACT_MAX: i64 = 9_007_199_254_740_991;
/// The chart adds to these what only it knows.
const COMPLETED_BY_THE_CHART: &[&str] = &["load.Whole", "settings.Source"];
/// The only patterns whose texts a number may stand for.
const NUMERIC: &[&str] = &["^-?[0-9]+(", "^[0-9]+$", "^[0-9.e-]+$", "^[0-9]+ *(B|"];

#[test]
fn the_schema_of_the_values_has_that_of_the_relay() {
    let path = chart().join("values.schema.json");
    let mut schema: BTreeMap<String, Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let Some(Value::Object(definitions)) = schema.get_mut("definitions") else { panic!("it has definitions") };
    definitions.retain(|name, _| !name.starts_with(OURS));
    definitions.append(&mut of_the_relay());
    same_as_file(&path, &format!("{:#}\n", json!(schema)));
}

fn of_the_relay() -> Map<String, Value> {
    let output = Command::new(BINARY).arg("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut ours = Map::new();
    for (name, definition) in definitions {
        let mut definition = definition.clone();
        convert(&mut definition);
        if COMPLETED_BY_THE_CHART.contains(&name.as_str()) {
            definition.as_object_mut().unwrap().remove("required");
        }
        if name == "routes.keys.Match" {
            texts_only(&mut definition["properties"]["token_id"]);
        }
        ours.insert(format!("{OURS}{name}"), definition);
    }
    ours
}

/// To draft-07, for Helm.
fn convert(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", &format!("#/definitions/{OURS}"));
            }
            if let Some(Value::String(pattern)) = fields.get_mut("pattern") {
                // Go's expressions cannot look ahead; `check` says what that lets pass.
                *pattern = pattern.replace("(?=.*[1-9])", "");
            }
            number(fields);
            fields.values_mut().for_each(convert);
        }
        Value::Array(items) => items.iter_mut().for_each(convert),
        _ => {}
    }
}

/// Bounds a number, or forbids it where text is meant.
fn number(fields: &mut Map<String, Value>) {
    let is_number = |kind: &Value| kind == "number" || kind == "integer";
    if !fields.get("type").and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(is_number)) {
        return;
    }
    let pattern = fields.get("pattern").and_then(Value::as_str);
    if pattern.is_some_and(|pattern| !NUMERIC.iter().any(|start| pattern.starts_with(start))) {
        fields.insert("type".to_owned(), json!("string"));
        return;
    }
    fields.entry("minimum").or_insert(json!(-EXACT_MAX));
    fields.entry("maximum").or_insert(json!(EXACT_MAX));
}

fn texts_only(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            if fields.get("type").is_some_and(Value::is_array) {
                *fields = Map::from_iter([("type".to_owned(), json!("string"))]);
            }
            fields.values_mut().for_each(texts_only);
        }
        Value::Array(items) => items.iter_mut().for_each(texts_only),
        _ => {}
    }
}
