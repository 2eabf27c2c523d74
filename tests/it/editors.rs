//! What editors are told by `cspr-relay schema`: it takes every good configuration, and refuses what `check` refuses,
//! except for what no schema can know.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::schemas::validate;

/// Files below `tests/config` that a schema takes and `check` does not, and why.
const BEYOND_A_SCHEMA: &[(&str, &str)] = &[
    ("action_of_no_stream", "CSPR.cloud may send more than is known"),
    ("admin_token_in_the_file", "whether a value is a secret is no matter of form"),
    ("amqp_chain_text_in_an_exchange", "what a template may name depends on its place"),
    ("amqp_declared_default_exchange", "one key restricts another"),
    ("amqp_declared_many_exchanges", "one key restricts another"),
    ("amqp_direct_queue_without_key", "one key restricts another"),
    ("amqp_half_a_login", "one key needs another"),
    ("amqp_heartbeat", "which durations are allowed"),
    ("amqp_long_name", "the length in bytes"),
    ("amqp_quorum_queue_not_durable", "one key restricts another"),
    ("amqp_two_kinds_of_uri", "one key excludes another"),
    ("amqp_uri_options", "the parts of a URI"),
    ("amqp_virtual_host", "the parts of a URI"),
    ("bad_range", "how long a prefix may be depends on the address"),
    ("broken_reference", "references are expanded later"),
    ("byte_order", "names are defined elsewhere"),
    ("connection_and_brokers", "one key excludes another"),
    ("connection_to_nothing", "one of several keys"),
    ("connection_unknown", "names are defined elsewhere"),
    ("connection_unused", "names are used elsewhere"),
    ("contract_events_unfiltered", "what a match needs depends on the stream"),
    ("ownership_unfiltered", "what a match needs depends on the stream"),
    ("field_a_stream_lacks", "what a match may name depends on the stream"),
    ("format_that_needs_headers", "what a sink can do depends on its kind"),
    ("half_client_certificate", "one key needs another"),
    ("hash_prefix", "prefixes may be in any case"),
    ("header_twice", "case does not matter for names of headers"),
    ("illegal_header_value", "references are expanded later"),
    ("include_absent", "other files"),
    ("include_name_twice", "other files"),
    ("include_no_pattern", "the language of patterns"),
    ("include_of_a_list", "other files"),
    ("include_of_a_setting", "other files"),
    ("include_that_finds_nothing", "other files"),
    ("no_range", "how long a prefix may be depends on the address"),
    ("number_with_exponent", "to a schema 1e6 is a whole number"),
    ("list_file_empty", "other files"),
    ("list_file_missing", "other files"),
    ("list_file_wrong_lines", "other files"),
    ("match_any_mapping", "one value stands for a list of it elsewhere"),
    ("match_burned_word", "to an editor `yes` is a truth value"),
    ("match_contradiction_absent", "what conditions mean together"),
    ("match_contradiction_bounds", "what conditions mean together"),
    ("match_contradiction_lists", "what conditions mean together"),
    ("match_contradiction_prefixes", "what conditions mean together"),
    ("match_contradiction_strict_bounds", "what conditions mean together"),
    ("match_contradiction_values", "what conditions mean together"),
    ("match_from_of_tokens", "what a match may name depends on the stream"),
    ("match_kind_of_tokens", "what a match may name depends on the stream"),
    ("match_too_deep", "how deep a match may be"),
    ("kafka_absent_certificate", "other files"),
    ("kafka_broken_certificate", "other files"),
    ("kafka_illegal_topic", "references are expanded later"),
    ("kafka_illegal_value", "what librdkafka knows"),
    ("kafka_keys_of_their_own", "what librdkafka knows"),
    ("kafka_oauth_at_odds", "one key needs another"),
    ("kafka_properties_at_odds", "what librdkafka knows"),
    ("kafka_reserved_header", "case does not matter for names of headers"),
    ("kafka_topic_of_strangers", "what a template may name depends on the place"),
    ("kafka_unknown_property", "what librdkafka knows"),
    ("kafka_unusable_properties", "what librdkafka knows"),
    ("kafka_weak_delivery", "one key needs another"),
    ("kafka_secret_in_the_file", "a warning"),
    ("kafka_security_without_effect", "a warning"),
    ("kafka_unchecked_certificates", "a warning"),
    ("kafka_weak_delivery_allowed", "a warning"),
    ("kafka_without_brokers", "one key instead of another"),
    ("numeric_hash", "to an editor digits are a number"),
    ("path_of_a_directory", "other files"),
    ("reserved_header", "case does not matter for names of headers"),
    ("reserved_header_of_cloudevents", "case does not matter for names of headers"),
    ("reserved_header_of_http", "case does not matter for names of headers"),
    ("secret_in_clear_text", "a warning: it can be used"),
    ("several_streams_for_a_webhook", "a warning: it can be used"),
    ("retry_with_two_schedules", "one key excludes another"),
    ("sink_with_two_destinations", "one key excludes another"),
    ("sink_without_destination", "one of several keys"),
    ("template_field_a_stream_lacks", "what a template may name depends on the streams"),
    ("template_in_a_header", "references are expanded later"),
    ("template_stray_braces", "what a template may name depends on the sink"),
    ("template_unclosed", "what a template may name depends on the sink"),
    ("template_unknown_field", "what a template may name depends on the sink"),
    ("template_unknown_label", "what a template may name depends on the sink"),
    ("template_with_a_reference", "references are expanded later"),
    ("two_broken_references", "references are expanded later"),
    ("unknown_sink", "names are defined elsewhere"),
    ("unreadable_certificate", "other files"),
    ("unreadable_secret_file", "other files"),
    ("unset_variable", "the environment"),
    ("unused_sink", "names are used elsewhere"),
    ("windows_lines", "names are defined elsewhere"),
    ("where_bad_regex", "the language of regular expressions"),
    ("where_empty_condition", "nothing stands for an empty mapping"),
    ("where_large_regex", "the language of regular expressions"),
    ("where_null_condition", "nothing stands for an empty mapping"),
];

