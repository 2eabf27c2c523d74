//! When a failed delivery is tried again, and what that costs it.

use super::*;

const DAY_MS: i64 = 24 * 3600 * 1000;
const MOMENT: Duration = Duration::from_millis(2);

#[tokio::test(start_paused = true)]
async fn the_schedule_is_kept_to_the_moment_whatever_the_wall_clock_does() {
    for shift in [0, DAY_MS, -DAY_MS] {
        let scene = Scene::open(config(), |_, _| fails(Cause::Server));
        scene.accept(&[1]).await;
        for (count, delay) in [(1, 5), (2, 60), (3, 300)] {
            scene.until("attempted", |scene| scene.calls().len() == count).await;
            scene.fixture.clock.shift(shift);
            scene.pass(SECOND * delay - MOMENT).await;
            assert_eq!(scene.calls().len(), count, "not before its time");
            scene.pass(MOMENT * 2).await;
        }
        scene.until_settled(1).await;
        assert_eq!(scene.calls(), [(1, 1), (1, 2), (1, 3), (1, 4)]);
        scene.pass(SECOND * 3600 * 48).await;
        assert_eq!((scene.calls().len(), scene.ends()), (4, [0, 1, 0]));
        let (folder, _) = scene.ended().await;
        assert_eq!(letters(&folder), [(1, 4, "server".to_owned(), vec![1, 2, 3, 4])]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_is_a_dead_letter_at_once() {
    let failure = Failure { cause: Cause::Refused, status: Some(422), detail: "no".to_owned() };
    let scene = Scene::open(config(), move |_, _| Act::End(Outcome::Reject { failure: failure.clone() }));
    scene.accept(&[1]).await;
    scene.until_settled(1).await;
    let (folder, sink) = scene.ended().await;
    assert_eq!(sink.calls.lock().unwrap().len(), 1);
    assert_eq!(letters(&folder), [(1, 1, "refused".to_owned(), vec![1])]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_sink_pauses_as_a_whole_and_no_attempt_is_lost() {
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let once = move |_, _| match is_first.swap(false, Atomic::SeqCst) {
        true => slows(Cause::Throttled, Some(SECOND * 30)),
        false => delivered(),
    };
    let scene = Scene::open(config(), once);
    scene.accept(&[1]).await;
    scene.until("attempted", |scene| scene.metrics.waiting.value() == 1).await;
    scene.accept(&[2, 3]).await;
    scene.pass(SECOND * 30 - MOMENT).await;
    assert_eq!(scene.calls(), [(1, 1)], "the others wait too");
    scene.pass(MOMENT * 2).await;
    scene.until_settled(3).await;
    let mut calls = scene.calls();
    calls.sort_unstable();
    assert_eq!(calls, [(1, 1), (1, 1), (2, 1), (3, 1)], "it was no attempt");
    assert_eq!(scene.metrics.breaker_open.value(), 0);
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_gone_gets_nothing_more_and_loses_nothing() {
    let scene = Scene::open(config(), |_, _| fails(Cause::Gone));
    scene.accept(&[1]).await;
    scene.until("paused", |scene| scene.metrics.paused.value() == 1).await;
    scene.accept(&[1, 2]).await;
    scene.pass(SECOND * 3600 * 24).await;
    assert_eq!(scene.calls(), [(1, 1)]);
    assert_eq!((scene.ends(), scene.metrics.pending.value()), ([0; 3], 3));
    scene.plan(|_, _| delivered());
    let scene = scene.restart().await;
    scene.pass(SECOND * 3600).await;
    assert_eq!(scene.calls(), [], "a restart does not end it");
    let before = scene.set_paused(None).await.unwrap();
    assert_eq!((before.by, before.reason.as_str()), (PausedBy::Destination, "it gone"));
    scene.until_settled(3).await;
    let mut calls = scene.calls();
    calls.sort_unstable();
    assert_eq!(calls, [(1, 1), (2, 1), (3, 1)], "all attempts are left");
    scene.ended().await;
}
