//! Who goes when: lanes, limits, and events that fail alone.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_lane_keeps_its_order_and_lanes_run_side_by_side() {
    let scene = Scene::open(config(), |_, _| Act::Wait);
    scene.accept(&[1, 2, 1, 2, 1, 3]).await;
    scene.until("three lanes in flight", |scene| scene.calls().len() == 3).await;
    scene.settled().await;
    assert_eq!(scene.seqs(), [1, 2, 6], "the first of each lane");
    scene.sink.gate.add_permits(100);
    scene.until_settled(6).await;
    let seqs = scene.seqs();
    let of = |lane: &[u64]| seqs.iter().copied().filter(|seq| lane.contains(seq)).collect::<Vec<_>>();
    assert_eq!((of(&[1, 3, 5]), of(&[2, 4])), (vec![1, 3, 5], vec![2, 4]));
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_concurrency_are_in_flight() {
    let scene = Scene::open(SinkConfig { concurrency: 3, ..config() }, |_, _| Act::Wait);
    scene.accept(&(0..400).collect::<Vec<_>>()).await;
    for _ in 0..400 {
        scene.until("some in flight", |scene| scene.sink.in_flight.load(Atomic::SeqCst) > 0).await;
        scene.sink.gate.add_permits(1);
    }
    scene.until_settled(400).await;
    assert_eq!(scene.sink.in_flight_max.load(Atomic::SeqCst), 3);
    assert_eq!(scene.calls().len(), 400);
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_that_end_all_at_once_are_all_settled() {
    const COUNT: usize = ENDS_MAX * 4;
    let scene = Scene::open(SinkConfig { concurrency: COUNT, ..config() }, |_, _| Act::Wait);
    scene.accept(&(0..COUNT as u64).collect::<Vec<_>>()).await;
    scene.until("all in flight", |scene| scene.sink.in_flight.load(Atomic::SeqCst) == COUNT).await;
    scene.sink.gate.add_permits(COUNT);
    scene.until_settled(COUNT as u64).await;
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn without_order_a_lane_is_sent_all_at_once() {
    let scene = Scene::open(SinkConfig { ordering: Ordering::None, ..config() }, |_, _| Act::Wait);
    scene.accept(&[1; 10]).await;
    scene.until("all in flight", |scene| scene.sink.in_flight.load(Atomic::SeqCst) == 10).await;
    scene.sink.gate.add_permits(10);
    scene.until_settled(10).await;
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_event_holds_back_its_lane_alone_until_it_is_given_up() {
    let scene = Scene::open(config(), |seq, _| if seq == 1 { fails(Cause::Refused) } else { delivered() });
    scene.accept(&[1, 1, 2, 1]).await;
    scene.until_settled(1).await;
    scene.settled().await;
    assert_eq!(scene.calls(), [(1, 1), (3, 1)]);
    for wait in [5, 60, 300] {
        scene.pass(SECOND * wait).await;
    }
    scene.until_settled(4).await;
    assert_eq!(scene.seqs(), [1, 3, 1, 1, 1, 2, 4]);
    let (folder, _) = scene.ended().await;
    assert_eq!(letters(&folder), [(1, 4, "refused".to_owned(), vec![1, 2, 3, 4])]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_of_that_event_alone() {
    let scene = Scene::open(config(), |seq, number| if seq == 2 && number < 3 { Act::Panic } else { delivered() });
    scene.accept(&[1, 2, 3]).await;
    scene.until_settled(2).await;
    scene.pass(SECOND * 5).await;
    scene.pass(SECOND * 60).await;
    scene.until_settled(3).await;
    assert_eq!(scene.ends(), [3, 0, 0]);
    assert_eq!(scene.metrics.failed_attempts.value(), 2);
    assert!(!scene.metrics.breaker_open.value() > 0);
    scene.ended().await;
}
