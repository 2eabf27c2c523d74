//! `cspr-relay backfill`: a sink gets what there was before it, beside what happens, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::gate::{Gate, Refusal};
use super::{BINARY, Process, SECRET, Scene, until};

const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
const TOKEN: &str = "the-token-of-the-operator";
const PATIENCE: Duration = Duration::from_secs(90);

/// What came with one request.
#[derive(Clone)]
struct Arrival {
    id: String,
    sequence: String,
    origin: String,
    stream: String,
    life: String,
    data: Value,
}

/// A webhook that takes everything and keeps it.
struct Consumer {
    url: String,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    _serving: JoinSet<()>,
}

impl Consumer {
    async fn start() -> Self {
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let router = axum::Router::new().route("/", post(take)).with_state(Arc::clone(&arrivals));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async { axum::serve(socket, router).await.unwrap() });
        Self { url, arrivals, _serving: serving }
    }

    fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    /// Of each token what a consumer knows that goes by the sequence.
    fn tokens(&self) -> BTreeMap<String, Value> {
        let mut newest: BTreeMap<String, (String, Value)> = BTreeMap::new();
        for arrival in self.arrivals().into_iter().filter(|arrival| arrival.stream == "nft-tokens") {
            let known = newest.entry(arrival.data["token_id"].as_str().unwrap().to_owned()).or_default();
            if arrival.sequence > known.0 {
                *known = (arrival.sequence, what_counts(&arrival.data));
            }
        }
        newest.into_iter().map(|(token, (_, state))| (token, state)).collect()
    }
}

async fn take(State(arrivals): State<Arc<Mutex<Vec<Arrival>>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let message: Value = serde_json::from_slice(&body).unwrap();
    arrivals.lock().unwrap().push(Arrival {
        id: text("webhook-id"),
        sequence: text("cspr-relay-sequence"),
        origin: text("cspr-relay-origin"),
        stream: text("cspr-relay-stream"),
        life: text("x-life"),
        data: message["data"].clone(),
    });
    StatusCode::NO_CONTENT
}

fn what_counts(token: &Value) -> Value {
    let keys = ["owner_hash", "is_burned", "onchain_metadata", "offchain_metadata", "offchain_metadata_status"];
    keys.iter().map(|key| token[key].clone()).collect()
}

/// The emulated world, and the directory of a relay in it.
struct Stage {
    /// Before the directory with its log.
    emulator: Process,
    scene: Scene,
    url: String,
    rest: String,
    admin: u16,
}

impl Stage {
    async fn new(arguments: &[&str]) -> Self {
        let scene = Scene::new();
        // All of it happened long ago, so that no repair of a gap has anything to tell: the backfills do.
        let fixed = ["--rest", "--unattended", "--ping-every", "1"];
        let (emulator, url) = scene.emulator_of_all(&[&fixed[..], arguments].concat()).await;
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let rest = url.replace("ws://", "http://");
        Self { scene, emulator, url, rest, admin }
    }

    /// All tokens of the package go to this sink, and to nobody else.
    fn configure(&self, sink: &str, consumer: &Consumer) -> PathBuf {
        let text = format!(
            "source: {{ network: testnet, api_key: emulator-key, url: \"{}\", rest: {{ url: \"{}\", \
             requests_per_minute: 100000, requests_per_day: 1000000 }} }}\nstore: {{ path: \"{}\" }}\nadmin: {{ listen: \
             \"127.0.0.1:{}\", token: {TOKEN} }}\nsinks: {{ {sink}: {{ webhook: {{ url: \"{}\", secrets: [\"{SECRET}\"], \
             headers: {{ X-Life: \"${{LIFE:-0}}\" }} }} }} }}\nroutes: {{ named: {{ match: {{ contract_package: {PACKAGE} \
             }}, sinks: [{sink}] }} }}\n",
            self.url,
            self.rest,
            self.scene.data().display(),
            self.admin,
            consumer.url,
        );
        let path = self.scene.path("relay.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn relay(&self, config: &Path, life: u64, kill_points: &str) -> Process {
        let relay = self.scene.relay_in_life(config, life, kill_points);
        relay.logs("the relay is running").await;
        relay
    }

    async fn published(&self) {
        super::within(PATIENCE, "all is published", || self.emulator.said().contains("Published all")).await;
    }

    /// The package's tokens, as the emulated REST API tells them, by id: what counts of their state.
    async fn truth(&self) -> BTreeMap<String, Value> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut tokens = BTreeMap::new();
        for page in 1.. {
            let query = format!("page={page}&page_size=250&order_by=token_id&order_direction=ASC");
            let url =
                format!("{}/contract-packages/{PACKAGE}/nft-tokens?{query}", self.url.replace("ws://", "http://"));
            let answer = http.get(url).header("authorization", "emulator-key").send().await.unwrap();
            let listed: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            for token in listed["data"].as_array().unwrap() {
                tokens.insert(token["token_id"].as_str().unwrap().to_owned(), what_counts(token));
            }
            if listed["page_count"].as_u64().unwrap() <= page {
                break;
            }
        }
        tokens
    }
}

