//! The configuration changes under a relay at work: sinks come, go and change, some files are wrong, and no event
//! notices.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::listener::{Arrival, Listener};
use super::oracle::{Sent, check_sink, owed};
use super::store::Database;
use super::{NFT_TOKENS, Process, Scene, Setup, until, within};

const RELOADS: u64 = 200;
const KILLS: u64 = 40;
const RATE: &str = "1000";
/// Every so many files one is wrong.
const WRONG_EVERY: u64 = 5;
const EVENTS_BETWEEN: usize = 50;
const DRAIN_MAX: Duration = Duration::from_secs(120);

/// What the operator writes the `n`th time: `steady` never changes, `moody` always does, `guest` comes and goes.
fn write(scene: &Scene, url: &str, sinks: &[(&str, &str)], n: u64) {
    let has_guest = n.is_multiple_of(2);
    let moody = format!("    concurrency: {}\n", 2 + n % 7);
    let sinks: Vec<_> =
        sinks.iter().map(|(name, url)| (*name, *url, if *name == "moody" { &*moody } else { "" })).collect();
    let present: Vec<_> = sinks.into_iter().filter(|(name, ..)| *name != "guest" || has_guest).collect();
    let source = format!("url: \"{url}\"");
    let path = scene.configure(&Setup { source: &source, streams: NFT_TOKENS, more: "", sinks: &present });
    if (n + 1).is_multiple_of(WRONG_EVERY) {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("match: all", "match: al")).unwrap();
    }
}

async fn reload(relay: &Process, n: u64) {
    relay.signal("HUP").await;
    let answered = |log: &str| log.matches("the configuration was").count() as u64;
    until("the reload is answered", || answered(&relay.log()) > n).await;
}

/// Sinks that are told apart by how the operator treats them.
struct Sinks {
    steady: Listener,
    moody: Listener,
    guest: Listener,
}

impl Sinks {
    async fn start() -> Self {
        Self { steady: Listener::start().await, moody: Listener::start().await, guest: Listener::start().await }
    }

    fn all(&self) -> [(&str, &Listener); 3] {
        [("steady", &self.steady), ("moody", &self.moody), ("guest", &self.guest)]
    }

    fn urls(&self) -> [(&str, &str); 3] {
        self.all().map(|(name, listener)| (name, listener.url()))
    }

    async fn get_more(&self, count: usize) {
        let seen = self.steady.received();
        until("events flow", || self.steady.received() > seen + count).await;
    }

    /// Waits until nothing is owed to anybody, and checks what each one got.
    async fn check(&self, scene: &Scene, relay: &mut Process) {
        let (sent, database) = (Sent::read(&scene.path("sent.jsonl")), Database::open(&scene.data()));
        within(DRAIN_MAX, "every queue is empty", || {
            let is_done = |(name, _): &(&str, &Listener)| database.low(name) >= database.newest();
            database.waiting() == 0 && self.all().iter().all(is_done)
        })
        .await;
        relay.stop().await;
        for (name, listener) in self.all() {
            let owed = if name == "guest" { database.delivered(name) } else { owed(&database, name) };
            check_sink(name, &sent, &listener.arrivals(), &owed);
            let received: BTreeSet<u64> = listener.arrivals().iter().map(|arrival| arrival.number).collect();
            assert_eq!(received, owed, "{name} got what was accepted for it, and nothing else");
        }
        assert!((1..self.steady.received()).contains(&self.guest.received()), "the guest was away at times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_lose_invent_and_repeat_nothing() {
    let (scene, sinks) = (Scene::new(), Sinks::start().await);
    let (mut emulator, url) = scene.emulator(&["--rate", RATE, "--unattended"]).await;
    write(&scene, &url, &sinks.urls(), 0);
    let mut relay = scene.relay(&scene.path("relay.yaml"));
    sinks.get_more(100).await;
    for n in 1..=RELOADS {
        write(&scene, &url, &sinks.urls(), n);
        reload(&relay, n - 1).await;
        sinks.get_more(EVENTS_BETWEEN).await;
    }
    emulator.stop().await;
    sinks.check(&scene, &mut relay).await;
    check_log(&relay.log());
    println!(
        "{RELOADS} reloads: {} events to a sink that did not change, {} to one that always did, {} to one that came \
         and went; the longest pause was {:?}",
        sinks.steady.received(),
        sinks.moody.received(),
        sinks.guest.received(),
        longest_pause(&sinks.steady.arrivals())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_amid_reloads_lose_nothing() {
    let (scene, sinks) = (Scene::new(), Sinks::start().await);
    let (mut emulator, url) = scene.emulator(&["--rate", RATE, "--unattended", "--history", "200000"]).await;
    let url = format!("{url}\", persistent_session: \"reload-test");
    let mut random = fastrand::Rng::with_seed(20_261_121);
    for life in 1..=KILLS {
        write(&scene, &url, &sinks.urls(), life * WRONG_EVERY);
        let mut relay = scene.relay_in_life(&scene.path("relay.yaml"), life, "");
        relay.logs("the relay is running").await;
        write(&scene, &url, &sinks.urls(), life * WRONG_EVERY + 1);
        relay.signal("HUP").await;
        sleep(Duration::from_millis(random.u64(..60))).await;
        relay.kill().await;
    }
    write(&scene, &url, &sinks.urls(), 0);
    let mut relay = scene.relay_in_life(&scene.path("relay.yaml"), KILLS + 1, "");
    sinks.get_more(100).await;
    emulator.stop().await;
    sinks.check(&scene, &mut relay).await;
}

fn check_log(log: &str) {
    let said = |text: &str| log.matches(text).count() as u64;
    let wrong = RELOADS / WRONG_EVERY;
    assert_eq!(said("the configuration was not reloaded, for the faults above"), wrong, "{log}");
    assert!(said("the configuration was reloaded: sinks: ") >= RELOADS - wrong, "{log}");
    assert!(log.contains("sinks: changed moody, removed guest; routes: changed nft-tokens"), "{log}");
    assert!(log.contains("sinks: added guest, changed moody; routes: changed nft-tokens"), "{log}");
    assert_eq!(said("connected to the source stream"), 1, "the connection stayed: {log}");
}

fn longest_pause(arrivals: &[Arrival]) -> Duration {
    let pauses = arrivals.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at));
    pauses.max().unwrap_or_default()
}

#[tokio::test]
async fn a_changed_file_is_taken_up_and_what_needs_a_restart_is_refused() {
    let (scene, sink) = (Scene::new(), Listener::start().await);
    let (mut emulator, url) = scene.emulator(&["--rate", "50"]).await;
    let (source, one) = (format!("url: \"{url}\""), [("one", sink.url(), "")]);
    let setup = Setup { source: &source, streams: NFT_TOKENS, more: "", sinks: &one };
    let config = scene.configure(&setup);
    let mut relay = scene.relay(&config);
    relay.logs("connected to the source").await;

    edit(&config, "match: all", "match: { contract_package: [aa] }");
    relay.logs("the configuration was not reloaded, for the faults above: the relay goes on with the one it has").await;
    let package = "aa".repeat(32);
    edit(&config, "[aa]", &format!("[{package}]"));
    relay.logs("routes: changed nft-tokens; connections to the source: 1 opened, 1 closed").await;

    scene.configure(&Setup { more: "dedup: { window: 1h }", ..setup });
    relay.logs("the configuration was not reloaded: what changed at dedup needs a restart; nothing was changed").await;
    relay.stop().await;
    emulator.stop().await;
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}
