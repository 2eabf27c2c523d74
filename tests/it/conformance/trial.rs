//! A relay between an emulator and a destination, with what a case does to each of them.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::judge::{Allowed, judge};
use super::{Access, Destination};
use crate::relay::oracle::Sent;
use crate::relay::store::Database;
use crate::relay::{BINARY, DEADLINE, Process, Scene};

/// Attempts under way at once: what something that breaks may make come again.
pub(super) const UNDER_WAY: usize = 16;
const POLL: Duration = Duration::from_millis(50);
/// A destination that is back gets a probe a minute at the worst.
const RECOVERY_MAX: Duration = Duration::from_secs(180);
/// How long nothing may be accepted any more before everything counts as accepted.
const CALM: Duration = Duration::from_millis(700);

pub(super) struct Trial<D> {
    pub(super) destination: D,
    emulator: Process,
    config: PathBuf,
    secret_file: PathBuf,
    ca_file: PathBuf,
    /// Of the relay, so far.
    lives: std::cell::Cell<u32>,
    /// Last, since its directory goes with it.
    scene: Scene,
}

/// What a case wants of the sink's configuration.
struct Wishes<'a> {
    has_tls: bool,
    key: Option<&'a str>,
    concurrency: usize,
}

/// What most cases want.
const MODEST: Wishes<'_> = Wishes { has_tls: false, key: None, concurrency: UNDER_WAY };

impl<D: Destination> Trial<D> {
    /// With an emulator that publishes `traffic` (arguments of `emulate`) as soon as a relay connects. `None`: the
    /// destination is not there.
    pub(super) async fn new(name: &str, traffic: &[&str]) -> Option<Self> {
        Self::prepare(Scene::new(), name, traffic, MODEST).await
    }

    /// With so many attempts under way at once.
    pub(super) async fn with_concurrency(name: &str, traffic: &[&str], concurrency: usize) -> Option<Self> {
        Self::prepare(Scene::new(), name, traffic, Wishes { concurrency, ..MODEST }).await
    }

    pub(super) async fn with_tls(name: &str, traffic: &[&str]) -> Option<Self> {
        Self::prepare(Scene::new(), name, traffic, Wishes { has_tls: true, ..MODEST }).await
    }

    /// With an emulator that publishes these messages, and a template for the key of each.
    pub(super) async fn of_messages(name: &str, messages: &[String], key: Option<&str>) -> Option<Self> {
        let scene = Scene::new();
        let lines = scene.lines(messages);
        let traffic = ["--rate", "0", "--fragment", "60000", "--replay", &lines];
        Self::prepare(scene, name, &traffic, Wishes { key, ..MODEST }).await
    }

    async fn prepare(scene: Scene, name: &str, traffic: &[&str], wishes: Wishes<'_>) -> Option<Self> {
        let destination = D::start(name).await?;
        let (emulator, url) = scene.emulator(traffic).await;
        let (secret_file, ca_file) = (scene.path("secret"), scene.path("ca.pem"));
        let ca_file_wanted = wishes.has_tls.then_some(&*ca_file);
        let access = Access { secret_file: &secret_file, ca_file: ca_file_wanted, key: wishes.key };
        let text = format!(
            "source: {{ network: testnet, api_key: emulator-key, url: \"{url}\", persistent_session: trial }}\n\
             store: {{ path: \"{}\" }}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n\
             sinks:\n  sink:\n    {}\n    concurrency: {}\n    retry: {{ schedule: [{}], jitter: 0 }}\n\
             routes: {{ all: {{ match: all, sinks: [sink] }} }}\n",
            scene.data().display(),
            destination.sink(&access),
            wishes.concurrency,
            ["300ms"; 300].join(", "),
        );
        let config = scene.path("relay.yaml");
        std::fs::write(&config, text).unwrap();
        let trial = Self { scene, destination, emulator, config, secret_file, ca_file, lives: 0.into() };
        let ([secret, _], [authority, _]) = (trial.destination.secrets(), trial.destination.authorities());
        trial.give(&secret);
        trial.trust(&authority);
        Some(trial)
    }

    /// Writes the secret that the relay uses.
    pub(super) fn give(&self, secret: &str) {
        std::fs::write(&self.secret_file, secret).unwrap();
    }

    /// Writes the authority that the relay trusts.
    pub(super) fn trust(&self, authority: &str) {
        std::fs::write(&self.ca_file, authority).unwrap();
    }

