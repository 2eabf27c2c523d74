//! Dead letters from the settlement to the replay, through the store's own doors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::config::SinkName;
use crate::store::job::tests::run;
use crate::store::tests::{Fixture, candidate, settings};
use crate::store::{Attempt, Change, End, LetterChoice, Order, Settlement, dead_letters, overview};

const HOUR_MS: i64 = 3600 * 1000;

/// A directory with five events for `a`, the first two of them for `b` too: of tokens 7, 8, 7, 9, 9. Dead are 1 (at
/// both), 2 and 4 (at `a`); the others were delivered, but for 3 at `a`, which is pending.
struct Scene {
    directory: tempfile::TempDir,
    clock: Clock,
}

fn dead(seq: u64, cause: &'static str) -> Change {
    let end = End::Dead { cause, reason: format!("reason {seq}") };
    Change::Settle(Settlement { seq, has_waited: true, attempts: 2, body_bytes: 100, end })
}

fn delivered(seq: u64) -> Change {
    Change::Settle(Settlement {
        seq,
        has_waited: true,
        attempts: 1,
        body_bytes: 100,
        end: End::Delivered { status: Some(204) },
    })
}

fn attempt(seq: u64, number: u32, at: Timestamp) -> Change {
    let detail = format!("detail {number}");
    Change::Attempt(Attempt { seq, at, cause: "server", status: Some(503), detail })
}

