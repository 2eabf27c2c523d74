//! What an operator does to a running relay, by the command line, and what a kill in the middle of it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::listener::{Arrival, Listener};
use super::oracle::REPEATS_PER_KILL_MAX;
use super::store::Database;
use super::{BINARY, DEADLINE, NFT_TOKENS, Process, Scene, Setup, leave_out, message, until};

const TOKEN: &str = "the-token-of-the-operator";
const EVENTS: u32 = 1_500;
/// A relay that its kill point spares is killed after this.
const LIFE: Duration = Duration::from_millis(700);

/// A relay, its source with [`EVENTS`] events of 50 tokens, and where its admin side is.
struct Stage {
    scene: Scene,
    source: String,
    admin: u16,
    _emulator: Process,
}

impl Stage {
    async fn new() -> Self {
        let scene = Scene::new();
        let messages: Vec<String> = (1..=EVENTS).map(|n| message(&(n % 50).to_string(), n)).collect();
        let (emulator, url) = scene.emulator(&["--replay", &scene.lines(&messages), "--rate", "0"]).await;
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { source: format!("url: \"{url}\", persistent_session: operate"), scene, admin: free, _emulator: emulator }
    }

    fn configure(&self, sinks: &[(&str, &str, &str)]) -> PathBuf {
        let more = format!("admin: {{ listen: \"127.0.0.1:{}\", token: {TOKEN} }}", self.admin);
        self.scene.configure(&Setup { source: &self.source, streams: NFT_TOKENS, more: &more, sinks })
    }

    async fn relay(&self, config: &Path, life: u64, kill_points: &str) -> Process {
        let relay = self.scene.relay_in_life(config, life, kill_points);
        relay.logs("the relay is running").await;
        relay
    }

    async fn run(&self, config: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(config).env_remove("FAILPOINTS").kill_on_drop(true);
        timeout(DEADLINE, command.output()).await.expect("the command ends").unwrap()
    }

    /// What a command says that ends well.
    async fn says(&self, config: &Path, arguments: &[&str]) -> String {
        let output = self.run(config, arguments).await;
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}{wrong}");
        said.into_owned()
    }

    fn database(&self) -> Database {
        Database::open(&self.scene.data())
    }

    /// Every event is a dead letter of these sinks, which refuse all; then they take everything.
    async fn with_letters(&self, config: &Path, sinks: &[&Listener]) {
        sinks.iter().for_each(|sink| sink.answer(|_| 422));
        let mut relay = self.relay(config, 1, "").await;
        for sink in sinks {
            until("all was refused", || sink.count(|_| true) >= EVENTS as usize).await;
        }
        until("all was settled", || self.database().newest() == u64::from(EVENTS)).await;
        relay.stop().await;
        sinks.iter().for_each(|sink| sink.answer(|_| 204));
    }

    /// Lets relays live and be killed until the only job has ended; how many were killed.
    async fn kill_until_done(&self, config: &Path, order: &[&str], random: &mut fastrand::Rng) -> u64 {
        let mut life = 2;
        loop {
            let kill_point = ["store-before-commit", "store-in-commit", "store-after-commit"][random.usize(..3)];
            let point = match cfg!(feature = "failpoints") && random.bool() {
                true => format!("{kill_point}={}*off->return", random.u64(1..120)),
                false => String::new(),
            };
            let mut relay = self.scene.relay_in_life(config, life, &point);
            if life == 2 {
                relay.logs("the relay is running").await;
                // The relay may be killed before it answers.
                self.run(config, order).await;
            }
            if timeout(LIFE, relay.child.wait()).await.is_err() {
                relay.kill().await;
            }
            life += 1;
            let mut judge = self.relay(config, life, "").await;
            let jobs: serde_json::Value =
                serde_json::from_str(&self.says(config, &["jobs", "list", "--json"]).await).unwrap();
            let states: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| job["state"].clone()).collect();
            if states.is_empty() {
                self.run(config, order).await;
            }
            judge.kill().await;
            if states.iter().any(|state| state == "done") {
                return life - 1;
            }
            life += 1;
        }
    }
}

