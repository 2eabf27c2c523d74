//! What the relay tells of itself, as events of the stream `relay`: true, durable, and never about themselves.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use super::listener::Listener;
use super::store::Database;
use super::{BINARY, NFT_TOKENS, Scene, Setup, message, until};
use crate::schemas::validate;

const EVENTS: u32 = 40;

/// Everything goes to `crm`; what the relay tells goes where these lines of YAML say.
fn configure(scene: &Scene, source: &str, crm: &Listener, ops: &Listener, route: &str) -> PathBuf {
    configure_with("", scene, source, (crm, ops), route)
}

/// The same with these lines of YAML at top level.
fn configure_with(more: &str, scene: &Scene, source: &str, sinks: (&Listener, &Listener), route: &str) -> PathBuf {
    let (crm, ops) = sinks;
    let sinks = [("crm", crm.url(), ""), ("ops", ops.url(), "")];
    let whole = scene.configure(&Setup { source, streams: NFT_TOKENS, more, sinks: &sinks });
    let text = fs::read_to_string(whole).unwrap();
    // A running relay looks at this one, so it is written at once.
    let (path, new) = (scene.path("ops.yaml"), scene.path("ops.yaml.new"));
    let narrowed = text.replace("match: all, sinks: [crm, ops] }", &format!("match: all, sinks: [crm] }}\n{route}"));
    assert_ne!(text, narrowed);
    fs::write(&new, narrowed).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

/// The operational events that a stopped relay has accepted, by its own export.
/// What was told of sinks: the time between two runs is a gap.
async fn told(scene: &Scene) -> Vec<Value> {
    let mut command = Command::new(BINARY);
    command.args(["store", "export", "--stream", "relay", "--messages", "--data"]).arg(scene.data());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let told: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (event, answer) in told.iter().zip(validate("relay", &told).into_iter().flatten()) {
        assert_eq!(answer, "valid", "docs/schemas/relay.json and {event}");
    }
    let is_of_a_gap = |event: &Value| event["action"].as_str().unwrap().starts_with("gap.");
    told.into_iter().filter(|event| !is_of_a_gap(event)).collect()
}

fn sum(told: &[Value], sink: &str) -> u64 {
    let letters = told.iter().filter(|event| event["action"] == "dead_letter.created" && event["data"]["sink"] == sink);
    letters.map(|event| event["data"]["count"].as_u64().unwrap()).sum()
}

fn messages(scene: &Scene) -> String {
    scene.lines(&(1..=EVENTS).map(|n| message(&(n % 10).to_string(), n)).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_one_sink_are_told_to_another_and_each_is_counted_once() {
    let (scene, crm, ops) = (Scene::new(), Listener::answering(|_| 422).await, Listener::start().await);
    let (_emulator, url) = scene.emulator(&["--replay", &messages(&scene), "--rate", "0"]).await;
    let route =
        "  ops: { stream: relay, match: { action: dead_letter.created, where: { /data/sink: crm } }, sinks: [ops] }";
    let config = configure(&scene, &format!("url: \"{url}\", persistent_session: ops"), &crm, &ops, route);
    let mut relay = scene.relay(&config);
    until("all was refused", || crm.count(|_| true) >= EVENTS as usize).await;
    until("it is told", || ops.received() > 0).await;
    relay.stop().await;
    assert!(ops.arrivals().iter().all(|arrival| arrival.is_signed && &*arrival.lane == "relay//"));
    let told = told(&scene).await;
    assert_eq!(sum(&told, "crm"), u64::from(EVENTS), "{told:?}");
    let letters = Database::open(&scene.data());
    for event in &told {
        let data = &event["data"];
        assert_eq!(data["causes"]["refused"], data["count"]);
        let (first, last) = (data["first_sequence"].as_u64().unwrap(), data["last_sequence"].as_u64().unwrap());
        assert!((1..=letters.newest()).contains(&first) && first <= last && last <= letters.newest(), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_refuses_what_is_told_of_it_is_not_told_of_again() {
    let (scene, crm, ops) = (Scene::new(), Listener::answering(|_| 422).await, Listener::start().await);
    let (_emulator, url) = scene.emulator(&["--replay", &messages(&scene), "--rate", "0"]).await;
    let route = "  self: { stream: relay, match: all, sinks: [crm, ops] }";
    let config = configure(&scene, &format!("url: \"{url}\", persistent_session: ops"), &crm, &ops, route);
    let mut relay = scene.relay(&config);
    let refused = || crm.count(|arrival| &*arrival.lane == "relay//");
    until("it refused what was told of it", || refused() > 0 && ops.received() > 0).await;
    until("all was refused", || crm.count(|_| true) - refused() >= EVENTS as usize).await;
    // What would be told of the refusal is told before a stop at the latest.
    relay.stop().await;
    let first = told(&scene).await;
    assert_eq!(sum(&first, "crm"), u64::from(EVENTS), "the letters of the events, and not their own: {first:?}");
    // The next run finds the rest of them, which is refused too, and tells nothing of that.
    let mut relay = scene.relay(&config);
    relay.logs("the relay is running").await;
    until("the rest was refused", || refused() >= first.len()).await;
    relay.stop().await;
    assert_eq!(told(&scene).await.len(), first.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_begins_and_ends_the_telling() {
    let (scene, crm, ops) = (Scene::new(), Listener::answering(|_| 422).await, Listener::start().await);
    let (_emulator, url) = scene.emulator(&["--rate", "100"]).await;
    let source = format!("url: \"{url}\"");
    let quiet = "  others: { match: { action: nothing }, sinks: [ops] }";
    let config = configure(&scene, &source, &crm, &ops, quiet);
    let mut relay = scene.relay(&config);
    until("some were refused", || crm.count(|_| true) >= 50).await;
    configure(&scene, &source, &crm, &ops, "  ops: { stream: relay, match: all, sinks: [ops] }");
    relay.signal("HUP").await;
    until("it is told", || ops.received() > 0).await;
    configure(&scene, &source, &crm, &ops, quiet);
    relay.signal("HUP").await;
    relay.logs("removed ops").await;
    let refused = crm.count(|_| true);
    until("more were refused", || crm.count(|_| true) >= refused + 50).await;
    relay.stop().await;
    let told = told(&scene).await;
    assert_eq!(told.len(), ops.received());
    let total = crm.count(|_| true) as u64;
    assert!(sum(&told, "crm") + 100 <= total, "of {total} none before, none after: {told:?}");
}

/// The emulator is halted by a signal: its connections stay open, and nothing comes through them any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_falls_silent_is_told_and_heard_again_when_it_speaks() {
    let (scene, crm, ops) = (Scene::new(), Listener::start().await, Listener::start().await);
    let (emulator, url) = scene.emulator(&["--rate", "50", "--ping-every", "1", "--unattended"]).await;
    let route = "  ops: { stream: relay, match: { action: source.silent }, sinks: [ops] }";
    let source = format!("url: \"{url}\", silence_timeout: 3s");
    let admin = format!("admin: {{ listen: \"127.0.0.1:{}\", token: the-token-of-the-operator }}", free_port());
    let config = configure_with(&admin, &scene, &source, (&crm, &ops), route);
    let mut relay = scene.relay(&config);
    until("events flow", || crm.received() > 50).await;
    let up = status(&config).await;
    assert_eq!((&connection(&up)["is_up"], &up["gaps"]["open"]), (&true.into(), &0.into()), "{up}");

    emulator.signal("STOP").await;
    until("the silence is told", || ops.received() == 1).await;
    assert!(ops.arrivals()[0].is_signed && &*ops.arrivals()[0].lane == "relay//");
    let down = status(&config).await;
    let trouble = connection(&down)["trouble"].as_str().unwrap();
    // The second comes a while later: a halted process still accepts connections, and never answers.
    let expected = ["no frame for 3s, so the link counts as dead", "connecting took over"];
    assert!(connection(&down)["is_up"] == false && expected.iter().any(|text| trouble.contains(text)), "{down}");
    let before = crm.received();

    emulator.signal("CONT").await;
    until("events flow again", || crm.received() > before + 50).await;
    let after = status(&config).await;
    assert_eq!((&connection(&after)["is_up"], &after["gaps"]["open"]), (&true.into(), &1.into()), "{after}");
    relay.stop().await;
    let told = told(&scene).await;
    let data = &told[0]["data"];
    assert_eq!((told.len(), &told[0]["action"], &data["stream"]), (1, &"source.silent".into(), &"nft-tokens".into()));
    assert!(data["silence_ms"].as_u64().unwrap() >= 3_000, "{data}");
}

fn connection(status: &Value) -> &Value {
    &status["source"]["connections"][0]
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn status(config: &Path) -> Value {
    let output = Command::new(BINARY).args(["status", "--json", "--config"]).arg(config).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