impl Scene {
    async fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap(), clock: Clock::default() };
        let fixture = scene.open();
        let (both, one): (&[&str], &[&str]) = (&["a", "b"], &["a"]);
        let events = [(7, both), (8, both), (7, one), (9, one), (9, one)];
        let events = (1..).zip(events).map(|(deploy, (token, sinks))| candidate(&fixture.store, token, deploy, sinks));
        fixture.store.accept(events.collect()).await.unwrap();
        fixture.sync().await;
        let now = scene.clock.now();
        let of_a = vec![attempt(1, 1, now), attempt(1, 2, Timestamp(now.0 + 1)), dead(1, "server"), dead(2, "refused")];
        fixture.queues[0].record(of_a).await.unwrap();
        fixture.queues[1].record(vec![dead(1, "timeout"), delivered(2), Change::Low(5)]).await.unwrap();
        fixture.sync().await;
        scene.clock.shift(2 * HOUR_MS);
        fixture.queues[0].record_durably(vec![dead(4, "server"), delivered(5)]).await.unwrap();
        fixture.close().await;
        scene
    }

    fn open(&self) -> Fixture {
        // The policy of `settings` would let go of the older ones at once.
        let mut settings = settings(self.directory.path());
        settings.dead_letters.retention = Duration::from_secs(100 * 3600);
        Fixture::open(settings, self.clock.clone())
    }

    fn letters(&self) -> DeadLetters {
        dead_letters(self.directory.path()).unwrap()
    }

    fn list(&self, filter: &LetterFilter) -> Vec<Listed> {
        let mut found = Vec::new();
        let push = |listed| {
            found.push(listed);
            true
        };
        self.letters().each(filter, self.clock.now(), push).unwrap();
        found
    }

    fn names(&self, filter: &LetterFilter) -> Vec<(u64, String)> {
        self.list(filter).into_iter().map(|listed| (listed.letter.seq, listed.sink.to_string())).collect()
    }

    /// Replays letters of `a`, by a relay that runs for that alone; how many now wait, and did before.
    async fn replay(&self, token_id: Option<&str>) -> (u64, u64) {
        let fixture = self.open();
        let choice =
            LetterChoice { sink: Some("a".to_owned()), token_id: token_id.map(Into::into), ..Default::default() };
        let order = Order::ReplayDeadLetters { choice, skip_superseded: false, rate: None };
        let counts = run(&fixture, order, 9, 9).await.counts;
        fixture.close().await;
        (counts.done, counts.waiting)
    }

    fn count(&self, sql: &str) -> u64 {
        schema::open_reader(self.directory.path()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn sink(name: &str) -> LetterFilter {
    LetterFilter { sink: Some(SinkName(name.into())), ..LetterFilter::default() }
}

#[tokio::test]
async fn letters_are_listed_by_every_filter() {
    let scene = Scene::new().await;
    let all = scene.list(&LetterFilter::default());
    let id = all[0].letter.id;
    let none = LetterFilter::default;
    let cases: [(LetterFilter, &[(u64, &str)]); 8] = [
        (none(), &[(1, "a"), (1, "b"), (2, "a"), (4, "a")]),
        (sink("a"), &[(1, "a"), (2, "a"), (4, "a")]),
        (sink("unknown"), &[]),
        (LetterFilter { id: Some(id), ..none() }, &[(1, "a"), (1, "b")]),
        (LetterFilter { seq: Some(4), ..none() }, &[(4, "a")]),
        (LetterFilter { cause: Some("server".to_owned()), ..none() }, &[(1, "a"), (4, "a")]),
        (LetterFilter { token_id: Some("8".to_owned()), ..none() }, &[(2, "a")]),
        (LetterFilter { older_than: Some(Duration::from_secs(3600)), ..sink("a") }, &[(1, "a"), (2, "a")]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(seq, sink)| (*seq, (*sink).to_owned())).collect();
        assert_eq!(scene.names(&filter), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_letter_has_its_message_its_reason_and_every_attempt() {
    let scene = Scene::new().await;
    let letter = scene.list(&sink("a")).remove(0);
    let body =
        r#"{"data":{"contract_package_hash":"aa","token_id":"7"},"action":"updated","extra":{"deploy_hash":"1"}}"#;
    assert_eq!(letter.body.as_deref(), Some(body.as_bytes()));
    assert_eq!((letter.letter.cause.as_str(), letter.letter.reason.as_str()), ("server", "reason 1"));
    assert_eq!((letter.letter.attempts, letter.routes), (2, vec!["route".to_owned()]));
    let attempts = scene.letters().attempts(&letter.letter).unwrap();
    let brief: Vec<_> = attempts.iter().map(|attempt| (attempt.number, attempt.detail.as_str())).collect();
    assert_eq!(brief, [(1, "detail 1"), (2, "detail 2")]);
}

#[tokio::test]
async fn looking_works_beside_a_running_relay() {
    let scene = Scene::new().await;
    let fixture = scene.open();
    assert_eq!(scene.list(&LetterFilter::default()).len(), 4);
    fixture.close().await;
}

#[tokio::test]
async fn a_replay_makes_letters_wait_until_they_are_delivered() {
    let scene = Scene::new().await;
    assert_eq!(scene.replay(None).await, (3, 0));
    assert_eq!(scene.replay(None).await, (0, 3), "they wait already");

    let fixture = scene.open();
    let found = &fixture.queues[0].found;
    let waiting: Vec<_> = found.waiting.iter().map(|waiting| (waiting.seq, waiting.is_replay)).collect();
    assert_eq!(waiting, [(1, true), (2, true), (4, true)]);
    let pending = &fixture.metrics.sink(&SinkName("a".into())).unwrap().pending;
    assert_eq!(pending.value(), 4, "and 3, which never was settled");
    let loaded = fixture.queues[0].load(1).await.unwrap().content.unwrap().0;
    assert!(Arc::clone(&loaded).body.starts_with(b"{\"data\""));
    fixture.queues[0].record_durably(vec![delivered(1), dead(2, "timeout")]).await.unwrap();
    assert_eq!(pending.value(), 2);
    fixture.close().await;

    let left = scene.names(&LetterFilter::default());
    assert_eq!(left, [(1, "b".to_owned()), (2, "a".to_owned()), (4, "a".to_owned())]);
    assert_eq!(scene.list(&LetterFilter { seq: Some(2), ..sink("a") })[0].letter.cause, "timeout");
    assert_eq!(scene.count("SELECT count(*) FROM dead_body"), 3, "that of 1 is still b's");
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 0, "those of 1 at a went with the letter");
}

#[tokio::test]
async fn a_letter_that_waits_outlives_the_policy() {
    let scene = Scene::new().await;
    assert_eq!(scene.replay(Some("7")).await, (1, 0));
    scene.clock.shift(1000 * HOUR_MS);
    let fixture = scene.open();
    for _ in 0..3 {
        fixture.store.tick().await.unwrap();
    }
    fixture.close().await;
    assert_eq!(scene.names(&LetterFilter::default()), [(1, "a".to_owned())]);
    let fixture = scene.open();
    assert!(fixture.queues[0].load(1).await.unwrap().content.is_ok());
    fixture.queues[0].record_durably(vec![delivered(1)]).await.unwrap();
    fixture.close().await;
    assert_eq!(scene.names(&LetterFilter::default()), []);
    assert_eq!(scene.count("SELECT count(*) FROM dead_body"), 0);
}

/// A page is what one would get by walking through all of them, whatever its size, and the counts are those of the rows.
#[tokio::test]
async fn pages_give_every_letter_once_and_the_counts_are_exact() {
    let (directory, mut random) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(6));
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    let events = (1..=300).map(|n| candidate(&fixture.store, n % 9, n, &["a", "b", "c"]));
    fixture.store.accept(events.collect()).await.unwrap();
    fixture.sync().await;
    for queue in &fixture.queues {
        let dies = |seq: &u64| seq.is_multiple_of(random.u64(1..=4));
        let changes = (1..=300).filter(dies).map(|seq| dead(seq, if seq % 2 == 0 { "server" } else { "refused" }));
        queue.record_durably(changes.collect()).await.unwrap();
    }
    // A replay that dies again is one letter still, and one that arrives is none any more.
    let letters = dead_letters(directory.path()).unwrap();
    let first = letters.page(&LetterFilter::default(), None, 2, Timestamp(0)).unwrap().letters;
    let again = first.iter().map(|listed| (listed.letter.sink, listed.letter.seq));
    for ((sink, seq), change) in again.zip([dead as fn(u64, &'static str) -> Change, |seq, _| delivered(seq)]) {
        let queue = fixture.queues.iter().find(|queue| queue.id == sink).unwrap();
        queue.record_durably(vec![change(seq, "timeout")]).await.unwrap();
    }
    for cause in [None, Some("server"), Some("timeout"), Some("no such cause")] {
        let filter = LetterFilter { cause: cause.map(str::to_owned), ..LetterFilter::default() };
        let all = walked(&letters, &filter);
        for max in [1, 2, 7, 1000] {
            assert_eq!(paged(&letters, &filter, max), all, "{cause:?}, {max} a page");
        }
    }
    let mut expected = BTreeMap::new();
    walked(&letters, &LetterFilter::default())
        .into_iter()
        .for_each(|(_, sink)| *expected.entry(sink).or_insert(0) += 1);
    let counted = overview(directory.path(), &BTreeSet::new())
        .unwrap()
        .sinks
        .into_iter()
        .map(|(name, found)| (name, found.dead_letters));
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), expected);
    fixture.close().await;
}

fn walked(letters: &DeadLetters, filter: &LetterFilter) -> Vec<(u64, SinkName)> {
    let mut found = Vec::new();
    letters
        .each(filter, Timestamp(0), |listed| {
            found.push((listed.letter.seq, listed.sink));
            true
        })
        .unwrap();
    found
}

fn paged(letters: &DeadLetters, filter: &LetterFilter, max: usize) -> Vec<(u64, SinkName)> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = letters.page(filter, from, max, Timestamp(0)).unwrap();
        assert!(page.letters.len() <= max);
        found.extend(page.letters.into_iter().map(|listed| (listed.letter.seq, listed.sink)));
        // As a client does, by way of text.
        let Some(next) = page.next else { return found };
        from = Some(next.to_string().parse::<Position>().unwrap());
    }
}
