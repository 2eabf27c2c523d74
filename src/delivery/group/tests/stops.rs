//! Stopping and starting again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_in_flight_and_nothing_settled_is_sent_again() {
    let scene = Scene::open(SinkConfig { concurrency: 4, ..config() }, |_, _| Act::Wait);
    scene.accept(&(0..10).collect::<Vec<_>>()).await;
    scene.until("in flight", |scene| scene.calls().len() == 4).await;
    scene.drain();
    scene.settled().await;
    scene.sink.gate.add_permits(100);
    let scene = scene.restart().await;
    scene.sink.gate.add_permits(100);
    scene.until_settled(6).await;
    let mut seqs = scene.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, [5, 6, 7, 8, 9, 10]);
    let scene = scene.restart().await;
    scene.settled().await;
    assert_eq!((scene.calls().len(), scene.metrics.pending.value()), (0, 0));
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_wait_keeps_order_delay_and_count() {
    let scene =
        Scene::open(config(), |seq, number| if (seq, number) < (1, 3) { fails(Cause::Refused) } else { delivered() });
    scene.accept(&[1, 1, 2, 1]).await;
    scene.until_settled(1).await;
    scene.pass(SECOND * 5).await;
    scene.until("tried twice", |scene| scene.calls().len() == 3).await;
    assert_eq!(scene.calls(), [(1, 1), (3, 1), (1, 2)]);
    let scene = scene.restart().await;
    scene.accept(&[1]).await;
    // A minute less the real time that the restart took.
    scene.pass(SECOND * 20).await;
    assert_eq!(scene.calls(), [], "the delay goes on where it was");
    scene.pass(SECOND * 40).await;
    scene.until_settled(4).await;
    assert_eq!(scene.calls(), [(1, 3), (2, 1), (4, 1), (5, 1)]);
    scene.ended().await;
}
