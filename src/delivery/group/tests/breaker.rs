//! The breaker at work: what a sink that is down costs its deliveries, and the machine.

use super::*;

/// More than the breaker needs to open, in lanes of their own.
const TOKENS: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// A schedule that lasts.
fn patient() -> SinkConfig {
    let retry = RetryConfig { schedule: Schedule::Listed(vec![SECOND * 5; 1000]), jitter: 0.0 };
    SinkConfig { concurrency: 5, retry, ..config() }
}

/// A sink that has just been found down: five deliveries have failed, the others were not tried.
async fn down() -> Scene {
    let scene = Scene::open(patient(), |_, _| fails(Cause::Connect));
    scene.accept(&TOKENS).await;
    scene.until("open", |scene| scene.metrics.breaker_open.value() == 1).await;
    scene.settled().await;
    scene
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_five_deliveries_and_the_others_keep_their_attempts() {
    let scene = down().await;
    assert_eq!(scene.calls(), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    // An hour of probes: one at a time, at growing distances, never hot.
    for _ in 0..3600 {
        tokio::time::advance(SECOND).await;
        scene.settled_shortly().await;
    }
    let probes = scene.calls().len() - 5;
    assert!((40..120).contains(&probes), "{probes} probes");
    assert_eq!(scene.sink.in_flight.load(Atomic::SeqCst), 0);
    scene.ended().await;
}

impl Scene {
    async fn settled_shortly(&self) {
        let _loaded = self.fixture.queues[0].load(1).await.unwrap();
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_closes_when_a_probe_goes_through_and_all_is_delivered() {
    let scene = down().await;
    scene.plan(|_, _| delivered());
    scene.pass(SECOND * 2).await;
    scene.until("closed", |scene| scene.metrics.breaker_open.value() == 0).await;
    scene.pass(SECOND * 5).await;
    scene.until_settled(8).await;
    assert_eq!(scene.ends(), [8, 0, 0]);
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_under_way_is_alone_and_waited_for_in_peace() {
    let scene = down().await;
    scene.plan(|_, _| Act::Wait);
    // By now the waiting ones are due as well.
    scene.pass(SECOND * 10).await;
    scene.until("probing", |scene| scene.sink.in_flight.load(Atomic::SeqCst) == 1).await;
    scene.settled().await;
    let polls = scene.polls.load(Atomic::SeqCst);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let polls = scene.polls.load(Atomic::SeqCst) - polls;
    assert!(polls < 10, "the loop spins while a probe is under way: {polls} rounds");
    assert_eq!(scene.sink.in_flight.load(Atomic::SeqCst), 1);
    scene.sink.gate.add_permits(100);
    scene.until_settled(8).await;
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn one_poisoned_message_never_opens_it() {
    let scene = Scene::open(config(), |seq, _| if seq == 1 { fails(Cause::Server) } else { delivered() });
    scene.accept(&[1]).await;
    for wait in [5, 60, 300] {
        scene.pass(SECOND * wait).await;
        assert_eq!(scene.metrics.breaker_open.value(), 0);
    }
    scene.accept(&[2]).await;
    scene.until_settled(2).await;
    assert_eq!(scene.ends(), [1, 1, 0]);
    scene.ended().await;
}
