//! The store against a simple model: the same random actions, restarts and crashes included.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::config::{DeadLettersConfig, DedupConfig, IdentityRule, OnFull, StoreConfig};
use crate::event::{Network, Stream, decode};

pub(super) const SINKS: [&str; 3] = ["a", "b", "c"];

pub(crate) fn settings(path: &Path) -> Settings {
    let backlog = BacklogConfig { max_bytes: 1 << 40, on_full: OnFull::Expire };
    Settings {
        network: Network::Testnet,
        store: StoreConfig { path: path.to_owned(), retention: Duration::from_secs(3600), max_bytes: 1 << 40 },
        dedup: DedupConfig {
            identity: IdentityRule::State,
            window: Duration::from_secs(3600),
            window_without_deploy: Duration::from_secs(600),
            max_keys: 1_000_000,
        },
        dead_letters: DeadLettersConfig { retention: Duration::from_secs(3600), max_bytes: 1 << 40 },
        sinks: SINKS.iter().map(|name| (SinkName((*name).into()), backlog)).collect(),
    }
}

/// A store with its queues, and all that it needs to live.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) queues: Vec<SinkStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) clock: Clock,
}

impl Fixture {
    pub(crate) fn open(settings: Settings, clock: Clock) -> Self {
        let names: Vec<SinkName> = settings.sinks.iter().map(|(name, _)| name.clone()).collect();
        let (metrics, lifecycle) = (Metrics::new(&names), Lifecycle::default());
        let opened = Store::open(settings, clock.clone(), Arc::clone(&metrics), &lifecycle).unwrap();
        let queues = opened.queues.into_iter().map(|(_, queue)| queue).collect();
        Self { store: opened.store, queues, metrics, lifecycle, clock }
    }

    pub(crate) async fn close(self) {
        self.lifecycle.drain().cancel();
        self.store.close().await.unwrap();
    }

    /// Waits until all that was handed over is durable.
    pub(crate) async fn sync(&self) {
        self.queues[0].record_durably(Vec::new()).await.unwrap();
    }
}

/// An event of `token` whose identity is `deploy`.
pub(crate) fn candidate(store: &Store, token: u64, deploy: u64, sinks: &[&str]) -> Candidate {
    let body = format!(
        r#"{{"data":{{"contract_package_hash":"aa","token_id":"{token}"}},"action":"updated","extra":{{"deploy_hash":"{deploy}"}}}}"#
    );
    candidate_of(store, body, sinks)
}

