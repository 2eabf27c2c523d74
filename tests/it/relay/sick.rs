//! A gap beside a REST API that refuses, hangs or may not be asked any more: the live events do not notice, an operator
//! sees why the gap is open, and it is repaired as soon as there are answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::gaps::{command, running, settled};
use super::gate::{Gate, Refusal};
use super::repair::{
    PACKAGE, States, by_token, check_token, configure, emulate, free_address, gaps, is_final, states, told,
};
use super::store::Database;
use super::{DEADLINE, Process, Scene, within};

const WORLD: [&str; 4] = ["--seed", "6", "--count", "1800"];
/// All of it is published in eighteen seconds.
const RATE: &str = "100";
/// From the server's write to the commit, for half of the live events: a machine that is busy with other tests is no
/// fault of the relay.
const DELAY_MAX_MS: i64 = 1_000;

struct Play {
    gate: Gate,
    config: PathBuf,
    /// Before the directory with its log.
    relays: Vec<Process>,
    emulator: Process,
    scene: Scene,
}

impl Play {
    /// A relay that was killed, and missed something; `sicken` is done to the REST API before it is back.
    async fn with_gap(requests_per_day: u64, sicken: impl FnOnce(&Gate)) -> Self {
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
        sicken(&play.gate);
        sleep(Duration::from_millis(1_500)).await;
        play.run().await;
        play
    }

    async fn run(&mut self) {
        let relay = running(&self.scene, &self.config).await;
        self.relays.push(relay);
    }

    /// The messages about tokens that the server has sent so far, and when.
    fn sent(&self) -> HashMap<String, i64> {
        let log = std::fs::read_to_string(self.scene.path("sent.jsonl")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let tokens = lines.filter(|line| line["stream"] == "nft-tokens");
        tokens.map(|line| (line["message"].to_string(), line["sent_at_ms"].as_i64().unwrap())).collect()
    }

    /// Everything that the server sends from now on for a while is told at once.
    async fn live_events_flow(&self) {
        let began = jiff::Timestamp::now().as_millisecond();
        sleep(Duration::from_secs(2)).await;
        let mut sent = self.sent();
        sent.retain(|_, at| *at > began);
        assert!(sent.len() > 5, "the test is one: {}", sent.len());
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
    async fn open_gap(&self, says: &str) -> Value {
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
    async fn is_repaired(&self, states: &States) {
        let all = settled(&self.config).await;
        assert!(all.iter().all(|gap| gap["state"] == "repaired"), "{all:?}");
        assert!(all.iter().map(|gap| gap["returned"].as_u64().unwrap()).sum::<u64>() > 0, "{all:?}");
        within(DEADLINE, "all is published", || self.emulator.said().contains("Published all")).await;
        within(DEADLINE, "each token's final state is told", || is_final(told(&self.relays, "nft-tokens"), states))
            .await;
        for (id, events) in by_token(told(&self.relays, "nft-tokens")) {
            check_token(&id, &events, &states[&id]);
        }
    }
}

/// What `status` says of the requests to the REST API.
async fn rest(config: &Path) -> Value {
    let shown = command(config, &["status", "--json"]).await.unwrap();
    assert!(shown["gaps"]["open"].is_u64(), "{shown}");
    shown["rest"].clone()
}

/// A REST API that is made sick so, and what an operator then reads.
async fn is_survived(states: &States, says: &str, sicken: impl FnOnce(&Gate)) {
    let mut play = Play::with_gap(1_000_000, sicken).await;
    let gap = play.open_gap(says).await;
    assert!(!gap.to_string().contains("emulator-key"), "{gap}");
    let shown = rest(&play.config).await;
    assert!(shown["trouble"].as_str().is_some_and(|trouble| trouble.contains(says)), "{says}: {shown}");
    play.live_events_flow().await;
    assert_eq!(play.open_gap(says).await["returned"], 0, "nothing was repaired meanwhile");
    play.gate.open();
    play.is_repaired(states).await;
    assert_eq!(rest(&play.config).await["trouble"], Value::Null);
    play.relays[1].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_waits_for_a_sick_rest_api_and_the_live_events_do_not() {
    let states = states(&Scene::new(), &WORLD).await;
    let throttled = Refusal { status: 429, retry_after: Some(1) };
    tokio::join!(
        is_survived(&states, "refused the key (HTTP 401)", |gate| gate.shut(401)),
        is_survived(&states, "it wants fewer requests (HTTP 429)", |gate| gate.refuse(throttled)),
        is_survived(&states, "the server answered HTTP 502", |gate| gate.shut(502)),
        is_survived(&states, "is slow: no answer within 5 s", |gate| gate.slow(Duration::from_secs(20))),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_waits_when_the_requests_of_a_day_are_spent() {
    let states = states(&Scene::new(), &WORLD).await;
    let mut play = Play::with_gap(1, |_| ()).await;
    play.open_gap("source.rest allows no more requests for now; it is asked again at ").await;
    let shown = rest(&play.config).await;
    assert!(shown["waiting_until"].is_string() && shown["day_requests"] == 1, "{shown}");
    play.live_events_flow().await;
    assert_eq!(play.gate.asked(), 1, "the budget holds");
    let text = std::fs::read_to_string(&play.config).unwrap();
    std::fs::write(&play.config, text.replace("requests_per_day: 1 ", "requests_per_day: 1000000 ")).unwrap();
    play.relays[1].stop().await;
    play.run().await;
    play.is_repaired(&states).await;
    let spent = rest(&play.config).await["day_requests"].as_u64().unwrap();
    assert_eq!(spent, play.gate.asked() as u64, "what was spent before the restart is not forgotten");
    play.relays[2].stop().await;
}