#[test]
fn good_configurations_fit_the_schema() {
    let mut files = yaml_files("tests/config/good");
    files.extend(yaml_files("examples"));
    files.push(here("examples/twelve-teams/cspr-relay.yaml"));
    files.push(here("config.example.yaml"));
    check(&[], &files, |file, answer| assert_eq!(answer, "valid", "{}", file.display()));
    let mut included = yaml_files("tests/config/good/includes");
    included.extend(yaml_files("examples/twelve-teams/teams"));
    check(&["--included"], &included, |file, answer| assert_eq!(answer, "valid", "{}", file.display()));
}

#[test]
fn mistakes_do_not_fit_the_schema_either() {
    let files = yaml_files("tests/config");
    let names: Vec<_> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(BEYOND_A_SCHEMA.iter().all(|(excused, _)| names.contains(&(*excused).to_owned())));
    let parsed: Vec<PathBuf> = files.into_iter().filter(|file| json(file).is_some()).collect();
    let mut wrong = Vec::new();
    check(&[], &parsed, |file, answer| {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let is_excused = BEYOND_A_SCHEMA.iter().any(|(excused, _)| *excused == name);
        match (answer == "valid", is_excused) {
            (true, false) => wrong.push(format!("{name} fits the schema, and is not excused")),
            (false, true) => wrong.push(format!("{name} is excused, but it does not fit the schema: {answer}")),
            _ => {}
        }
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_schema_says_what_each_key_is_for() {
    let mut silent = Vec::new();
    let schema: Value = serde_json::from_str(&schema(&[])).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    for (definition, key, value) in definitions.iter().flat_map(|(name, definition)| {
        definition["properties"].as_object().unwrap().iter().map(move |(key, value)| (name, key, value))
    }) {
        let is_told = value["description"].as_str().is_some_and(|text| text.len() > 10);
        if !is_told {
            silent.push(format!("{definition}: {key}"));
        }
    }
    assert!(definitions.len() >= 10);
    assert!(silent.is_empty(), "no comment in config.example.yaml: {silent:?}");
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(here(directory)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// What an editor sees; none if it is no YAML, which it sees too.
fn json(file: &Path) -> Option<Value> {
    serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).ok()
}

fn schema(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cspr-relay")).arg("schema").args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn check(arguments: &[&str], files: &[PathBuf], mut answered: impl FnMut(&Path, &str)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.json");
    std::fs::write(&path, schema(arguments)).unwrap();
    let instances: Vec<Value> = files.iter().map(|file| json(file).unwrap()).collect();
    let Some(answers) = validate(path.to_str().unwrap(), &instances) else { return };
    assert_eq!(answers.len(), files.len());
    files.iter().zip(&answers).for_each(|(file, answer)| answered(file, answer));
}