/// The event that a message of `nft-tokens` is about.
pub(super) fn candidate_of(store: &Store, body: String, sinks: &[&str]) -> Candidate {
    let decoded = decode(Network::Testnet, Stream::NftTokens, body.as_bytes()).unwrap();
    let routes: Arc<[Arc<str>]> = Arc::from([Arc::from("route")]);
    let target = |name: &&str| (store.sink_id(&SinkName((*name).into())).unwrap(), Arc::clone(&routes));
    Candidate {
        stream: Stream::NftTokens,
        identity: decoded.identity,
        facts: decoded.facts,
        body: body.into(),
        targets: sinks.iter().map(target).collect(),
        quarantine: None,
        repaired: None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Fresh,
    Waiting(Waiting),
    Held(Held),
    Settled,
}

#[derive(Default)]
pub(super) struct Model {
    /// By sequence number less one: token and deploy.
    pub(super) events: Vec<(u64, u64)>,
    known: HashSet<(u64, u64)>,
    /// Per sink: where each of its deliveries is.
    pub(super) sinks: [BTreeMap<u64, Place>; 3],
    /// Those that the events were meant for when they were accepted.
    named: [BTreeSet<u64>; 3],
    /// Those that were over once, and whether they were delivered.
    pub(super) over: [BTreeMap<u64, bool>; 3],
    lows: [u64; 3],
}

impl Model {
    fn accept(&mut self, token: u64, deploy: u64, sinks: &[usize]) {
        if self.known.insert((token, deploy)) {
            self.events.push((token, deploy));
            let seq = self.events.len() as u64;
            for sink in sinks {
                self.sinks[*sink].insert(seq, Place::Fresh);
                self.named[*sink].insert(seq);
            }
        }
    }

    /// All deliveries up to here are settled, waiting or held.
    fn low(&self, sink: usize) -> u64 {
        let fresh = self.sinks[sink].iter().find(|(_, place)| **place == Place::Fresh);
        fresh.map_or(self.events.len() as u64, |(seq, _)| seq - 1)
    }

    fn pending(&self, sink: usize) -> usize {
        self.sinks[sink].values().filter(|place| **place != Place::Settled).count()
    }

    fn found(&self, sink: usize) -> Found {
        let places = self.sinks[sink].values();
        let waiting = places.clone().filter_map(|place| if let Place::Waiting(w) = place { Some(*w) } else { None });
        let held = places.filter_map(|place| if let Place::Held(h) = place { Some(*h) } else { None });
        let settled = self.over[sink].range(self.lows[sink] + 1..).map(|(seq, _)| *seq).collect();
        Found { low: self.lows[sink], waiting: waiting.collect(), held: held.collect(), settled, paused: None }
    }

    /// A random change of one delivery, as delivery would make it.
    fn change(&mut self, sink: usize, random: &mut fastrand::Rng) -> Option<Change> {
        let open: Vec<(u64, Place)> =
            self.sinks[sink].iter().filter(|(_, p)| **p != Place::Settled).map(|(seq, p)| (*seq, *p)).collect();
        let (seq, place) = random.choice(open)?;
        let (attempts, body_bytes, lane) = (random.u32(..9), random.u32(..2000), random.u64(1..));
        let waiting = Waiting {
            seq,
            lane,
            body_bytes,
            attempts,
            is_replay: random.bool(),
            delay: Duration::from_millis(random.u64(..100_000)),
            due_at: Timestamp(random.u64(..1 << 40)),
            blocking_since: random.bool().then(|| Timestamp(random.u64(1..1 << 40))),
        };
        let has_waited = matches!(place, Place::Waiting(_));
        let (place, change) = match (place, random.u8(..3)) {
            (Place::Fresh, 0) => {
                let held = Held { seq, lane, body_bytes };
                (Place::Held(held), Change::Hold(held))
            }
            (Place::Held(_), _) | (_, 1) => (Place::Waiting(waiting), Change::Wait(waiting)),
            _ => {
                let is_expired = random.bool();
                // Delivered once is delivered, whatever becomes of a replay.
                *self.over[sink].entry(seq).or_default() |= !is_expired;
                let end = if is_expired { End::Expired } else { End::Delivered { status: Some(204) } };
                (Place::Settled, Change::Settle(Settlement { seq, has_waited, attempts, body_bytes, end }))
            }
        };
        self.sinks[sink].insert(seq, place);
        Some(change)
    }

    /// What a freshly opened store must say.
    async fn check(&self, fixture: &Fixture, seed: u64) {
        for sink in 0..SINKS.len() {
            self.check_sink(fixture, sink, seed).await;
        }
    }

    async fn check_sink(&self, fixture: &Fixture, sink: usize, seed: u64) {
        let queue = &fixture.queues[sink];
        assert_eq!(queue.found, self.found(sink), "seed {seed}, sink {sink}");
        let metrics = fixture.metrics.sink(&SinkName(SINKS[sink].into())).unwrap();
        assert_eq!(metrics.pending.value(), self.pending(sink) as u64, "seed {seed}, sink {sink}");
        let (mut cursor, mut read) = (queue.found.low, Vec::new());
        while queue.has_fresh(cursor) {
            let page = queue.fresh(cursor, 7).await.unwrap();
            assert!(page.scanned_to > cursor, "seed {seed}: the reading does not get on");
            cursor = page.scanned_to;
            for claimed in page.claimed {
                let (event, routes) = claimed.content.unwrap();
                let (token, deploy) = self.events[claimed.seq as usize - 1];
                assert_eq!(event.body, candidate(&fixture.store, token, deploy, &[]).body);
                assert_eq!(event.sequence.number, claimed.seq);
                assert_eq!(routes.len(), 1);
                read.push(claimed.seq);
            }
        }
        // What memory still has is given with what is settled; the queue knows these from what was found.
        read.retain(|seq| !queue.found.settled.contains(seq));
        let after = self.named[sink].range(self.lows[sink] + 1..);
        let expected: Vec<u64> = after.filter(|seq| !self.over[sink].contains_key(seq)).copied().collect();
        assert_eq!(read, expected, "seed {seed}, sink {sink}");
    }
}

/// It arrived; perhaps not at once.
fn delivered(seq: u64, body_bytes: u32) -> Change {
    Change::Settle(Settlement { seq, has_waited: true, attempts: 1, body_bytes, end: End::Delivered { status: None } })
}

/// A snapshot of the files, as kill -9 would leave them between two commits.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A sink leaves the running relay, and comes back to what it had and to what was under way to it.
async fn leave_and_return(fixture: &mut Fixture, model: &mut Model, seed: u64, random: &mut fastrand::Rng) {
    let sink = random.usize(..SINKS.len());
    let name = SinkName(SINKS[sink].into());
    let (token, deploy) = (random.u64(..6), random.u64(..60));
    let late = candidate(&fixture.store, token, deploy, &[SINKS[sink]]);
    let pending = fixture.store.leave(&name).await.unwrap();
    assert_eq!(pending, model.pending(sink) as u64, "seed {seed}, sink {sink}");
    assert_eq!(fixture.store.parked().get(&name).copied(), Some(pending).filter(|pending| *pending > 0));
    fixture.store.accept(vec![late]).await.unwrap();
    model.accept(token, deploy, &[sink]);
    let backlog = BacklogConfig { max_bytes: 1 << 40, on_full: OnFull::Expire };
    let metrics = fixture.metrics.sink(&name).unwrap();
    fixture.queues[sink] = fixture.store.join(&name, backlog, metrics).await.unwrap();
    if pending == 0 {
        // It was owed nothing, so it begins at the end that the store had then.
        model.lows[sink] = fixture.queues[sink].found.low;
    }
    model.check_sink(fixture, sink, seed).await;
}

async fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut directory = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut fixture = Fixture::open(settings(directory.path()), Clock::default());
    for _ in 0..120 {
        match random.u8(..24) {
            0..=7 => {
                let mut batch = Vec::new();
                for _ in 0..random.usize(1..12) {
                    let (token, deploy) = (random.u64(..6), random.u64(..60));
                    let sinks: Vec<usize> = (0..3).filter(|_| random.bool()).collect();
                    let names: Vec<&str> = sinks.iter().map(|sink| SINKS[*sink]).collect();
                    batch.push(candidate(&fixture.store, token, deploy, &names));
                    model.accept(token, deploy, &sinks);
                }
                fixture.store.accept(batch).await.unwrap();
                fixture.sync().await;
            }
            8..=16 => {
                let sink = random.usize(..3);
                let mut changes: Vec<Change> = (0..4).filter_map(|_| model.change(sink, &mut random)).collect();
                if random.bool() {
                    model.lows[sink] = model.lows[sink].max(model.low(sink));
                    changes.push(Change::Low(model.lows[sink]));
                }
                fixture.queues[sink].record(changes).await.unwrap();
            }
            17 => fixture.store.tick().await.unwrap(),
            18 => {
                fixture.close().await;
                fixture = Fixture::open(settings(directory.path()), Clock::default());
                model.check(&fixture, seed).await;
            }
            19 => leave_and_return(&mut fixture, &mut model, seed, &mut random).await,
            20..=22 => job::tests::replay(&fixture, &mut model, seed, &mut random).await,
            _ => {
                fixture.sync().await;
                let crashed = tempfile::tempdir().unwrap();
                copy(directory.path(), crashed.path());
                fixture.close().await;
                directory = crashed;
                fixture = Fixture::open(settings(directory.path()), Clock::default());
                model.check(&fixture, seed).await;
            }
        }
    }
    fixture.close().await;
}