/// What a command says, and whether it ended well.
async fn command(config: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--config").arg(config).env_remove("FAILPOINTS").kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("the command ends").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn backfill(config: &Path, arguments: &[&str]) -> (bool, String) {
    command(config, &[&["backfill", "--package", PACKAGE][..], arguments].concat()).await
}

/// The newest job, once it is such.
async fn job(config: &Path, what: &str, is_such: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let (_, said) = command(config, &["jobs", "list", "--json"]).await;
        let job = serde_json::from_str(&said).map(|jobs: Value| jobs["jobs"][0].clone()).unwrap_or_default();
        if is_such(&job) {
            return job;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {said}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the consumer knows every token as it is.
async fn agrees(stage: &Stage, consumer: &Consumer) -> BTreeMap<String, Value> {
    let start = Instant::now();
    loop {
        let (truth, known) = (stage.truth().await, consumer.tokens());
        if truth == known {
            return truth;
        }
        let differing: Vec<_> = truth.iter().filter(|(id, state)| known.get(*id) != Some(state)).collect();
        assert!(start.elapsed() < PATIENCE, "{} of {} differ: {:?}", differing.len(), truth.len(), differing.first());
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_arrives_in_its_final_state_whatever_is_killed() {
    const POINTS: [&str; 3] = ["store-before-commit", "store-in-commit", "store-after-commit"];
    let stage = Stage::new(&["--rest-lag", "700", "--rate", "2500", "--count", "70000", "--seed", "21"]).await;
    let consumer = Consumer::start().await;
    let config = stage.configure("late", &consumer);
    while stage.truth().await.len() < 1_000 {
        sleep(Duration::from_millis(500)).await;
    }
    let mut relay = stage.relay(&config, 1, "").await;
    let (is_well, said) = backfill(&config, &["--sink", "late"]).await;
    assert!(is_well && said.contains("tokens would be sent") && said.contains("say --yes"), "{said}");
    let (is_well, said) = backfill(&config, &["--sink", "late", "--rate", "250", "--yes", "--detach"]).await;
    assert!(is_well && said.contains("Job 1 is at work"), "{said}");
    let mut random = fastrand::Rng::with_seed(20_261_121);
    for life in 2..=6 {
        sleep(Duration::from_millis(random.u64(300..1_200))).await;
        relay.kill().await;
        let point = match cfg!(feature = "failpoints") && random.bool() {
            true => format!("{}={}*off->return", POINTS[random.usize(..POINTS.len())], random.u64(40..120)),
            false => String::new(),
        };
        relay = stage.scene.relay_in_life(&config, life, &point);
    }
    sleep(Duration::from_secs(1)).await;
    relay.kill().await;
    let mut relay = stage.relay(&config, 7, "").await;
    let ended = job(&config, "the backfill ends", |job| job["state"] != "running").await;
    assert_eq!(ended["state"], "done", "{ended}");
    let of = |count: &str| ended["counts"][count].as_u64().unwrap();
    assert!(
        of("seen") >= 1_000 && of("done") > 0 && of("done") + of("delivered") + of("waiting") == of("seen"),
        "{ended}"
    );
    stage.published().await;
    // What was under way at a kill has not come, and nobody tells it again but another run.
    sleep(Duration::from_secs(1)).await;
    let (is_well, said) = backfill(&config, &["--sink", "late", "--yes"]).await;
    assert!(is_well && said.contains("left alone: delivered already"), "{said}");
    let truth = agrees(&stage, &consumer).await;
    assert!(truth.len() >= 1_000, "{}", truth.len());

    let arrivals = consumer.arrivals();
    let of = |origin: &str| arrivals.iter().filter(|arrival| arrival.origin == origin).count();
    assert!(of("backfill") > 200 && of("stream") > 500, "{} and {}", of("backfill"), of("stream"));
    let mut once = BTreeSet::new();
    let twice = arrivals.iter().filter(|arrival| !once.insert((&arrival.id, &arrival.life))).count();
    assert_eq!(twice, 0, "nothing comes twice from one life");

    let before = consumer.count();
    let (is_well, said) = backfill(&config, &["--sink", "late", "--yes", "--json"]).await;
    let again: Value = serde_json::from_str(&said).unwrap();
    let counts = &again["counts"];
    assert!(is_well && counts["done"] == 0 && counts["delivered"] == truth.len(), "{said}");
    assert_eq!(consumer.count(), before, "a further run sends nothing that the sink has");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_waits_for_rest_can_be_cancelled_and_ends_without_its_sink() {
    let mut stage = Stage::new(&["--rate", "0", "--count", "6000", "--seed", "22", "--history", "60000"]).await;
    let gate = Gate::before(&stage.url).await;
    stage.rest.clone_from(&gate.url);
    stage.published().await;
    let consumer = Consumer::start().await;
    let config = stage.configure("late", &consumer);
    let mut relay = stage.relay(&config, 1, "").await;
    for (sink, package, expected) in [
        ("late", "00".repeat(32), "knows no tokens of the contract package"),
        ("nobody", PACKAGE.to_owned(), "there is no sink `nobody` in the configuration"),
        ("late", "53".to_owned(), "a hash has 64 hex digits, this has 2"),
    ] {
        let (is_well, said) = command(&config, &["backfill", "--sink", sink, "--package", &package, "--yes"]).await;
        assert!(!is_well && said.contains(expected), "{said}");
    }

    let slowly = ["--sink", "late", "--rate", "20", "--yes", "--detach"];
    assert!(backfill(&config, &slowly).await.0);
    until("some of it has arrived", || consumer.count() >= 20).await;
    let (is_well, said) = command(&config, &["jobs", "cancel", "1"]).await;
    assert!(is_well, "{said}");
    let cancelled = job(&config, "it ends", |job| job["state"] == "cancelled").await;
    let sent = cancelled["counts"]["done"].as_u64().unwrap();
    until("what it has sent arrives", || consumer.count() as u64 == sent).await;

    gate.refuse(Refusal { status: 429, retry_after: Some(1) });
    let (is_well, said) = backfill(&config, &["--sink", "late"]).await;
    assert!(!is_well && said.contains("wants fewer requests (HTTP 429)"), "{said}");
    gate.open();
    assert!(backfill(&config, &["--sink", "late", "--rate", "200", "--yes", "--detach"]).await.0);
    gate.refuse(Refusal { status: 429, retry_after: Some(1) });
    let waiting = job(&config, "it says why it waits", |job| job["trouble"].is_string()).await;
    assert!(waiting["trouble"].as_str().unwrap().contains("wants fewer requests (HTTP 429)"), "{waiting}");
    let (_, shown) = command(&config, &["jobs", "list"]).await;
    assert!(shown.contains("waits: CSPR.cloud did not answer"), "{shown}");
    gate.open();
    let ended = job(&config, "it ends", |job| job["state"] == "done").await;
    assert_eq!((&ended["counts"]["delivered"], &ended["trouble"]), (&sent.into(), &Value::Null));
    agrees(&stage, &consumer).await;

    let tokens = consumer.count();
    let (is_well, said) = backfill(&config, &["--sink", "late", "--history", "--yes", "--json"]).await;
    let counts = serde_json::from_str::<Value>(&said).unwrap()["counts"].clone();
    assert!(is_well && counts["done"].as_u64() > Some(tokens as u64), "{said}");
    until("all actions arrive", || (consumer.count() - tokens) as u64 == counts["done"].as_u64().unwrap()).await;
    let (_, said) = backfill(&config, &["--sink", "late", "--history", "--yes"]).await;
    assert!(said.contains("0 actions were sent.\n") && said.contains("left alone: delivered already"), "{said}");

    let again = [&slowly[..], &["--again"]].concat();
    assert!(backfill(&config, &again).await.0);
    stage.configure("other", &consumer);
    relay.signal("HUP").await;
    let failed = job(&config, "it ends", |job| job["state"] != "running").await;
    assert_eq!(failed["why"], "the sink `late` is no longer configured", "{failed}");
    relay.stop().await;
}
