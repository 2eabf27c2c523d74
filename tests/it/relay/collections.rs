//! Two hundred collections at once: what the relay tells of their owners adds up to a truth that it never sees, and
//! what it asks stays within its budget.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::gate::{Gate, Refusal};
use super::listener::Listener;
use super::owners::{Numbers, PATIENCE, WHALE, added_up, published, told};
use super::{BINARY, Process, SECRET, Scene, until};

const PACKAGES: usize = 200;
const TOKENS: usize = 20_000;
const OWNERS: usize = 300;
/// Every twentieth owner is a contract.
const CONTRACT_EVERY: usize = 20;
/// Of all mints this many are one burst to one owner.
const BURST: usize = 2_000;
const TOKEN: &str = "the-token-of-the-operator";

const MINT: u8 = 1;
const BURN: u8 = 2;
const APPROVE: u8 = 3;
const TRANSFER: u8 = 4;

/// Collections, who owns their tokens, and the messages that told it.
struct Collections {
    random: Rng,
    packages: Vec<String>,
    owners: Vec<(String, u8)>,
    /// Package and owner of each token that is not burned, with its id.
    tokens: Vec<(usize, usize, usize)>,
    made: usize,
    messages: Vec<String>,
}

impl Collections {
    /// Plays until there were `tokens`.
    fn played(seed: u64, packages: usize, tokens: usize) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut hash = || format!("{:032x}{:032x}", random.u128(..), random.u128(..));
        let packages = (0..packages).map(|_| hash()).collect();
        let owners = (0..OWNERS).map(|n| (hash(), u8::from(n % CONTRACT_EVERY == 0))).collect();
        let mut all = Self { random, packages, owners, tokens: Vec::new(), made: 0, messages: Vec::new() };
        while all.made < tokens / 2 {
            all.step();
        }
        all.mint_many(BURST.min(tokens / 10));
        while all.made < tokens {
            all.step();
        }
        all
    }

    fn step(&mut self) {
        match self.random.u8(..20) {
            0..9 => {
                let count = self.random.usize(1..=40);
                self.mint_many(count);
            }
            9..10 => (0..self.random.usize(1..=5)).for_each(|_| self.find()),
            10..16 => (0..self.random.usize(1..=20)).for_each(|_| self.transfer()),
            16..17 => self.approve(),
            _ => (0..self.random.usize(1..=5)).for_each(|_| self.burn()),
        }
    }

    /// Some tokens of one package for one owner.
    fn mint_many(&mut self, count: usize) {
        let (package, owner) = (self.random.usize(..self.packages.len()), self.random.usize(..self.owners.len()));
        for _ in 0..count {
            self.make(package, owner);
            self.tell((package, owner, self.made), MINT, None, Some(owner));
        }
    }

    /// A token is transferred of which nobody has heard.
    fn find(&mut self) {
        let (from, to) = (self.random.usize(..self.owners.len()), self.random.usize(..self.owners.len()));
        let package = self.random.usize(..self.packages.len());
        self.make(package, to);
        self.tell((package, to, self.made), TRANSFER, Some(from), Some(to));
    }

    fn make(&mut self, package: usize, owner: usize) {
        self.made += 1;
        self.tokens.push((package, owner, self.made));
    }

    fn transfer(&mut self) {
        let Some(at) = self.some_token() else { return };
        let (token, to) = (self.tokens[at], self.random.usize(..self.owners.len()));
        self.tokens[at].1 = to;
        self.tell(token, TRANSFER, Some(token.1), Some(to));
    }

    fn burn(&mut self) {
        let Some(at) = self.some_token() else { return };
        let token = self.tokens.swap_remove(at);
        self.tell(token, BURN, Some(token.1), None);
    }

    fn approve(&mut self) {
        let Some(at) = self.some_token() else { return };
        let (token, to) = (self.tokens[at], self.random.usize(..self.owners.len()));
        self.tell(token, APPROVE, Some(token.1), Some(to));
    }

    fn some_token(&mut self) -> Option<usize> {
        (!self.tokens.is_empty()).then(|| self.random.usize(..self.tokens.len()))
    }

    fn tell(&mut self, (package, _, id): (usize, usize, usize), kind: u8, from: Option<usize>, to: Option<usize>) {
        let side = |name: &str, owner: Option<usize>| match owner.map(|owner| &self.owners[owner]) {
            Some((hash, kind)) => format!(r#""{name}_type":{kind},"{name}_hash":"{hash}""#),
            None => format!(r#""{name}_type":null,"{name}_hash":null"#),
        };
        let (package, deploy) = (&self.packages[package], self.messages.len());
        let (from, to) = (side("from", from), side("to", to));
        self.messages.push(format!(
            r#"{{"data":{{"deploy_hash":"{deploy:064x}","contract_package_hash":"{package}","token_id":"{id}",{from},{to},"nft_action_id":{kind}}},"action":"created","extra":null,"timestamp":"2026-01-01T00:00:00Z"}}"#
        ));
    }

    /// Who owns how many in the end.
    fn truth(&self) -> Numbers {
        let mut numbers = Numbers::new();
        for (package, owner, _) in &self.tokens {
            let (hash, kind) = &self.owners[*owner];
            let key = (self.packages[*package].clone(), hash.clone());
            numbers.entry(key).or_insert((0, u64::from(*kind))).0 += 1;
        }
        numbers
    }
}

/// A relay that watches all packages, tells on its standard output who owns what, and hands the actions to a webhook.
fn configure(scene: &Scene, packages: &[String], stream: &str, rest: &str, live: &Listener) -> PathBuf {
    let (data, packages) = (scene.data(), packages.join(", "));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"{stream}\", rest: {{ url: {rest} }} }}\nstore: {{ \
         path: \"{}\" }}\nadmin: {{ listen: \"127.0.0.1:{free}\", token: {TOKEN} }}\nownership: {{ settle: 300ms, \
         emit_baseline: true }}\nsinks:\n  console: {{ stdout: {{}} }}\n  \
         live: {{ webhook: {{ url: \"{}\", secrets: [\"{SECRET}\"], headers: {{ X-Life: \"1\" }} }} }}\nroutes:\n  \
         all: {{ stream: nft-token-ownership, match: {{ contract_package: [{packages}] }}, sinks: [console] \
         }}\n  whales: {{ stream: nft-token-ownership, match: {{ contract_package: [{packages}], where: {{ \
         /data/tokens_number: {{ gte: {WHALE} }}, /extra/previous_tokens_number: {{ lt: {WHALE} }} }} }}, sinks: \
         [console] }}\n  live: {{ stream: nft-token-actions, match: {{ contract_package: [{packages}] }}, sinks: [live] \
         }}\n",
        data.display(),
        live.url(),
    );
    let path = scene.path("collections.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Waits until what was told adds up to the truth.
async fn agrees(lives: &[Process], truth: &Numbers, patience: Duration) -> Numbers {
    let start = Instant::now();
    loop {
        let numbers = added_up(&told(lives));
        if numbers == *truth {
            return numbers;
        }
        let keys: BTreeSet<_> = truth.keys().chain(numbers.keys()).collect();
        let differing = keys.iter().filter(|key| numbers.get(**key) != truth.get(**key)).count();
        assert!(start.elapsed() < patience, "{differing} of {} owners differ", truth.len());
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_collections_add_up_within_the_budget() {
    const PER_MINUTE: usize = 6_000;
    let scene = Scene::new();
    let played = Collections::played(82, PACKAGES, TOKENS);
    let (count, truth) = (played.messages.len(), played.truth());
    assert!(count > TOKENS && truth.len() > 5_000, "{count} messages, {} owners", truth.len());
    let messages = scene.lines(&played.messages);
    let pace = ["--stream", "nft-token-actions", "--replay", &messages, "--unattended", "--rate", "1500"];
    let faults = ["--drop", "0.0002", "--duplicate", "0.01", "--rest", "--rest-lag", "150", "--seed", "8"];
    let (emulator, url) = scene.emulator_of_all(&[&pace[..], &faults].concat()).await;
    let (live, gate) = (Listener::start().await, Gate::before(&url).await);
    let rest = format!("\"{}\", requests_per_minute: {PER_MINUTE}, requests_per_day: 100000", gate.url);
    let config = configure(&scene, &played.packages, &url, &rest, &live);
    let mut lives = [scene.relay(&config)];
    published(&emulator, count).await;
    let told_in_the_end = agrees(&lives, &truth, PATIENCE).await;
    assert!(told_in_the_end.values().any(|(_, kind)| *kind == 1), "contracts own tokens, too");

    let connects = lives[0].log().matches("connected to the source").count();
    assert!(connects > 4, "of two connections none was lost: {connects}");
    let busiest = gate.asked_within(Duration::from_secs(60));
    assert!(busiest <= PER_MINUTE, "{busiest} requests in a minute");
    assert!(gate.asked() < count / 4, "{} requests for {count} actions", gate.asked());
    lives[0].stop().await;
}

/// What an operator is shown; `None` while the relay does not answer, as at its start.
async fn status(config: &Path) -> Option<Value> {
    let output = Command::new(BINARY).args(["status", "--json", "--config"]).arg(config).output().await.unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until an operator is shown such a status.
async fn shows(config: &Path, what: &str, is_such: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let status = status(config).await;
        if let Some(status) = status.as_ref().filter(|status| is_such(status)) {
            return status.clone();
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {status:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A few collections that are played to whoever is connected, and all that an operator needs to look at it.
struct Play {
    /// Before the directory with its log.
    emulator: Process,
    scene: Scene,
    collections: Collections,
    url: String,
    live: Listener,
    gate: Gate,
}

impl Play {
    async fn of(seed: u64, rate: u32) -> Self {
        let (scene, collections) = (Scene::new(), Collections::played(seed, 12, 1_200));
        let (messages, rate) = (scene.lines(&collections.messages), rate.to_string());
        let arguments = ["--stream", "nft-token-actions", "--replay", &messages, "--rest", "--rate", &rate];
        let (emulator, url) = scene.emulator_of_all(&arguments).await;
        let (live, gate) = (Listener::start().await, Gate::before(&url).await);
        Self { scene, collections, emulator, url, live, gate }
    }

    fn configure(&self, per_day: u64) -> PathBuf {
        let rest = format!("\"{}\", requests_per_minute: 100000, requests_per_day: {per_day}", self.gate.url);
        configure(&self.scene, &self.collections.packages, &self.url, &rest, &self.live)
    }

    /// All that was published has arrived as if there were no REST API.
    async fn flows(&self) {
        let count = self.collections.messages.len();
        published(&self.emulator, count).await;
        until("all live events are there", || self.live.received() == count).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_api_that_wants_fewer_requests_is_left_alone_until_it_answers() {
    const WAIT: Duration = Duration::from_secs(2);
    let play = Play::of(84, 400).await;
    play.gate.refuse(Refusal { status: 429, retry_after: Some(WAIT.as_secs()) });
    let config = play.configure(100_000);
    let mut lives = [play.scene.relay(&config)];
    play.flows().await;
    let is_troubled = |status: &Value| status["ownership"]["trouble"].is_string();
    let shown = shows(&config, "trouble is shown", is_troubled).await;
    assert!(shown["ownership"]["trouble"].as_str().unwrap().contains("wants fewer requests (HTTP 429)"), "{shown}");
    assert!(shown["rest"]["failures"].as_u64() > Some(0) && shown["ownership"]["due"].as_u64() > Some(0), "{shown}");
    assert_eq!(told(&lives).len(), 0);
    // Whoever has been let in before the first of them was refused may still ask; then it is one at a time.
    let after = play.gate.asked_within(WAIT);
    assert!(after <= 20, "{after} requests within {WAIT:?}, though each was told to wait so long");
    play.gate.open();
    agrees(&lives, &play.collections.truth(), PATIENCE).await;
    shows(&config, "the trouble is over", |status| !is_troubled(status)).await;
    lives[0].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_spent_delays_no_live_event_and_the_next_makes_up_for_it() {
    const PER_DAY: usize = 30;
    let play = Play::of(85, 200).await;
    let config = play.configure(PER_DAY as u64);
    let mut lives = vec![play.scene.relay(&config)];
    play.flows().await;
    let is_spent = |status: &Value| status["rest"]["waiting_until"].is_string();
    let shown = shows(&config, "the day is spent", is_spent).await;
    let (at, until) = (&shown["at"], &shown["rest"]["waiting_until"]);
    let moment = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(moment(until).duration_since(moment(at)).as_hours() >= 23, "{}", shown["rest"]);
    assert_eq!(shown["rest"]["day_requests_max"], PER_DAY);
    assert!(play.gate.asked() <= PER_DAY, "{} requests of {PER_DAY}", play.gate.asked());
    assert_ne!(added_up(&told(&lives)), play.collections.truth(), "there is something to make up for");
    lives[0].stop().await;

    // What was spent is remembered, so a restart alone does not help.
    lives.push(play.scene.relay(&config));
    shows(&config, "the day is still spent", is_spent).await;
    assert!(play.gate.asked() <= PER_DAY, "{} requests of {PER_DAY}", play.gate.asked());
    lives[1].stop().await;

    // That a day passes is shown on a clock that can be set; here the next one has more in it.
    lives.push(play.scene.relay(&play.configure(100_000)));
    agrees(&lives, &play.collections.truth(), PATIENCE).await;
    lives[2].stop().await;
}
