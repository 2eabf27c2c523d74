//! A relay that missed something of the emulated world, and what is to come of that.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::gaps::{TOKEN, command, running, settled};
use super::gate::Gate;
use super::repair::{PACKAGE, States, by_token, check_token, configure, emulate, free_address, gaps, is_final, told};
use super::store::Database;
use super::{DEADLINE, Process, Scene, within};

pub(super) const WORLD: [&str; 4] = ["--seed", "6", "--count", "4000"];
/// All of it is published in forty seconds.
const RATE: &str = "100";
/// From the server's write to the commit, for half of the live events: a machine that is busy with other tests is no
/// fault of the relay.
const DELAY_MAX_MS: i64 = 1_000;

pub(super) struct Play {
    pub(super) gate: Gate,
    pub(super) config: PathBuf,
    /// Before the directory with its log.
    pub(super) relays: Vec<Process>,
    emulator: Process,
    scene: Scene,
}

impl Play {
    /// A relay that was killed and misses something, before it is started again.
    pub(super) async fn with_gap(requests_per_day: u64) -> Self {
        let scene = Scene::new();
        let (address, log) = (free_address(), scene.path("sent.jsonl"));
        let traffic = ["--rate", RATE, "--unattended", "--rest", "--log", log.to_str().unwrap()];
        let emulator = emulate(&scene, &address, &[&WORLD[..], &traffic].concat());
        let gate = Gate::before(&format!("http://{address}")).await;
        let routes = format!("  named: {{ match: {{ contract_package: {PACKAGE} }}, sinks: [console] }}\n");
        let config = configure(&scene, "data", (&address, &gate.url), &routes);
        let text = std::fs::read_to_string(&config).unwrap();
        let (all, few) = ("requests_per_day: 1000000", format!("requests_per_day: {requests_per_day}"));
        std::fs::write(&config, text.replace(all, &few)).unwrap();
        let mut play = Self { gate, config, relays: Vec::new(), emulator, scene };
        play.run().await;
        let is_noted =
            || Database::open(&play.scene.data()).heard() > 0 && !told(&play.relays, "nft-tokens").is_empty();
        within(DEADLINE, "what was heard is noted", is_noted).await;
        play.relays[0].kill().await;
        sleep(Duration::from_millis(1_500)).await;
        play
    }

    pub(super) async fn run(&mut self) {
        let relay = running(&self.scene, &self.config).await;
        self.relays.push(relay);
    }

    /// A relay that ends at this point of its life.
    pub(super) async fn dies_at(&mut self, kill_point: &str) {
        let life = self.relays.len() as u64 + 1;
        let mut relay = self.scene.relay_in_life(&self.config, life, kill_point);
        assert_eq!(relay.ended().await, None, "it ends at {kill_point}: {}", relay.log());
        self.relays.push(relay);
    }

    /// Sets a backfill of the package to work, without asking before what it would do.
    pub(super) async fn order_backfill(&self) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let address = text.split_once("listen: \"").unwrap().1.split_once('"').unwrap().0;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let order = serde_json::json!({ "kind": "backfill", "sink": "console", "contract_package": PACKAGE });
        let request = http.post(format!("http://{address}/api/v1/jobs")).bearer_auth(TOKEN);
        let answer = request.header("content-type", "application/json").body(order.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }

    /// The newest job, once it is such.
    pub(super) async fn job(&self, what: &str, is_such: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let listed = command(&self.config, &["jobs", "list", "--json"]).await.unwrap();
            let job = listed["jobs"][0].clone();
            if is_such(&job) {
                return job;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: {job}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The messages about tokens that the server has sent so far, and when.
    fn sent(&self) -> HashMap<String, i64> {
        let log = std::fs::read_to_string(self.scene.path("sent.jsonl")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let tokens = lines.filter(|line| line["stream"] == "nft-tokens");
        tokens.map(|line| (line["message"].to_string(), line["sent_at_ms"].as_i64().unwrap())).collect()
    }

    /// Everything that the server sends from now on for a while is told at once.
    pub(super) async fn live_events_flow(&self) {
        let (began, start) = (jiff::Timestamp::now().as_millisecond(), Instant::now());
        let mut sent = HashMap::new();
        while sent.len() <= 5 {
            assert!(start.elapsed() < DEADLINE, "the test is one: {}", sent.len());
            sleep(Duration::from_secs(2)).await;
            sent = self.sent();
            sent.retain(|_, at| *at > began);
        }
        let accepted = || -> HashMap<String, i64> {
            let at = |event: &Value| event["accepted_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            let told = told(&self.relays, "nft-tokens").into_iter().filter(|event| event["origin"] == "stream");
            told.map(|event| (event["message"].to_string(), at(&event).as_millisecond())).collect()
        };
        let all = || {
            let accepted = accepted();
            sent.keys().all(|message| accepted.contains_key(message))
        };
        within(DEADLINE, "all live events are told", all).await;
        let accepted = accepted();
        let mut delays: Vec<i64> = sent.iter().map(|(message, at)| accepted[message] - at).collect();
        delays.sort_unstable();
        assert!(delays[delays.len() / 2] < DELAY_MAX_MS, "{delays:?}");
    }

    /// The gap that is open, once its note says so.
    pub(super) async fn open_gap(&self, says: &str) -> Value {
        let start = Instant::now();
        loop {
            let gaps = gaps(&self.config).await;
            if let Some(gap) = gaps.iter().find(|gap| gap["note"].as_str().is_some_and(|note| note.contains(says))) {
                assert_eq!(gap["state"], "open", "{gap}");
                return gap.clone();
            }
            assert!(start.elapsed() < DEADLINE, "no gap says {says:?}: {gaps:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The gap is repaired, and what was told is in the end what is, nothing of it twice.
    pub(super) async fn is_repaired(&self, states: &States) {
        // A first look may leave it partial, where REST lags, until the second one.
        let start = Instant::now();
        let mut all = settled(&self.config).await;
        while all.iter().any(|gap| gap["state"] != "repaired") {
            assert!(start.elapsed() < DEADLINE, "{all:?}");
            sleep(Duration::from_millis(100)).await;
            all = settled(&self.config).await;
        }
        within(DEADLINE, "all is published", || self.emulator.said().contains("Published all")).await;
        within(DEADLINE, "each token's final state is told", || is_final(told(&self.relays, "nft-tokens"), states))
            .await;
        let events = told(&self.relays, "nft-tokens");
        assert!(events.iter().any(|event| event["origin"] != "stream"), "{all:?}");
        let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), events.len(), "nothing is accepted twice");
        for (id, events) in by_token(events) {
            check_token(&id, &events, &states[&id]);
        }
    }
}
