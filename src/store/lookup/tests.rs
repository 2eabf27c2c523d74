//! Every accepted id and token is found, and nothing else: before and after indexing, restarts, retention and damage.

use std::collections::HashMap;
use std::path::Path;
use std::task::Poll;

use super::*;
use crate::clock::Clock;
use crate::event::{Facts, Stream, token_lane};
use crate::store::Token;
use crate::store::tests::{Fixture, candidate, settings};
use crate::store::{Change, End, Settlement, events, schema};

const TOKENS: u64 = 20;

/// What was accepted: by sequence number less one, the id and the token.
#[derive(Default)]
struct Model {
    events: Vec<(EventId, u64)>,
    /// The numbers before this one are gone.
    from: u64,
}

impl Model {
    /// Accepts `count` events in commits of random sizes.
    async fn accept(&mut self, fixture: &Fixture, count: usize, random: &mut fastrand::Rng) {
        let end = self.events.len() + count;
        while self.events.len() < end {
            let size = random.usize(1..=50).min(end - self.events.len());
            let deploys = self.events.len() as u64..;
            let batch: Vec<_> =
                deploys.take(size).map(|n| candidate(&fixture.store, random.u64(..TOKENS), n, &["a"])).collect();
            let token = |facts: &Facts| facts.token_id.as_deref().unwrap().parse::<u64>().unwrap();
            self.events.extend(batch.iter().map(|event| (event.identity.id, token(&event.facts))));
            fixture.store.accept(batch).await.unwrap();
            fixture.sync().await;
        }
    }

    fn kept(&self) -> impl Iterator<Item = (u64, EventId, u64)> {
        (1..).zip(&self.events).map(|(seq, (id, token))| (seq, *id, *token)).skip_while(|(seq, ..)| *seq < self.from)
    }

    /// Finds everything that is there and nothing else; says how many damaged rows that met.
    fn check(&self, directory: &Path) -> u64 {
        let events = events(directory).unwrap();
        let mut tokens = HashMap::<u64, Vec<u64>>::new();
        let connection = schema::open_to_look(directory).unwrap();
        for (seq, id, token) in self.kept() {
            let newest = newest_of_ids(&connection, &HashSet::from([id])).unwrap();
            assert_eq!(newest, HashMap::from([(id, seq)]));
            assert_eq!(events.find_id(id).unwrap(), Some(seq));
            tokens.entry(token).or_default().insert(0, seq);
        }
        for (_, (id, _)) in (1..self.from).zip(&self.events) {
            assert_eq!(events.find_id(*id).unwrap(), None);
        }
        for token in 0..TOKENS + 5 {
            let expected = tokens.remove(&token).unwrap_or_default();
            let id = token.to_string();
            let find = |max| events.find_token(Token { contract_package: "aa", token_id: &id }, None, max).unwrap();
            assert_eq!(find(usize::MAX), expected, "token {token}");
            let lane = token_lane(Stream::NftTokens, "aa", &id).unwrap();
            let newest = newest_of_lanes(&connection, &HashSet::from([lane, 7])).unwrap();
            assert_eq!(newest, expected.first().map(|seq| (lane, *seq)).into_iter().collect(), "token {token}");
            let last = self.events.len() as u64 / 2;
            let up_to = events.find_token(Token { contract_package: "aa", token_id: &id }, Some(last), usize::MAX);
            let older: Vec<u64> = expected.iter().copied().filter(|seq| *seq <= last).collect();
            assert_eq!(up_to.unwrap(), older, "token {token} up to {last}");
            assert_eq!(find(2), expected.into_iter().take(2).collect::<Vec<_>>(), "token {token}");
        }
        assert_eq!(events.find_id(EventId([9; 16])).unwrap(), None);
        assert!(events.find_token(Token { contract_package: "bb", token_id: "1" }, None, 1).unwrap().is_empty());
        events.damaged_rows()
    }
}

fn execute(directory: &Path, sql: &str) -> usize {
    rusqlite::Connection::open(directory.join(schema::FILE)).unwrap().execute(sql, []).unwrap()
}

fn indexed(directory: &Path) -> u64 {
    indexed_end(&schema::open_reader(directory).unwrap()).unwrap()
}

async fn tick(fixture: &Fixture, times: usize) {
    for _ in 0..times {
        fixture.store.tick().await.unwrap();
        // The writer looks after itself when it has answered; the second answer says that this is done.
        fixture.sync().await;
        fixture.sync().await;
    }
}

#[tokio::test]
async fn all_is_found_before_and_after_indexing_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::default(), fastrand::Rng::with_seed(7));
    for ticks in [0, 1, 3, 9] {
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        model.accept(&fixture, 150, &mut random).await;
        assert_eq!(model.check(directory.path()), 0);
        tick(&fixture, ticks).await;
        assert_eq!(model.check(directory.path()), 0);
        fixture.close().await;
        assert_eq!(model.check(directory.path()), 0);
    }
    assert_eq!(indexed(directory.path()), 600 / RANGE * RANGE + 1, "all closed ranges are indexed");
}