#[tokio::test]
async fn the_store_does_what_the_model_does() {
    for seed in 0..8 {
        play(seed).await;
    }
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    let second = Store::open(settings(directory.path()), Clock::default(), Metrics::new([]), &Lifecycle::default());
    let message = second.err().unwrap().to_string();
    assert!(message.contains("is in use by another relay (process "), "{message}");
    fixture.close().await;
    Fixture::open(settings(directory.path()), Clock::default()).close().await;
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_alone() {
    let cases = [
        ("PRAGMA application_id = 1129533522; PRAGMA user_version = 99; CREATE TABLE x (y)", "has store format 99"),
        ("PRAGMA application_id = 7; CREATE TABLE x (y)", "is a database of another program"),
        ("CREATE TABLE x (y)", "is a database of another program"),
    ];
    for (sql, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        rusqlite::Connection::open(directory.path().join(schema::FILE)).unwrap().execute_batch(sql).unwrap();
        let opened = Store::open(settings(directory.path()), Clock::default(), Metrics::new([]), &Lifecycle::default());
        let message = opened.err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(schema::FILE), "not a database, but long enough to have a header".repeat(50))
        .unwrap();
    let opened = Store::open(settings(directory.path()), Clock::default(), Metrics::new([]), &Lifecycle::default());
    assert!(opened.err().unwrap().to_string().contains("cannot open the store"));
}

#[tokio::test]
async fn settled_history_goes_and_what_is_pending_stays() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let fixture = Fixture::open(settings(directory.path()), clock.clone());
    let events = (0..100).map(|n| candidate(&fixture.store, n, n, &["a", "b"])).collect();
    fixture.store.accept(events).await.unwrap();
    fixture.sync().await;
    let settle = |seq| delivered(seq, 100);
    fixture.queues[0].record((1..=100).map(settle).chain([Change::Low(100)]).collect()).await.unwrap();
    fixture.queues[1].record((1..=100).filter(|n| n % 10 != 0).map(settle).collect()).await.unwrap();
    clock.shift(2 * 3600 * 1000);
    fixture.store.tick().await.unwrap();
    fixture.store.tick().await.unwrap();
    fixture.close().await;
    let count = |sql: &str| -> u64 {
        schema::open_reader(directory.path()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM event"), 10);
    let fixture = Fixture::open(settings(directory.path()), clock);
    assert_eq!(fixture.metrics.sink(&SinkName("b".into())).unwrap().pending.value(), 10);
    let page = fixture.queues[1].fresh(0, 100).await.unwrap();
    assert_eq!(page.claimed.len(), 10);
    assert!(page.claimed.iter().all(|claimed| claimed.content.is_ok()));
    fixture.close().await;
}

#[tokio::test]
async fn a_damaged_body_is_named_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    let events = (0..3).map(|n| candidate(&fixture.store, n, n, &["a"])).collect();
    fixture.store.accept(events).await.unwrap();
    fixture.close().await;
    let connection = rusqlite::Connection::open(directory.path().join(schema::FILE)).unwrap();
    connection
        .execute("UPDATE event SET row = CAST(substr(row, 1, length(row) - 1) || 'x' AS BLOB) WHERE seq = 2", [])
        .unwrap();
    drop(connection);
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    let page = fixture.queues[0].fresh(0, 10).await.unwrap();
    let read: Vec<bool> = page.claimed.iter().map(|claimed| claimed.content.is_ok()).collect();
    assert_eq!(read, [true, false, true]);
    assert_eq!(fixture.metrics.store.damaged_rows.value(), 1);
    fixture.close().await;
}

#[tokio::test]
async fn intake_waits_when_nothing_else_helps_and_goes_on_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.store.max_bytes = 512 * 1024;
    let fixture = Fixture::open(settings, Clock::default());
    let mut next = 0;
    let blocked = loop {
        let events = (0..100).map(|n| candidate(&fixture.store, next + n, 0, &["a"])).collect();
        next += 100;
        let handed_over = tokio::time::timeout(Duration::from_secs(2), fixture.store.accept(events)).await;
        if handed_over.is_err() {
            break fixture.metrics.intake.accepted.value();
        }
        assert!(next < 100_000, "the quota is never enforced");
    };
    assert_eq!(fixture.metrics.store.intake_waits.value(), 1);
    // Settlements still find room, and make room.
    let settle = |seq| delivered(seq, 1);
    let changes = (1..=blocked).map(settle).chain([Change::Low(blocked)]).collect();
    fixture.queues[0].record_durably(changes).await.unwrap();
    while fixture.metrics.intake.accepted.value() == blocked {
        fixture.store.tick().await.unwrap();
        tokio::task::yield_now().await;
    }
    fixture.close().await;
}
