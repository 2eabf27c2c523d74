//! Promises of the configuration: the example is complete, and every mistake is told as its file expects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::load::{all_keys, load_with};
use super::{
    Condition, Config, Faults, IdentityRule, Key, Loaded, MatchConfig, OnFull, Ordering, PushDown, Schedule, SinkKind,
};
use crate::event::{Network, Stream};

const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn environment(name: &str) -> Option<String> {
    match name {
        "API_KEY" | "CSPR_CLOUD_API_KEY" => Some("the-key".into()),
        "CSPR_RELAY_ADMIN_TOKEN" => Some("the-admin-token-0".into()),
        "KAFKA_PASSWORD" | "OAUTH_CLIENT_SECRET" => Some("hunter2".into()),
        "RABBIT_PASSWORD" => Some("the-password".into()),
        "RABBIT_CA_FILE" | "RABBIT_CERT_FILE" | "RABBIT_KEY_FILE" => Some("/dev/null".into()),
        "MARKET_SECRET"
        | "MARKET_SECRET_NEXT"
        | "HOOK_SECRET"
        | "CATALOGUE_SECRET"
        | "ORDERS_SECRET"
        | "RELAY_SIGNING_SECRET" => Some(SIGNING_SECRET.into()),
        "PROXY_CA_FILE" | "MARKET_CA_FILE" | "MARKET_CERT_FILE" | "MARKET_KEY_FILE" => Some("/dev/null".into()),
        _ => None,
    }
}

fn loaded(yaml: &str) -> Result<Loaded, Faults> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    load_with(file.path(), &environment)
}

fn config(yaml: &str) -> Config {
    loaded(yaml).unwrap_or_else(|faults| panic!("{faults}")).config
}

fn matcher_of(condition: &str) -> MatchConfig {
    let yaml = format!(
        "{{source: {{network: testnet, api_key: '${{API_KEY}}'}}, sinks: {{bus: {{stdout: }}}}, \
         routes: {{one: {{match: {{{condition}}}, sinks: bus}}}}}}"
    );
    config(&yaml).routes.swap_remove(0).matcher
}

/// What a `match` of this text names under `key`, sorted.
fn texts_of(condition: &str, key: Key) -> Vec<String> {
    let matcher = matcher_of(condition);
    let texts = matcher.conditions.iter().find_map(|condition| match condition {
        Condition::OneOf(own, texts) if *own == key => Some(texts),
        _ => None,
    });
    let mut texts: Vec<String> = texts.unwrap().iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}

#[test]
fn the_example_loads_without_a_warning() {
    assert_eq!(loaded_without_a_warning(&here("config.example.yaml")).config.routes.len(), 4);
}

#[test]
fn the_example_shows_every_key() {
    let text = std::fs::read_to_string(here("config.example.yaml")).unwrap();
    let keys: BTreeMap<String, bool> = all_keys(&text);
    assert!(keys.len() > 40, "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|(_, is_there)| !**is_there).map(|(key, _)| key).collect();
    assert!(missing.is_empty(), "not in config.example.yaml: {missing:?}");
}

/// With `UPDATE=1` in the environment the expectations are written anew: read the difference before it is committed.
#[test]
fn each_mistake_is_told_as_expected() {
    let directory = here("tests/config");
    let files = yaml_files("tests/config");
    let mut wrong = Vec::new();
    for path in &files {
        let findings = load_with(path, &environment).map_or_else(|faults| faults, |loaded| Faults(loaded.warnings));
        let told = format!("{findings}\n").replace(&format!("{}/", directory.display()), "");
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &told).unwrap();
        }
        if findings.0.is_empty() || std::fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("--- {}\n{told}", path.display()));
        }
    }
    assert!(files.len() >= 40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(here(directory)).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

fn loaded_without_a_warning(file: &Path) -> Loaded {
    let loaded = load_with(file, &environment).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, [], "{}", file.display());
    loaded
}

#[test]
fn every_good_file_loads_without_a_warning() {
    let files = yaml_files("tests/config/good");
    assert!(files.len() >= 3);
    for file in files {
        loaded_without_a_warning(&file);
    }
}

#[test]
fn every_realistic_example_loads_without_a_warning() {
    let files = yaml_files("examples");
    assert!(files.len() >= 2);
    for file in files {
        loaded_without_a_warning(&file);
    }
    let teams = loaded_without_a_warning(&here("examples/twelve-teams/cspr-relay.yaml"));
    assert_eq!((teams.config.sinks.len(), teams.config.routes.len()), (12, 300));
}

