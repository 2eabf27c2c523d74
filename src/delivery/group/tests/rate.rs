//! The rate limit at work.

use super::*;
use crate::config::RateLimit;

fn limited(count: u32) -> SinkConfig {
    SinkConfig { rate_limit: Some(RateLimit { count, per: SECOND }), ..config() }
}

#[tokio::test(start_paused = true)]
async fn attempts_come_at_the_rate_retries_included() {
    // Every event fails once, so there are twice as many attempts as events.
    let scene = Scene::open(limited(2), |_, number| if number == 1 { fails(Cause::Refused) } else { delivered() });
    scene.accept(&(1..=10).collect::<Vec<_>>()).await;
    for half_seconds in 1..=20 {
        scene.until("attempted", |scene| scene.calls().len() == half_seconds).await;
        scene.settled().await;
        assert_eq!(scene.calls().len(), half_seconds);
        scene.pass(SECOND / 2).await;
    }
    scene.until_settled(10).await;
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn while_it_waits_for_the_rate_the_loop_sleeps() {
    let scene = Scene::open(limited(1), |_, _| delivered());
    scene.accept(&[1, 2, 3]).await;
    scene.until_settled(1).await;
    scene.settled().await;
    let polls = scene.polls.load(Atomic::SeqCst);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(scene.polls.load(Atomic::SeqCst) < polls + 5);
    assert_eq!(scene.calls().len(), 1);
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_is_taken_up_and_an_unchanged_one_is_not_forgotten() {
    let scene = Scene::open(limited(1), |_, _| delivered());
    scene.accept(&[1, 2, 3, 4]).await;
    scene.until_settled(1).await;
    let change = |config| scene.setup.send_replace(Setup { config, sink: Arc::clone(&scene.sink) as Arc<dyn Sink> });
    change(SinkConfig { concurrency: 3, ..limited(1) });
    scene.settled().await;
    assert_eq!(scene.calls().len(), 1, "the second one still waits for its time");
    change(config());
    scene.until_settled(4).await;
    scene.ended().await;
}
