//! A sink over its quota.

use super::*;

/// Room for about `events` of the fixture's events, which are of one size.
fn quota(events: u64, on_full: OnFull) -> SinkConfig {
    let bytes =
        r#"{"data":{"contract_package_hash":"aa","token_id":"1"},"action":"updated","extra":{"deploy_hash":""}}"#;
    SinkConfig {
        backlog: BacklogConfig { max_bytes: events * (bytes.len() as u64 + 20), on_full },
        concurrency: 2,
        ..config()
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_expire_first_and_are_counted() {
    let scene = Scene::open(quota(10, OnFull::Expire), |_, _| Act::Wait);
    scene.accept(&[1, 2]).await;
    scene.until("in flight", |scene| scene.calls().len() == 2).await;
    scene.accept(&(100..128).collect::<Vec<_>>()).await;
    scene.until("expired", |scene| scene.metrics.pending_bytes.value() <= scene.config.backlog.max_bytes).await;
    scene.settled().await;
    let expired = scene.metrics.expired.value();
    let pending = 30 - expired;
    assert!((9..=12).contains(&pending), "no more expires than the quota asks for: {pending} are left");
    scene.sink.gate.add_permits(100);
    scene.until_settled(30).await;
    let expected: Vec<u64> = (1..=2).chain(2 + expired + 1..=30).collect();
    let mut seqs = scene.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, expected, "what was in flight stays, then the oldest went");
    assert_eq!(scene.ends(), [30 - expired, 0, expired]);
    let scene = scene.restart().await;
    scene.settled().await;
    assert_eq!((scene.calls().len(), scene.metrics.pending.value()), (0, 0));
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_one_expires_with_its_lane_in_order() {
    let scene =
        Scene::open(quota(10, OnFull::Expire), |seq, _| if seq == 1 { fails(Cause::Refused) } else { Act::Wait });
    scene.accept(&[1]).await;
    scene.until("waiting", |scene| scene.metrics.waiting.value() == 1).await;
    scene.accept(&[1; 20]).await;
    scene.until("expired", |scene| scene.metrics.pending_bytes.value() <= scene.config.backlog.max_bytes).await;
    scene.sink.gate.add_permits(100);
    scene.until_settled(21).await;
    let seqs = scene.seqs();
    assert!(seqs.is_sorted() && seqs.last() == Some(&21), "{seqs:?}");
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn told_to_wait_it_makes_intake_wait_until_there_is_room() {
    let scene = Scene::open(quota(10, OnFull::Wait), |_, _| Act::Wait);
    scene.accept(&(0..20).collect::<Vec<_>>()).await;
    // Over the quota now: the next ones are taken, but not accepted.
    let late = vec![candidate(&scene.fixture.store, 99, 99, &["a"])];
    scene.fixture.store.accept(late).await.unwrap();
    scene.until("waiting", |scene| scene.fixture.metrics.store.intake_waits.value() == 1).await;
    scene.settled().await;
    assert_eq!(scene.fixture.metrics.intake.accepted.value(), 20);
    scene.sink.gate.add_permits(100);
    let began = clock::monotonic();
    while scene.fixture.metrics.intake.accepted.value() == 20 {
        assert!(began.elapsed() < PATIENCE, "intake still waits");
        scene.fixture.store.tick().await.unwrap();
        tokio::task::yield_now().await;
    }
    scene.until_settled(21).await;
    assert_eq!(scene.ends(), [21, 0, 0], "nothing expired");
    scene.ended().await;
}
