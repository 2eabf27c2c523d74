//! The stream `nft-token-ownership` of the real binary: what it tells, added up, is who owns what, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::gate::Gate;
use super::listener::Listener;
use super::{BINARY, Process, SECRET, Scene, until, within};

/// Packages of the emulator's world, the last of which some contract owns tokens of.
const PACKAGES: [&str; 3] = [
    "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508",
    "04682e17e5a86d594d9fd2bf37c766834bbaa412499bd6b5ac4ce76449708797",
    "006c68af5f767e406cccd326f8d8bba81dec20d2578f308d33e3bbf08ee5d383",
];
pub(super) const CONTRACT: &str = "8e09f028baff4e3a851e70bb8a5dc02eae7f8cb7faf1b52d9c8dafa7f41fa55c";
pub(super) const WHALE: u64 = 8;
/// What is asked again after 10 and 60 seconds may take so long to be told.
pub(super) const PATIENCE: Duration = Duration::from_secs(150);

/// How many tokens each owner has, by package and owner.
pub(super) type Numbers = BTreeMap<(String, String), (u64, u64)>;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    id: String,
    sequence: String,
    stream: String,
    action: String,
    pub(super) routes: BTreeSet<String>,
    pub(super) message: Message,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Message {
    pub(super) data: Row,
    extra: Extra,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Row {
    contract_package_hash: String,
    owner_hash: String,
    owner_type: u64,
    tokens_number: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Extra {
    previous_tokens_number: u64,
    cause: Option<String>,
    deploy_hash: Option<String>,
    token_id: Option<String>,
}

/// A relay that tells on its standard output who owns what, and hands the tokens themselves to a webhook.
fn configure(scene: &Scene, stream: &str, rest: &str, more: &str, live: &Listener) -> std::path::PathBuf {
    let (data, packages) = (scene.data(), PACKAGES.join(", "));
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"{stream}\", rest: {{ url: \"{}\", \
         requests_per_minute: 100000, requests_per_day: 1000000 }} }}\nstore: {{ path: \"{}\" }}\nownership: {{ \
         settle: 300ms, {more} }}\nsinks:\n  console: {{ stdout: {{}} }}\n  live: {{ webhook: {{ url: \"{}\", secrets: \
         [\"{SECRET}\"], headers: {{ X-Life: \"1\" }} }} }}\nroutes:\n  all: {{ stream: nft-token-ownership, match: {{ \
         contract_package: [{packages}] }}, sinks: [console] }}\n  whales: {{ stream: nft-token-ownership, match: {{ \
         contract_package: [{packages}], where: {{ /data/tokens_number: {{ gte: {WHALE} }}, \
         /extra/previous_tokens_number: {{ lt: {WHALE} }} }} }}, sinks: [console] }}\n  live: {{ match: all, sinks: \
         [live] }}\n",
        rest.replace("ws://", "http://"),
        data.display(),
        live.url(),
    );
    let path = scene.path("owners.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What the lives of a relay have told, each once, in the order of the store.
pub(super) fn told(lives: &[Process]) -> Vec<Line> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for text in lives.iter().map(Process::said) {
        // A kill tears the last line of a life.
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        for line in whole {
            let known = lines.entry(line.id.clone()).or_insert_with(|| line.clone());
            assert_eq!((&known.sequence, &known.message), (&line.sequence, &line.message), "one id, one event");
        }
    }
    let mut lines: Vec<Line> = lines.into_values().collect();
    lines.sort_by(|a, b| a.sequence.cmp(&b.sequence));
    lines
}

/// Adds up what was told. Each event begins where the last one about its owner ended: none is missing, and none told
/// twice.
pub(super) fn added_up(lines: &[Line]) -> Numbers {
    let mut numbers = Numbers::new();
    for Line { stream, action, routes, message: Message { data, extra }, .. } in lines {
        assert_eq!(stream, "nft-token-ownership");
        let key = (data.contract_package_hash.clone(), data.owner_hash.clone());
        let before = numbers.get(&key).map_or(0, |(tokens, _)| *tokens);
        assert_eq!(extra.previous_tokens_number, before, "{key:?}");
        assert_ne!(data.tokens_number, before, "{key:?}");
        let expected = match (before, data.tokens_number) {
            (0, _) => "created",
            (_, 0) => "deleted",
            _ => "updated",
        };
        assert_eq!(action, expected);
        let has_crossed = before < WHALE && data.tokens_number >= WHALE;
        assert_eq!(routes.contains("whales"), has_crossed, "{before} {data:?}");
        assert_eq!(extra.cause.is_some(), extra.token_id.is_some() && extra.deploy_hash.is_some());
        match data.tokens_number {
            0 => drop(numbers.remove(&key)),
            tokens => drop(numbers.insert(key, (tokens, data.owner_type))),
        }
    }
    numbers
}

/// What a command of the binary says about all packages.
async fn asked(config: &Path, arguments: &[&str]) -> Numbers {
    let mut numbers = Numbers::new();
    for package in PACKAGES {
        let mut command = Command::new(BINARY);
        command.args(["ownership", "--json", "--package", package]).args(arguments).arg("--config").arg(config);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        for row in text.lines().map(|line| serde_json::from_str::<Row>(line).unwrap()) {
            numbers.insert((row.contract_package_hash, row.owner_hash), (row.tokens_number, row.owner_type));
        }
    }
    numbers
}

/// The value of a metric without labels.
pub(super) async fn metric(relay: &Process, name: &str) -> f64 {
    let log = relay.log();
    let address = log.split_once("admin=").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.split_once(' ').is_some_and(|(found, _)| found == name));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

pub(super) async fn published(emulator: &Process, count: usize) {
    within(PATIENCE, "all is published", || emulator.said().contains(&format!("Published all {count}"))).await;
}

/// Waits until what was told is what the source says, and until the store of the relay says so, too.
async fn agrees(lives: &[Process], config: &Path) -> Vec<Line> {
    let start = Instant::now();
    loop {
        // The source itself lags behind what it has published.
        let truth = asked(config, &[]).await;
        assert!(truth.len() > 60 && truth.keys().any(|(_, owner)| owner == CONTRACT), "{}", truth.len());
        let lines = told(lives);
        let numbers = added_up(&lines);
        if numbers == truth {
            assert_eq!(asked(config, &["--from-store"]).await, truth);
            return lines;
        }
        let differing = truth.iter().filter(|(key, number)| numbers.get(key) != Some(number)).count();
        assert!(start.elapsed() < PATIENCE, "{differing} of {} owners differ", truth.len());
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_adds_up_to_who_owns_what() {
    const COUNT: usize = 6_000;
    let scene = Scene::new();
    // It begins before the relay does, which so sees transfers of tokens whose mints it has not seen.
    let faults = ["--drop", "0.003", "--duplicate", "0.01", "--rest", "--rest-lag", "150", "--unattended"];
    let pace = ["--rate", "300", "--seed", "8", "--count", &COUNT.to_string()].map(str::to_owned);
    let arguments: Vec<&str> = faults.into_iter().chain(pace.iter().map(String::as_str)).collect();
    let (emulator, url) = scene.emulator_of_all(&arguments).await;
    let live = Listener::start().await;
    let config = configure(&scene, &url, &url, "emit_baseline: true", &live);
    sleep(Duration::from_secs(2)).await;
    let relay = scene.relay(&config);
    published(&emulator, COUNT).await;
    let mut lives = [relay];
    let lines = agrees(&lives, &config).await;
    assert!(lines.iter().filter(|line| line.routes.contains("whales")).count() > 3, "the test was one");
    assert!(
        lines.iter().any(|line| line.action == "deleted")
            && lines.iter().any(|line| line.message.extra.cause.is_some())
    );
    let log = lives[0].log();
    assert!(log.matches("connected to the source").count() > 3, "there were disconnects");
    lives[0].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_change_nothing_of_what_is_told() {
    const COUNT: usize = 4_000;
    const LIVES: u64 = 12;
    const POINTS: [&str; 3] = ["store-before-commit", "store-in-commit", "store-after-commit"];
    let scene = Scene::new();
    let arguments = ["--rest", "--rest-lag", "100", "--unattended", "--rate", "250", "--seed", "9", "--count"];
    let (emulator, url) = scene.emulator_of_all(&[&arguments[..], &[&COUNT.to_string()]].concat()).await;
    let live = Listener::start().await;
    let config = configure(&scene, &url, &url, "emit_baseline: true", &live);
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let mut lives = Vec::new();
    for life in 1..=LIVES {
        let point = match cfg!(feature = "failpoints") && random.bool() {
            true => format!("{}={}*off->return", POINTS[random.usize(..POINTS.len())], random.u64(5..60)),
            false => String::new(),
        };
        let mut relay = scene.relay_in_life(&config, life, &point);
        let longest = Duration::from_millis(random.u64(400..2_500));
        if tokio::time::timeout(longest, relay.child.wait()).await.is_err() {
            relay.kill().await;
        }
        lives.push(relay);
    }
    lives.push(scene.relay_in_life(&config, LIVES + 1, ""));
    published(&emulator, COUNT).await;
    agrees(&lives, &config).await;
    let mut last = lives.pop().unwrap();
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_api_that_is_down_delays_no_live_event() {
    const COUNT: usize = 2_000;
    let scene = Scene::new();
    let arguments = ["--rest", "--rate", "500", "--seed", "10", "--count", &COUNT.to_string()].map(str::to_owned);
    let (emulator, url) = scene.emulator_of_all(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (live, gate) = (Listener::start().await, Gate::before(&url).await);
    gate.shut(401);
    let config = configure(&scene, &url, &gate.url, "emit_baseline: true", &live);
    let relay = scene.relay(&config);
    published(&emulator, COUNT).await;
    let sent = std::fs::read_to_string(scene.path("sent.jsonl")).unwrap();
    let tokens = sent.lines().filter(|line| line.contains("\"nft-tokens\"")).count();
    assert!(tokens > COUNT / 3, "{tokens}");
    until("all live events are there", || live.received() == tokens).await;
    let mut lives = [relay];
    assert_eq!(told(&lives).len(), 0);
    assert!(metric(&lives[0], "cspr_relay_ownership_trouble").await > 0.0);
    assert!(metric(&lives[0], "cspr_relay_ownership_due").await > 0.0);
    assert!(lives[0].log().contains("changes of ownership are told later"), "{}", lives[0].log());
    gate.shut(503);
    sleep(Duration::from_secs(6)).await;
    gate.open();
    agrees(&lives, &config).await;
    assert!(metric(&lives[0], "cspr_relay_ownership_trouble").await == 0.0);
    lives[0].stop().await;
}

/// A message about the token `n`, which comes from one owner or goes to one, by the number of the action.
fn action(n: usize, from: Option<usize>, to: Option<usize>, kind: u8) -> String {
    let side = |side: Option<usize>| side.map_or_else(|| "null".to_owned(), |owner| format!("\"{owner:064x}\""));
    format!(
        r#"{{"data":{{"deploy_hash":"{n:063x}{kind}","contract_package_hash":"{}","token_id":"{n}","from_hash":{},"to_hash":{},"to_type":0,"nft_action_id":{kind}}},"action":"created","extra":null,"timestamp":"2026-01-01T00:00:00Z"}}"#,
        PACKAGES[0],
        side(from),
        side(to)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_lose_their_last_token_are_each_told_once() {
    const OWNERS: usize = 90;
    let scene = Scene::new();
    let mints = (0..OWNERS).map(|n| action(n, None, Some(n + 1), 1));
    let burns = (0..OWNERS).map(|n| action(n, Some(n + 1), None, 2));
    let messages = scene.lines(&mints.chain(burns).collect::<Vec<_>>());
    let arguments = ["--stream", "nft-token-actions", "--replay", &messages, "--rest", "--rate", "60"];
    let (emulator, url) = scene.emulator_of_all(&arguments).await;
    let live = Listener::start().await;
    let config = configure(&scene, &url, &url, "emit_baseline: true", &live);
    let mut lives = [scene.relay(&config)];
    published(&emulator, 2 * OWNERS).await;
    let last = |action: &str| told(&lives).iter().filter(|line| line.action == action).count();
    within(PATIENCE, "all are told", || added_up(&told(&lives)).is_empty() && last("deleted") > 0).await;
    assert_eq!(last("created"), last("deleted"));
    assert!(last("deleted") > OWNERS / 3, "{}", last("deleted"));
    let questions = metric(&lives[0], "cspr_relay_ownership_looks_total").await
        + metric(&lives[0], "cspr_relay_ownership_walks_total").await;
    assert!(questions <= 4.0 * OWNERS as f64, "{questions} questions");
    lives[0].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_begins_and_ends_to_watch() {
    const COUNT: usize = 3_000;
    let scene = Scene::new();
    let arguments = ["--rest", "--unattended", "--rate", "600", "--seed", "11", "--count"];
    let (emulator, url) = scene.emulator_of_all(&[&arguments[..], &[&COUNT.to_string()]].concat()).await;
    let live = Listener::start().await;
    let config = configure(&scene, &url, &url, "emit_baseline: true", &live);
    let watching = std::fs::read_to_string(&config).unwrap() + "\nadmin: { listen: \"127.0.0.1:0\" }\n";
    let is_about_owners =
        |line: &&str| line.starts_with("  all:") || line.starts_with("  whales:") || line.contains("console:");
    let without: Vec<&str> = watching.lines().filter(|line| !is_about_owners(line)).collect();
    std::fs::write(&config, without.join("\n")).unwrap();
    let mut lives = [scene.relay(&config)];
    until("some is there", || live.received() > 50).await;
    assert_eq!(metric(&lives[0], "cspr_relay_ownership_packages").await, 0.0);

    std::fs::write(&config, &watching).unwrap();
    lives[0].signal("HUP").await;
    published(&emulator, COUNT).await;
    agrees(&lives, &config).await;
    assert_eq!(metric(&lives[0], "cspr_relay_ownership_packages").await, 3.0);

    std::fs::write(&config, without.join("\n")).unwrap();
    lives[0].signal("HUP").await;
    lives[0].logs("removed all whales").await;
    let start = Instant::now();
    while metric(&lives[0], "cspr_relay_ownership_packages").await > 0.0 {
        assert!(start.elapsed() < PATIENCE, "it is still watched");
        sleep(Duration::from_millis(50)).await;
    }
    lives[0].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_mints_costs_a_few_questions() {
    const MINTS: usize = 10_000;
    let scene = Scene::new();
    let messages = scene.lines(&(0..MINTS).map(|n| action(n, None, Some(1), 1)).collect::<Vec<_>>());
    let arguments = ["--stream", "nft-token-actions", "--replay", &messages, "--rest", "--rate", "4000"];
    let (emulator, url) = scene.emulator_of_all(&arguments).await;
    let live = Listener::start().await;
    let config = configure(&scene, &url, &url, "emit_baseline: false", &live);
    let mut lives = [scene.relay(&config)];
    published(&emulator, MINTS).await;
    let last = |lives: &[Process]| told(lives).last().map(|line| line.message.data.tokens_number);
    within(PATIENCE, "all of it is told", || last(&lives) == Some(MINTS as u64)).await;
    let lines = told(&lives);
    assert!(lines.iter().filter(|line| line.routes.contains("whales")).count() <= 1, "one crossing at the most");
    let questions = metric(&lives[0], "cspr_relay_ownership_looks_total").await
        + metric(&lives[0], "cspr_relay_ownership_walks_total").await;
    assert!(questions <= 30.0, "{questions} questions about one owner");
    assert!(metric(&lives[0], "cspr_relay_store_known_ids").await < 100.0, "what only marks is not stored");
    lives[0].stop().await;
}
