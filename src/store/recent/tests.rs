//! Looking at what came lately, and at nothing.

use std::time::Duration;

use super::Accepted;
use crate::clock::Clock;
use crate::store::tests::{Fixture, candidate, settings};
use crate::store::{SinkStore, Store};

#[tokio::test]
async fn who_looks_on_sees_each_event_once_or_learns_how_many_were_missed() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    let (mut last, mut seen, mut skipped, mut random) =
        (fixture.store.accepted_since(None, 1).last, 0, 0, fastrand::Rng::with_seed(1));
    for round in 0..200_u64 {
        let mut events: Vec<_> =
            (0..random.u64(..90)).map(|n| candidate(&fixture.store, n, round << 32 | n, &["a"])).collect();
        // Large, so that the ring turns over.
        events.iter_mut().for_each(|event| event.body = [event.body.as_ref(), &[b' '; 8192]].concat().into());
        fixture.store.accept(events).await.unwrap();
        fixture.sync().await;
        // Only now and then, so that some are missed; a look that takes nothing moves nothing.
        let max = random.usize(1..500) * usize::from(random.u8(..10) == 0);
        let accepted = look(&fixture, last, max);
        assert!(accepted.events.is_sorted_by_key(|accepted| accepted.event.sequence.number));
        assert!(accepted.events.iter().all(|accepted| accepted.event.sequence.number > last));
        (seen, skipped, last) = (seen + accepted.events.len() as u64, skipped + accepted.skipped, accepted.last);
        assert_eq!(seen + skipped, last);
    }
    assert!(seen > 1000 && skipped > 100, "{seen} seen, {skipped} skipped");
    fixture.close().await;
}

#[tokio::test]
async fn a_sink_for_which_there_is_nothing_is_at_the_end_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::open(settings(directory.path()), Clock::default());
    for round in 0..70_u64 {
        let events = (0..50).map(|n| candidate(&fixture.store, n, round << 32 | n, &["a"])).collect();
        fixture.store.accept(events).await.unwrap();
        // Each a commit of its own: more of them than one look reads.
        fixture.sync().await;
    }
    for is_started_anew in [false, true] {
        if is_started_anew {
            fixture.close().await;
            fixture = Fixture::open(settings(directory.path()), Clock::default());
        }
        let page = fixture.queues[1].fresh(0, 10).await.unwrap();
        assert_eq!((page.claimed.len(), page.scanned_to), (0, 3_500), "started anew: {is_started_anew}");
    }
    fixture.store.accept(vec![candidate(&fixture.store, 1, 1 << 60, &["b"])]).await.unwrap();
    fixture.sync().await;
    let page = fixture.queues[1].fresh(3_500, 10).await.unwrap();
    assert_eq!((page.claimed[0].seq, page.scanned_to), (3_501, 3_501));
    fixture.close().await;
}

/// Events that come while a sink looks; every third is for it.
const ROUNDS: u64 = 3_000;

async fn looking(queue: &SinkStore) -> u64 {
    let (mut cursor, mut seen) = (0, 0);
    while seen < ROUNDS / 3 {
        let page = queue.fresh(cursor, 100).await.unwrap();
        seen += page.claimed.len() as u64;
        cursor = page.scanned_to;
        tokio::task::yield_now().await;
    }
    seen
}

async fn coming(store: &Store) {
    for n in 0..ROUNDS {
        let sinks: &[&str] = if n % 3 == 0 { &["a", "b"] } else { &["a"] };
        store.accept(vec![candidate(store, n, n, sinks)]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_while_events_come_misses_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::open(settings(directory.path()), Clock::default());
    let queue = fixture.queues.remove(1);
    let both = async { tokio::join!(looking(&queue), coming(&fixture.store)) };
    let (seen, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it missed some");
    assert_eq!(seen, ROUNDS / 3);
    drop(queue);
    fixture.close().await;
}

fn look(fixture: &Fixture, last: u64, max: usize) -> Accepted {
    match max {
        0 => Accepted { last, ..fixture.store.accepted_since(None, 0) },
        max => fixture.store.accepted_since(Some(last), max),
    }
}
