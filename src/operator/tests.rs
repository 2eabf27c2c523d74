//! Jobs at work on a real store: how fast they may go, ending them, and messages that leave the quarantine.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::config::{BacklogConfig, MatchConfig, OnFull, RouteConfig};
use crate::event::Stream;
use crate::intake::{Routing, Switch};
use crate::route::Router;
use crate::store::tests::{Fixture, candidate, settings};
use crate::store::{Change, End, JobState, LetterChoice, QuarantineChoice, Quarantined, Settings, Settlement};

/// Nobody answers questions about the chain.
pub(crate) fn setup(fixture: &Fixture, reroute: Reroute) -> Setup {
    let (store, clock) = (fixture.store.clone(), fixture.clock.clone());
    let rest = crate::source::rest::tests::client("ws://127.0.0.1:9", "http://127.0.0.1:9", "key");
    let present = Present::new(&rest, reroute.network, clock.clone());
    Setup { reroute, store, clock, present, metrics: Arc::default() }
}

struct Scene {
    fixture: Fixture,
    operator: Operator,
    directory: tempfile::TempDir,
}

impl Scene {
    /// One route takes every token, to sink `a`.
    fn start() -> Self {
        Self::with(|settings| settings)
    }

    fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(change(settings(directory.path())), Clock::default());
        let sink = SinkName("a".into());
        let (name, matcher, sinks) = ("all".into(), MatchConfig::default(), vec![sink.clone()]);
        let router = Router::new(&[RouteConfig { name, stream: Stream::NftTokens, matcher, sinks }]);
        let sinks = HashMap::from([(sink.clone(), fixture.store.sink_id(&sink).unwrap())]);
        let reroute = Reroute { network: Network::Testnet, routing: Arc::new(Switch::new(Routing { router, sinks })) };
        let operator = Operator::start(setup(&fixture, reroute), &fixture.lifecycle).0;
        Self { fixture, operator, directory }
    }

    async fn with_letters(count: u64) -> Self {
        let scene = Self::start();
        let store = &scene.fixture.store;
        store.accept((1..=count).map(|n| candidate(store, n, n, &["a"])).collect()).await.unwrap();
        scene.fixture.sync().await;
        let end = || End::Dead { cause: "server", reason: "503".to_owned() };
        let dead = |seq| Change::Settle(Settlement { seq, has_waited: true, attempts: 1, body_bytes: 100, end: end() });
        scene.fixture.queues[0].record_durably((1..=count).map(dead).collect()).await.unwrap();
        scene
    }

    async fn replay(&self, rate: u32) -> u64 {
        let choice = LetterChoice::default();
        let order = Order::ReplayDeadLetters { choice, skip_superseded: false, rate: Some(rate) };
        self.operator.order(order).await.unwrap().number
    }

    async fn until(&self, number: u64, is_so: impl Fn(&Job) -> bool) -> Job {
        loop {
            match self.operator.job(number).unwrap() {
                job if is_so(&job) => return job,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    async fn ended(&self, number: u64) -> Job {
        self.until(number, |job| !job.is_running()).await
    }

    /// How many replays were handed to the sink since the last look.
    fn replays(&self) -> u64 {
        self.fixture.queues[0].take_replays().len() as u64
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_a_rate_takes_its_time() {
    let scene = Scene::with_letters(11).await;
    let began = Instant::now();
    let number = scene.replay(20).await;
    let job = scene.ended(number).await;
    assert_eq!((job.state, job.counts.done, scene.replays()), (JobState::Done, 11, 11));
    // The eleventh may go when ten had their time.
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    scene.fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_where_it_is() {
    let scene = Scene::with_letters(40).await;
    let number = scene.replay(1).await;
    scene.until(number, |job| job.counts.done > 0).await;
    let job = scene.operator.cancel(number).await.unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    let on_disk = scene.fixture.store.survey().unwrap().jobs().unwrap();
    assert_eq!(on_disk, std::slice::from_ref(&job), "what is answered is durable");
    assert!((1..10).contains(&job.counts.done), "{:?}", job.counts);
    assert_eq!(scene.replays(), job.counts.done, "what it did is done, and nothing more");
    // The others are letters as before, and another job takes them all.
    let rest = scene.replay(u32::MAX).await;
    assert_eq!(scene.ended(rest).await.counts.done, 40 - job.counts.done);
    assert_eq!(scene.operator.cancel(number).await.unwrap(), job, "it has ended already");
    let unknown = scene.operator.cancel(99).await.unwrap_err().to_string();
    assert_eq!(unknown, "there is no job 99, or it ended long ago");
    scene.fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_counts_no_message_that_is_still_in_quarantine() {
    let full = BacklogConfig { max_bytes: 1, on_full: OnFull::Wait };
    let scene = Scene::with(|settings| Settings { sinks: vec![(SinkName("a".into()), full)], ..settings });
    let store = &scene.fixture.store;
    store.accept(vec![candidate(store, 1, 1, &["a"])]).await.unwrap();
    let body = br#"{"data":{"contract_package_hash":"aa","token_id":"7"},"action":"updated","extra":{}}"#;
    let (stream, reason) = (Stream::NftTokens, "an older version could not read it".to_owned());
    store.quarantine(Quarantined { stream, reason, body: body.as_slice().into() }).await.unwrap();
    scene.fixture.sync().await;
    let order = Order::RerouteQuarantined { choice: QuarantineChoice::default() };
    let number = scene.operator.order(order).await.unwrap().number;
    // It waits for room now, or will see that it is cancelled.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let job = scene.operator.cancel(number).await.unwrap();
    assert_eq!((job.state, job.counts.done), (JobState::Cancelled, 0));
    assert_eq!(crate::store::quarantine(scene.directory.path()).unwrap().count().unwrap(), 1);
    scene.fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_has_become_readable_leaves_the_quarantine_for_its_sink() {
    let scene = Scene::start();
    let store = &scene.fixture.store;
    let good =
        br#"{"data":{"contract_package_hash":"aa","token_id":"7"},"action":"updated","extra":{"deploy_hash":"d"}}"#;
    for body in [&good[..], b"{\"data\":", good] {
        let (stream, reason) = (Stream::NftTokens, "an older version could not read it".to_owned());
        store.quarantine(Quarantined { stream, reason, body: body.into() }).await.unwrap();
    }
    scene.fixture.sync().await;
    let order = Order::RerouteQuarantined { choice: QuarantineChoice::default() };
    let job = scene.operator.order(order).await.unwrap();
    let counts = scene.ended(job.number).await.counts;
    assert_eq!((counts.matched, counts.done, counts.left), (3, 2, 1), "one is no JSON to this day");
    let page = scene.fixture.queues[0].fresh(0, 10).await.unwrap();
    let bodies: Vec<_> = page.claimed.iter().map(|claimed| claimed.content.as_ref().unwrap().0.body.clone()).collect();
    assert_eq!(bodies, [&good[..]], "twice the same message is one event");
    let kept = crate::store::quarantine(scene.directory.path()).unwrap();
    assert_eq!(kept.count().unwrap(), 1);
    scene.fixture.close().await;
}