fn numbers(arrivals: &[Arrival]) -> BTreeSet<u64> {
    arrivals.iter().filter(|arrival| arrival.is_received()).map(|arrival| arrival.number).collect()
}

fn all() -> BTreeSet<u64> {
    (1..=u64::from(EVENTS)).collect()
}

/// Each id stands for one number and one message; repeats come from different lives, and no more than were in flight.
fn check_repeats(arrivals: &[Arrival]) -> usize {
    let mut known: BTreeMap<u64, &Arrival> = BTreeMap::new();
    let mut repeats: BTreeMap<u64, usize> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.is_received()) {
        assert!(arrival.is_signed && arrival.is_replay, "{arrival:?}");
        let Some(first) = known.insert(arrival.number, arrival) else { continue };
        assert_eq!((&first.id, &first.sequence, first.digest), (&arrival.id, &arrival.sequence, arrival.digest));
        assert_ne!(first.life, arrival.life, "{} came twice from one life", arrival.number);
        *repeats.entry(first.life).or_default() += 1;
    }
    assert!(repeats.values().all(|count| *count <= REPEATS_PER_KILL_MAX), "{repeats:?}");
    repeats.values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_killed_again_and_again_loses_and_repeats_nothing() {
    if !cfg!(feature = "failpoints") {
        leave_out("kills around commits: build with --features failpoints, as scripts/test does");
    }
    let (stage, sink) = (Stage::new().await, Listener::start().await);
    let config = stage.configure(&[("sink", sink.url(), "")]);
    stage.with_letters(&config, &[&sink]).await;
    let refused = sink.arrivals();
    assert_eq!(stage.database().dead("sink").len(), EVENTS as usize);

    let mut random = fastrand::Rng::with_seed(6);
    let order = ["dead-letters", "replay", "--rate", "400", "--yes", "--detach"];
    let kills = stage.kill_until_done(&config, &order, &mut random).await;
    let mut relay = stage.relay(&config, 1_000, "").await;
    until("all has arrived", || numbers(&sink.arrivals()) == all()).await;
    until("nothing waits", || stage.database().waiting() == 0 && stage.database().dead("sink").is_empty()).await;
    relay.stop().await;
    let arrivals = sink.arrivals();
    let repeats = check_repeats(&arrivals);
    for again in arrivals.iter().filter(|arrival| arrival.is_received()) {
        let first = refused.iter().find(|first| first.number == again.number).unwrap();
        assert_eq!((&first.id, first.digest), (&again.id, again.digest), "the event of the letter");
    }
    assert!(kills > 3, "the test was one");
    println!("{EVENTS} letters replayed over {kills} kills, {repeats} repeats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_that_is_killed_takes_what_was_meant_and_nothing_else() {
    let (stage, sink, other) = (Stage::new().await, Listener::start().await, Listener::start().await);
    let config = stage.configure(&[("sink", sink.url(), ""), ("other", other.url(), "")]);
    stage.with_letters(&config, &[&sink, &other]).await;
    let would = stage.relay(&config, 2, "").await;
    let order = ["dead-letters", "drop", "--sink", "sink"];
    let said = stage.says(&config, &order).await;
    assert!(said.starts_with(&format!("{EVENTS} dead letters would be dropped.\n")), "{said}");
    assert_eq!(stage.database().dead("sink").len(), EVENTS as usize, "nothing was done");
    drop(would);
    let order = [&order[..], &["--yes", "--detach"]].concat();
    stage.kill_until_done(&config, &order, &mut fastrand::Rng::with_seed(7)).await;
    assert_eq!((stage.database().dead("sink").len(), stage.database().dead("other").len()), (0, EVENTS as usize));
    assert_eq!(sink.received() + other.received(), 0, "and nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_cancelled_does_not_come_back_after_a_kill() {
    let (stage, sink) = (Stage::new().await, Listener::start().await);
    let config = stage.configure(&[("sink", sink.url(), "")]);
    stage.with_letters(&config, &[&sink]).await;
    let mut relay = stage.relay(&config, 2, "").await;
    stage.says(&config, &["dead-letters", "replay", "--rate", "100", "--yes", "--detach"]).await;
    until("some were replayed", || sink.received() > 50).await;
    let said = stage.says(&config, &["jobs", "cancel", "1"]).await;
    relay.kill().await;
    assert!(said.starts_with("Job 1 has ended: cancelled. What it did before stays done: "), "{said}");
    let mut relay = stage.relay(&config, 3, "").await;
    let jobs: serde_json::Value =
        serde_json::from_str(&stage.says(&config, &["jobs", "list", "--json"]).await).unwrap();
    let job = &jobs["jobs"][0];
    assert_eq!((&job["state"], &job["what"]), (&"cancelled".into(), &"replay dead letters, rate=100".into()), "{job}");
    let done = job["counts"]["done"].as_u64().unwrap() as usize;
    until("what it had replayed arrives", || stage.database().waiting() == 0).await;
    relay.stop().await;
    let letters = stage.database().dead("sink").len();
    assert_eq!((numbers(&sink.arrivals()).len(), letters), (done, EVENTS as usize - done), "and nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_came_later_gets_what_was_before_it() {
    let (stage, early, late) = (Stage::new().await, Listener::start().await, Listener::start().await);
    let config = stage.configure(&[("early", early.url(), "")]);
    let mut relay = stage.relay(&config, 1, "").await;
    until("all arrived", || numbers(&early.arrivals()) == all()).await;
    relay.stop().await;
    let config = stage.configure(&[("early", early.url(), ""), ("late", late.url(), "")]);
    let mut relay = stage.relay(&config, 2, "").await;
    let said = stage.says(&config, &["replay", "--sink", "late"]).await;
    assert!(said.starts_with(&format!("{EVENTS} events would be replayed.\nNothing was done")), "{said}");
    let said = stage.says(&config, &["replay", "--sink", "late", "--token", "7", "--yes"]).await;
    assert!(said.contains("30 events were replayed."), "{said}");
    stage.says(&config, &["replay", "--sink", "late", "--yes"]).await;
    until("all arrived there too", || numbers(&late.arrivals()) == all()).await;
    assert_eq!(check_repeats(&late.arrivals()), 0);
    let ids = |sink: &Listener| sink.arrivals().iter().map(|a| (a.number, a.id.clone())).collect::<BTreeSet<_>>();
    assert_eq!(ids(&early), ids(&late), "the ids are those of the events");
    let mut newest: BTreeMap<Box<str>, u64> = BTreeMap::new();
    for arrival in late.arrivals().into_iter().filter(|arrival| &*arrival.token != "7") {
        let before = newest.insert(arrival.token.clone(), arrival.number).unwrap_or(0);
        assert!(before < arrival.number, "the order of a token holds: {before} before {}", arrival.number);
    }
    until("nothing waits", || stage.database().waiting() == 0).await;
    let said = stage.says(&config, &["replay", "--sink", "late"]).await;
    assert!(said.contains(&format!("{EVENTS} left alone: delivered already")), "{said}");
    stage.says(&config, &["replay", "--sink", "late", "--token", "7", "--again", "--yes"]).await;
    until("some came again", || late.received() == EVENTS as usize + 30).await;
    assert_eq!(early.received(), EVENTS as usize, "the other sink had nothing to do with it");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_sink_stays_paused_over_a_kill_and_is_tested_and_resumed() {
    let (stage, sink) = (Stage::new().await, Listener::start().await);
    let config = stage.configure(&[("sink", sink.url(), "")]);
    sink.answer(|_| 500);
    let mut relay = stage.relay(&config, 1, "").await;
    let said = stage.says(&config, &["sinks", "pause", "sink", "--reason", "works at the receiver"]).await;
    assert!(said.starts_with("The sink `sink` is paused."), "{said}");
    relay.logs("works at the receiver").await;
    // What is in the socket at a kill is promised by nobody.
    until("all is stored", || stage.database().newest() == u64::from(EVENTS)).await;
    relay.kill().await;
    let tried = sink.count(|_| true);
    let mut relay = stage.relay(&config, 2, "").await;
    let failed = stage.run(&config, &["sinks", "test", "sink"]).await;
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(failed.status.code() == Some(1) && said.contains("status 500"), "{said}");
    sink.answer(|_| 204);
    let result = stage.says(&config, &["sinks", "test", "sink", "--json"]).await;
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!((&result["delivered"], &result["status"]), (&true.into(), &204.into()), "{result}");
    assert_eq!(sink.count(|arrival| arrival.is_test && arrival.is_signed), 2);
    assert_eq!(sink.count(|arrival| !arrival.is_test), tried, "nothing but the tests was sent while it was paused");
    let said = stage.says(&config, &["sinks", "resume", "sink"]).await;
    assert!(said.contains("by operator: works at the receiver"), "{said}");
    until("all arrives", || numbers(&sink.arrivals()).is_superset(&all())).await;
    assert_eq!(stage.database().newest(), u64::from(EVENTS), "a test is no event");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_gone_keeps_its_events_until_it_is_resumed() {
    let (stage, well, gone) = (Stage::new().await, Listener::start().await, Listener::answering(|_| 410).await);
    let config = stage.configure(&[("well", well.url(), ""), ("gone", gone.url(), "    concurrency: 1\n")]);
    let mut relay = stage.relay(&config, 1, "").await;
    relay.logs("the destination says that it is gone for good (410): the sink is paused and keeps its events").await;
    until("the other sink has everything", || numbers(&well.arrivals()).is_superset(&all())).await;
    relay.stop().await;
    gone.answer(|_| 204);
    let mut relay = stage.relay(&config, 2, "").await;
    relay.logs("the sink is still paused").await;
    let said = stage.says(&config, &["sinks", "resume", "gone"]).await;
    assert!(said.contains("by destination"), "{said}");
    assert_eq!(gone.count(|arrival| !arrival.is_received()), 1, "not asked again");
    until("it gets its events", || gone.received() == all().len()).await;
    assert_eq!(gone.count(|arrival| arrival.is_received() && arrival.attempt != 1), 0, "a 410 costs no attempt");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_is_dropped_for_good() {
    let (stage, sink, gone) = (Stage::new().await, Listener::start().await, Listener::start().await);
    gone.answer(|_| 500);
    let both = stage.configure(&[("sink", sink.url(), ""), ("gone", gone.url(), "")]);
    let mut relay = stage.relay(&both, 1, "").await;
    until("all arrived", || numbers(&sink.arrivals()) == all()).await;
    relay.stop().await;
    let one = stage.configure(&[("sink", sink.url(), "")]);
    let mut relay = stage.relay(&one, 2, "").await;
    let refused = stage.run(&one, &["sinks", "drop-parked", "sink", "--yes"]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing is parked for a sink `sink`"));
    let said = stage.says(&one, &["sinks", "drop-parked", "gone"]).await;
    assert!(said.starts_with(&format!("{EVENTS} parked deliveries would be dropped.")), "{said}");
    stage.says(&one, &["sinks", "drop-parked", "gone", "--yes"]).await;
    relay.stop().await;
    let before = gone.count(|_| true);
    let both = stage.configure(&[("sink", sink.url(), ""), ("gone", gone.url(), "")]);
    let mut relay = stage.relay(&both, 3, "").await;
    let said = stage.says(&both, &["replay", "--sink", "gone"]).await;
    assert!(said.starts_with(&format!("{EVENTS} events would be replayed.")), "nothing is pending there: {said}");
    assert_eq!(gone.count(|_| true), before);
    relay.stop().await;
}