#[tokio::test]
async fn a_range_whose_index_was_begun_is_searched_without_and_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::default(), fastrand::Rng::with_seed(8));
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    model.accept(&fixture, 300, &mut random).await;
    tick(&fixture, 9).await;
    fixture.close().await;
    let end = indexed(directory.path());
    // What a crash leaves after one command, after the next, and so on; the last one completes the range.
    let commits = 2 * BUCKETS as usize / COMMIT_ROWS_MAX;
    for rows in (0..commits).rev().map(|commit| commit * COMMIT_ROWS_MAX) {
        let newest = end - RANGE;
        let sql = format!("DELETE FROM lookup WHERE first = {newest} AND (kind - 1) * {BUCKETS} + bucket >= {rows}");
        assert!(execute(directory.path(), &sql) > 0);
        assert_eq!(indexed(directory.path()), newest);
        assert_eq!(model.check(directory.path()), 0);
    }
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    tick(&fixture, 1).await;
    assert_eq!(indexed(directory.path()), end);
    assert_eq!(model.check(directory.path()), 0);
    fixture.close().await;
}

/// Polls a future so many times, with time for the threads in between.
async fn poll(mut future: std::pin::Pin<&mut impl Future>, times: usize, fixture: &Fixture) {
    for _ in 0..times {
        let is_ready = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready()));
        if is_ready.await {
            return;
        }
        fixture.sync().await;
    }
}

#[tokio::test]
async fn an_abandoned_tick_leaves_a_range_without_index_or_with_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::default(), fastrand::Rng::with_seed(9));
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    model.accept(&fixture, 300, &mut random).await;
    for polls in 0..15 {
        poll(std::pin::pin!(fixture.store.tick()), polls, &fixture).await;
        assert_eq!(model.check(directory.path()), 0);
    }
    tick(&fixture, 9).await;
    assert_eq!(indexed(directory.path()), 300 / RANGE * RANGE + 1);
    assert_eq!(model.check(directory.path()), 0);
    fixture.close().await;
}

#[tokio::test]
async fn a_damaged_or_missing_row_is_said_and_changes_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::default(), fastrand::Rng::with_seed(10));
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    model.accept(&fixture, 300, &mut random).await;
    tick(&fixture, 9).await;
    fixture.close().await;
    assert_eq!(model.check(directory.path()), 0);
    let damages = [
        format!("UPDATE lookup SET row = zeroblob(length(row)) WHERE first = {}", RANGE + 1),
        format!("UPDATE lookup SET row = substr(row, 1, length(row) - 1) WHERE first = {}", 2 * RANGE + 1),
        "DELETE FROM lookup WHERE first = 1 AND bucket = 3".to_owned(),
        "UPDATE lookup SET bucket = bucket + 100 WHERE first = 1 AND bucket = 5".to_owned(),
    ];
    let mut met = 0;
    for damage in damages {
        assert!(execute(directory.path(), &damage) > 0);
        let now = model.check(directory.path());
        assert!(now > met, "{damage}");
        met = now;
    }
}

#[tokio::test]
async fn an_index_goes_with_its_range() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::default(), fastrand::Rng::with_seed(11));
    let clock = Clock::default();
    let fixture = Fixture::open(settings(directory.path()), clock.clone());
    model.accept(&fixture, 400, &mut random).await;
    tick(&fixture, 4).await;
    let end = End::Delivered { status: None };
    let settle =
        |seq| Change::Settle(Settlement { seq, has_waited: true, attempts: 1, body_bytes: 100, end: end.clone() });
    fixture.queues[0].record((1..=400).map(settle).chain([Change::Low(400)]).collect()).await.unwrap();
    for queue in &fixture.queues[1..] {
        queue.record(vec![Change::Low(400)]).await.unwrap();
    }
    clock.shift(2 * 3600 * 1000);
    model.accept(&fixture, 100, &mut random).await;
    tick(&fixture, 20).await;
    let reader = schema::open_reader(directory.path()).unwrap();
    model.from = extent(&reader).unwrap().unwrap().0;
    assert!(model.from > 300, "retention removes batches");
    let oldest: u64 = reader.query_row("SELECT min(first) FROM lookup", [], |row| row.get(0)).unwrap();
    assert_eq!(oldest, range_of(model.from));
    assert_eq!(model.check(directory.path()), 0);
    fixture.close().await;
    assert_eq!(model.check(directory.path()), 0);
}

#[test]
fn colliding_heads_are_told_apart_by_the_row_and_the_batch_record() {
    let entries = vec![(5 << 60, 3), (5 << 60, 1), (6 << 60, 2), ((5 << 60) + 1, 0)];
    let rows = cut(Kind::Id, 65, entries);
    let row = &rows[bucket(5 << 60) as usize].row;
    assert_eq!(seqs(Kind::Id, 65, 5 << 60, row), Ok(vec![66, 68]));
    assert_eq!(seqs(Kind::Id, 65, (5 << 60) + 2, row), Ok(vec![]));
    assert_eq!(seqs(Kind::Lane, 65, 5 << 60, row), Err(Damaged), "of another kind");
    assert_eq!(seqs(Kind::Id, 1, 5 << 60, row), Err(Damaged), "of another range");
}