#[test]
fn included_files_are_one_configuration_with_the_main_file() {
    let good = here("tests/config/good");
    let loaded = load_with(&good.join("includes.yaml"), &environment).unwrap_or_else(|faults| panic!("{faults}"));
    let routes: Vec<&str> = loaded.config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(routes, ["market", "museum"], "in the order of the files");
    let names = loaded.config.sinks.keys().map(ToString::to_string);
    assert_eq!(names.collect::<Vec<_>>(), ["market", "museum"]);
    let files: Vec<_> =
        loaded.files.iter().map(|file| file.strip_prefix(&good).unwrap().display().to_string()).collect();
    let expected = [
        "includes",
        "includes/api-key",
        "includes/empty.yaml",
        "includes/market.yaml",
        "includes/museum/ca.pem",
        "includes/museum/museum.yaml",
        "includes.yaml",
    ];
    assert_eq!(files, expected);
}

#[test]
fn too_many_files_and_too_many_bytes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("relay.yaml");
    std::fs::write(&main, "include: '*.yml'\nsource: { network: testnet, api_key: '${API_KEY}' }\n").unwrap();
    std::fs::write(directory.path().join("long.yml"), " ".repeat(32 * 1024 * 1024)).unwrap();
    let told = load_with(&main, &environment).unwrap_err().to_string();
    assert!(told.contains("longer than 32 MiB, all its files together") && !told.contains("no sinks"), "{told}");
    std::fs::write(directory.path().join("long.yml"), "").unwrap();
    (0..1000).for_each(|index| std::fs::write(directory.path().join(format!("{index}.yml")), "").unwrap());
    let told = load_with(&main, &environment).unwrap_err().to_string();
    assert!(told.contains("includes 1001 files; 1000 are the most"), "{told}");
}

#[test]
fn what_is_not_given_has_its_default() {
    let config = config(
        "source: { network: mainnet, api_key: '${API_KEY}' }\n\
         sinks: { hook: { webhook: { url: 'http://hook:8080/x' } } }\n\
         routes: { all: { match: all, sinks: hook } }\n",
    );
    assert_eq!(config.source.network, Network::Mainnet);
    assert_eq!(config.source.url.as_str(), "wss://streaming.cspr.cloud/");
    assert_eq!(config.source.api_key.current().expose_secret(), "the-key");
    assert_eq!(config.source.silence_timeout, Duration::from_secs(60));
    assert_eq!(config.source.push_down, PushDown::Packages);
    assert_eq!(config.store.path, Path::new("./data"));
    assert_eq!((config.store.retention.as_secs(), config.store.max_bytes), (604_800, 10 << 30));
    assert_eq!(config.dedup.identity, IdentityRule::State);
    assert_eq!(config.dedup.max_keys, 3_000_000);
    assert_eq!((config.dead_letters.retention.as_secs(), config.dead_letters.max_bytes), (2_592_000, 2 << 30));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(25));
    let sink = config.sinks.values().next().unwrap();
    assert_eq!((sink.concurrency, sink.ordering), (16, Ordering::Lane));
    assert_eq!((sink.backlog.max_bytes, sink.backlog.on_full), (5 << 30, OnFull::Expire));
    let Schedule::Listed(schedule) = &sink.retry.schedule else { panic!("a list") };
    let hours: Vec<f64> = schedule.iter().map(|delay| delay.as_secs_f64() / 3600.0).collect();
    assert_eq!(hours[2..], [0.5, 2.0, 5.0, 10.0, 14.0, 20.0, 24.0]);
    let SinkKind::Webhook(webhook) = &sink.kind else { panic!("a webhook") };
    assert_eq!((webhook.timeout, webhook.reject_on.as_slice()), (Duration::from_secs(15), &[400, 413, 415, 422][..]));
    assert_eq!(config.routes[0].stream, Stream::NftTokens);
}

#[test]
fn ids_are_taken_as_they_are_written() {
    let long = "12284936144037871778033568559102708798884965623732709450304319273911201749555";
    for id in ["007", "1e18", "0x1F", "1_000", "+5", ".inf", ".nan", "1e999", "true", "no", "-0", "1.50", long] {
        assert_eq!(texts_of(&format!("token_id: {id}"), Key::TokenId), [id]);
        assert_eq!(texts_of(&format!("token_id: [{id} , '{id}', z]"), Key::TokenId), [id, "z"]);
    }
    let digits = "0202".repeat(16);
    assert_eq!(texts_of(&format!("contract_package: {digits}"), Key::ContractPackage), [digits]);
}

