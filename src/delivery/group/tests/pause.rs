//! What a pause stops, what it does not cost, and what ends it.

use super::*;

fn maintenance(scene: &Scene) -> Option<Paused> {
    let since = scene.fixture.clock.now();
    Some(Paused { since, by: PausedBy::Operator, reason: "maintenance".to_owned() })
}

#[tokio::test(start_paused = true)]
async fn a_pause_survives_a_restart_and_costs_nothing() {
    let scene = Scene::open(config(), |_, _| delivered());
    let paused = maintenance(&scene);
    assert_eq!(scene.set_paused(paused.clone()).await, None);
    scene.accept(&[1, 1, 2]).await;
    scene.pass(SECOND * 3600 * 100).await;
    assert_eq!((scene.calls(), scene.metrics.paused.value()), (Vec::new(), 1));
    let scene = scene.restart().await;
    scene.pass(SECOND * 3600 * 100).await;
    assert_eq!(scene.calls(), []);
    assert_eq!(scene.set_paused(None).await, paused, "it is told why it was paused");
    scene.until_settled(3).await;
    assert_eq!((scene.ends(), scene.metrics.paused.value()), ([3, 0, 0], 0));
    let scene = scene.restart().await;
    scene.accept(&[3]).await;
    scene.until_settled(1).await;
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_under_way_end_as_they_began() {
    let scene = Scene::open(config(), |_, _| Act::Wait);
    scene.accept(&[1, 2]).await;
    scene.until("under way", |scene| scene.sink.in_flight.load(Atomic::SeqCst) == 2).await;
    scene.set_paused(maintenance(&scene)).await;
    scene.sink.gate.add_permits(2);
    scene.until_settled(2).await;
    scene.accept(&[3]).await;
    scene.pass(SECOND * 60).await;
    assert_eq!(scene.calls().len(), 2);
    scene.ended().await;
}

/// Nothing of the time of a pause counts: not for the schedule, and not for how long a failing event holds its lane.
#[tokio::test(start_paused = true)]
async fn a_failing_head_keeps_its_lane_over_a_pause() {
    let scene = Scene::open(config(), |seq, number| match (seq, number) {
        (1, 1 | 2) => fails(Cause::Server),
        _ => delivered(),
    });
    scene.accept(&[1, 1]).await;
    scene.until("failed", |scene| scene.metrics.waiting.value() == 1).await;
    scene.set_paused(maintenance(&scene)).await;
    scene.pass(SECOND * 3600).await;
    scene.set_paused(None).await;
    scene.until("tried again", |scene| scene.calls().len() == 2).await;
    assert_eq!(scene.calls(), [(1, 1), (1, 2)], "the second event still waits for the first");
    scene.pass(SECOND * 60).await;
    scene.until_settled(2).await;
    assert_eq!(scene.calls(), [(1, 1), (1, 2), (1, 3), (2, 1)]);
    scene.ended().await;
}

/// A pause that the destination itself caused is over when the sink is corrected; one of an operator is not.
#[tokio::test(start_paused = true)]
async fn a_corrected_sink_goes_on_unless_an_operator_paused_it() {
    for by in [PausedBy::Operator, PausedBy::Destination] {
        let scene = Scene::open(config(), |_, _| delivered());
        scene.set_paused(maintenance(&scene).map(|paused| Paused { by, ..paused })).await;
        scene.accept(&[1]).await;
        let setup = Setup { config: config(), sink: Arc::clone(&scene.sink) as Arc<dyn Sink> };
        scene.setup.send_replace(setup);
        match by {
            PausedBy::Operator => scene.pass(SECOND * 60).await,
            PausedBy::Destination => scene.until_settled(1).await,
        }
        let delivered = scene.calls().len();
        let scene = scene.restart().await;
        scene.pass(SECOND * 60).await;
        let expected = usize::from(by == PausedBy::Destination);
        assert_eq!((delivered, scene.calls().len()), (expected, 0), "{by:?}");
        scene.ended().await;
    }
}