    /// A relay that runs, in a life of its own.
    pub(super) async fn relay(&self) -> Process {
        self.start("debug").await
    }

    /// The same, saying less.
    pub(super) async fn quiet_relay(&self) -> Process {
        self.start("info").await
    }

    async fn start(&self, log_level: &str) -> Process {
        self.lives.set(self.lives.get() + 1);
        let mut command = Command::new(BINARY);
        command.args(["run", "--log-level", log_level, "--config"]).arg(&self.config);
        let relay = self.scene.spawn("relay", command.env("LIFE", self.lives.get().to_string()));
        relay.logs("the relay is running").await;
        relay
    }

    pub(super) fn database(&self) -> Database {
        Database::open(&self.scene.data())
    }

    /// Waits until this many messages were taken.
    pub(super) async fn received(&mut self, count: usize) {
        let start = Instant::now();
        while self.destination.received().await.len() < count {
            assert!(start.elapsed() < DEADLINE, "only {} were taken", self.destination.received().await.len());
            sleep(POLL).await;
        }
    }

    /// Waits until this many events are accepted.
    pub(super) async fn accepted(&self, count: u64) {
        let (database, start) = (self.database(), Instant::now());
        while database.newest() < count {
            assert!(start.elapsed() < DEADLINE, "only {} are accepted", database.newest());
            sleep(POLL).await;
        }
    }

    /// Waits until the destination takes messages, which there must be.
    pub(super) async fn taking(&mut self) {
        let (before, start) = (self.destination.received().await.len(), Instant::now());
        while self.destination.received().await.len() == before {
            assert!(start.elapsed() < RECOVERY_MAX, "nothing is taken any more");
            sleep(POLL).await;
        }
    }

    /// Waits until the destination has taken everything that was accepted, while no more comes.
    pub(super) async fn caught_up(&mut self) {
        let start = Instant::now();
        while !self.is_settled().await {
            assert!(start.elapsed() < RECOVERY_MAX, "something is not taken any more");
            sleep(POLL).await;
        }
    }

    /// No more events come until [`Self::go_on`]; what came is not caught up.
    pub(super) async fn hold(&self) {
        self.emulator.signal("STOP").await;
    }

    pub(super) async fn go_on(&self) {
        self.emulator.signal("CONT").await;
    }

    /// Ends the events.
    pub(super) async fn silence(&mut self) {
        self.emulator.stop().await;
    }

    /// Waits until `accepted_min` or more events are accepted, no more come, and each is taken or a dead letter. Then
    /// stops the relay and judges what the destination got.
    pub(super) async fn end(mut self, relay: Process, accepted_min: u64, allowed: Allowed) {
        self.accepted(accepted_min).await;
        self.settle().await;
        self.silence().await;
        self.conclude(relay, &allowed).await;
    }

    /// Waits until everything accepted is taken or a dead letter, and nothing more comes.
    pub(super) async fn settle(&mut self) {
        let database = self.database();
        let (mut newest, mut taken, mut since) = (0, 0, Instant::now());
        loop {
            let receipts = self.destination.received().await.len() as u64;
            if database.newest() != newest || receipts != taken {
                (newest, taken, since) = (database.newest(), receipts, Instant::now());
            }
            if since.elapsed() >= CALM
                && taken + database.dead("sink").len() as u64 >= newest
                && self.is_settled().await
            {
                return;
            }
            assert!(since.elapsed() < DEADLINE, "nothing more comes: {taken} of {newest} were taken");
            sleep(POLL).await;
        }
    }

    async fn is_settled(&mut self) -> bool {
        let database = self.database();
        let dead = database.dead("sink").len() as u64;
        let numbers = self.destination.received().await.iter().map(super::Receipt::number);
        numbers.collect::<std::collections::BTreeSet<_>>().len() as u64 + dead >= database.newest()
    }

    /// Stops the relay and judges what the destination got; the number of repeats. The events must have ended.
    pub(super) async fn conclude(&mut self, mut relay: Process, allowed: &Allowed) -> usize {
        relay.stop().await;
        let (sent, database) = (Sent::read(&self.scene.path("sent.jsonl")), self.database());
        assert_eq!(database.waiting(), 0, "nothing waits any more");
        judge(&sent, self.destination.received().await, &database, allowed)
    }
}