#[test]
fn aliases_and_merges_keep_the_spelling_too() {
    let aliased = "token_id: &id [007, &x 1e2, *x], action: *id";
    assert_eq!(texts_of(aliased, Key::TokenId), ["007", "1e2"]);
    assert_eq!(texts_of(aliased, Key::Action), ["007", "1e2"]);
    let merged = config(
        "source: { network: testnet, api_key: '${API_KEY}' }\n\
         sinks:\n  a: &a { stdout: , concurrency: 10, retry: { jitter: 1e-1 } }\n  b: { <<: *a, concurrency: 2 }\n\
         routes: { all: { match: all, sinks: [a, b] } }\n",
    );
    let seen: Vec<_> = merged.sinks.values().map(|sink| (sink.concurrency, sink.retry.jitter)).collect();
    assert_eq!(seen, [(10, 0.1), (2, 0.1)]);
}

#[test]
fn owners_may_be_hashes_or_public_keys() {
    let owners = format!(
        "owner: [Account-Hash-{}, 01cd4f2ed572ea555ca46c17c83c43e609d2e916871236f40faa9ba747478e8dee]",
        PACKAGE.to_uppercase()
    );
    let expected = [PACKAGE, "79c9563deeb7bbd05e91c7dddddec9328717fea1ae846dd54ab9dfeaae015bc0"];
    assert_eq!(texts_of(&owners, Key::Owner), expected);
}

#[test]
fn references_are_expanded_after_parsing() {
    let tricky = |name: &str| (name == "TRICKY").then(|| "a: [b, #c".to_owned()).or_else(|| environment(name));
    let yaml = "source: { network: testnet, api_key: '${API_KEY}', persistent_session: '${TRICKY} ${NONE:-x} $${Y}' }\n\
                sinks: { bus: { stdout: } }\nroutes: { all: { match: all, sinks: bus } }\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let loaded = load_with(file.path(), &tricky).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.config.source.persistent_session.as_deref(), Some("a: [b, #c x ${Y}"));
}

#[test]
fn a_literal_secret_is_a_warning_that_does_not_show_it() {
    let yaml = format!(
        "source: {{ network: testnet, api_key: hunter2 }}\n\
         sinks: {{ hook: {{ webhook: {{ url: 'http://hook', secrets: [{SIGNING_SECRET}], \
         headers: {{ X-Env: prod, Authorization: 'Bearer ${{NONE:-hunter2}}' }} }} }} }}\n\
         routes: {{ all: {{ match: all, sinks: hook }} }}\n"
    );
    let loaded = loaded(&yaml).unwrap();
    let paths: Vec<_> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
    let expected = ["source.api_key", "sinks.hook.webhook.secrets[0]", "sinks.hook.webhook.headers.Authorization"];
    assert_eq!(paths, expected);
    let shown = format!("{} {:?}", Faults(loaded.warnings.clone()), loaded);
    assert!(!shown.contains("hunter2") && !shown.contains(SIGNING_SECRET), "{shown}");
}

#[test]
fn a_secret_at_a_wrong_place_is_not_shown() {
    for source in [
        "{ network: testnet, api_key: [hunter2] }",
        "{ network: testnet, api_key: { value: hunter2 } }",
        "{ network: testnet, apikey: hunter2 }",
        "{ network: testnet, api_key: { hunter2",
        "{ network: [], api_key: hunter2 }",
        "{ network: testnet, api_key: '${A}', url: 'ws://x:hunter2@y' }",
        "{ network: testnet, api_key: \"hunter2\\n\" }",
    ] {
        let yaml = format!(
            "source: {source}\nsinks: {{ bus: {{ stdout: }} }}\nroutes: {{ all: {{ match: all, sinks: bus }} }}\n"
        );
        let shown = loaded(&yaml).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

proptest::proptest! {
    /// Whatever an editor's slip makes of a file: faults, never a panic, and a place that exists.
    #[test]
    fn no_text_makes_the_reader_panic(
        at in 0..9_000_usize,
        length in 0..40_usize,
        slip in "[-\\[\\]{}:,&*!|>'\"%@`#~?<\n\t ü0-9a-z$]{0,6}",
    ) {
        let mut text = std::fs::read_to_string(here("config.example.yaml")).unwrap();
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let range = boundary(at)..boundary(at + length);
        text.replace_range(range, &slip);
        let lines = text.lines().count();
        for fault in loaded(&text).err().map(|faults| faults.0).unwrap_or_default() {
            proptest::prop_assert!(fault.line <= lines + 1, "{fault}");
            proptest::prop_assert!(!fault.to_string().contains("the-key"));
        }
    }
}

#[test]
fn a_missing_file_says_what_to_do() {
    let faults = load_with(Path::new("/nonexistent/relay.yaml"), &environment).unwrap_err().to_string();
    assert!(faults.contains("/nonexistent/relay.yaml: there is no such file"), "{faults}");
    assert!(faults.contains("--config"), "{faults}");
}
