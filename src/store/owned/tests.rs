//! Marks, dues and holdings across restarts and kills: each is there exactly if the event that goes with it is.

use std::path::Path;

use super::*;
use crate::clock::Clock;
use crate::store::tests::{Fixture, candidate, settings};

fn cause(n: u8) -> Arc<Cause> {
    Arc::new(Cause { event: EventId([n; 16]), deploy_hash: Some("dd".into()), token_id: None })
}

fn mark(owner: &str, n: u8) -> Mark {
    Mark { package: "p".into(), owner: owner.into(), cause: cause(n) }
}

fn holding(owner: &str, tokens: u64) -> Holding {
    Holding { package: "p".into(), owner: owner.into(), owner_type: Some(1), tokens, revision: 7 }
}

fn open(path: &Path) -> Fixture {
    Fixture::open(settings(path), Clock::default())
}

async fn owners(fixture: &Fixture) -> Vec<(String, u8, u32)> {
    let dues = fixture.store.marked().await.dues;
    let mut told: Vec<_> = dues.into_iter().map(|(due, marks)| (due.owner.to_string(), due.looks, marks)).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_outlives_restarts_until_it_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = open(directory.path());
    let event = candidate(&fixture.store, 1, 1, &["a"]);
    fixture.store.accept_marking(vec![event], vec![mark("a", 1), mark("b", 1), mark("a", 2)]).await.unwrap();
    assert_eq!(owners(&fixture).await, [("a".to_owned(), 0, 2), ("b".to_owned(), 0, 1)]);
    fixture.close().await;

    let fixture = open(directory.path());
    let dues = fixture.store.marked().await.dues;
    assert_eq!(
        dues.iter().map(|(due, _)| (&*due.owner, due.cause.clone())).collect::<Vec<_>>(),
        [("b", Some(cause(1))), ("a", Some(cause(2)))]
    );
    let [(b, _), (a, _)] = <[_; 2]>::try_from(dues).unwrap();
    let again = Due { looks: 1, ..a };
    fixture.store.observe(vec![Observed::Settled(b), Observed::Again(again)], Vec::new()).await.unwrap();
    fixture.close().await;

    let fixture = open(directory.path());
    assert_eq!(owners(&fixture).await, [("a".to_owned(), 1, 1)]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_settles_nothing_that_was_marked_since() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = open(directory.path());
    fixture.store.accept_marking(Vec::new(), vec![mark("a", 1)]).await.unwrap();
    let (asked, _) = fixture.store.marked().await.dues.remove(0);
    assert_eq!(fixture.store.begin_asking(&asked), Some((asked.clone(), 0)));
    assert_eq!(fixture.store.begin_asking(&asked), None, "it has begun");
    fixture.store.accept_marking(Vec::new(), vec![mark("a", 2)]).await.unwrap();
    let late = [Observed::Again(Due { looks: 2, ..asked.clone() }), Observed::Settled(asked)];
    fixture.store.observe(late.to_vec(), Vec::new()).await.unwrap();
    assert_eq!(owners(&fixture).await, [("a".to_owned(), 0, 1)]);
    let missed = ["a", "c"].map(|owner| Observed::Missed { package: "p".into(), owner: owner.into() });
    fixture.store.observe(missed.to_vec(), Vec::new()).await.unwrap();
    assert_eq!(owners(&fixture).await, [("c".to_owned(), 0, 1)], "who is due already stays as he is");
    fixture.close().await;
    let fixture = open(directory.path());
    let left = owners(&fixture).await;
    assert_eq!(left, [("a".to_owned(), 0, 1), ("c".to_owned(), 0, 1)]);
    fixture.store.observe(vec![Observed::Unwatched { package: "p".into() }], Vec::new()).await.unwrap();
    fixture.close().await;
    let fixture = open(directory.path());
    fixture.store.accept_marking(Vec::new(), vec![mark("z", 1)]).await.unwrap();
    assert_eq!(owners(&fixture).await, [("z".to_owned(), 0, 1)]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_who_waits_already_join_and_cost_no_row() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = open(directory.path());
    fixture.store.accept_marking(Vec::new(), vec![mark("a", 1), mark("b", 1)]).await.unwrap();
    let dues = fixture.store.marked().await.dues;
    for n in 2..=4 {
        fixture.store.accept_marking(Vec::new(), vec![mark("a", n)]).await.unwrap();
    }
    fixture.store.accept_marking(Vec::new(), vec![mark("c", 5)]).await.unwrap();
    assert_eq!(owners(&fixture).await, [("c".to_owned(), 0, 1)], "those who joined wake nobody");
    let [(a, _), (b, _)] = <[_; 2]>::try_from(dues).unwrap();
    assert_eq!(fixture.store.begin_asking(&a), Some((Due { cause: Some(cause(4)), ..a.clone() }, 3)));
    fixture.store.observe(vec![Observed::Unwatched { package: "q".into() }], Vec::new()).await.unwrap();
    assert_eq!(fixture.store.begin_asking(&b), Some((b, 0)), "another package was let go");
    fixture.close().await;

    let fixture = open(directory.path());
    let causes: Vec<_> = fixture.store.marked().await.dues.into_iter().map(|(due, _)| due.cause).collect();
    assert_eq!(causes, [Some(cause(1)), Some(cause(1)), Some(cause(5))], "the rows are those of the first marks");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mark_joins_a_due_whose_row_goes_or_that_has_looks_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = open(directory.path());
    fixture.store.accept_marking(Vec::new(), vec![mark("gone", 1), mark("asked", 1)]).await.unwrap();
    let [(gone, _), (asked, _)] = <[_; 2]>::try_from(fixture.store.marked().await.dues).unwrap();
    let walked = Observed::Walked { package: "p".into(), dues_to: gone.number };
    fixture.store.observe(vec![walked, Observed::Again(Due { looks: 1, ..asked })], Vec::new()).await.unwrap();
    fixture.store.accept_marking(Vec::new(), vec![mark("gone", 2)]).await.unwrap();
    assert_eq!(owners(&fixture).await, [("gone".to_owned(), 0, 1)]);
    fixture.close().await;

    let fixture = open(directory.path());
    assert_eq!(owners(&fixture).await, [("asked".to_owned(), 1, 1), ("gone".to_owned(), 0, 1)]);
    fixture.store.accept_marking(Vec::new(), vec![mark("asked", 3)]).await.unwrap();
    assert_eq!(owners(&fixture).await, [("asked".to_owned(), 0, 1)], "it is looked at twice more from now on");
    fixture.close().await;
}

/// Whichever comes first: a mark is among those that the question is about, or it is written.
#[test]
fn a_mark_joins_before_the_question_begins_or_not_at_all() {
    let due = Due { package: "p".into(), owner: "a".into(), number: 1, looks: 0, cause: Some(cause(1)) };
    for _ in 0..2_000 {
        let inbox = Inbox::default();
        inbox.put(vec![due.clone()]);
        let (question, has_joined) = std::thread::scope(|scope| {
            let joining = scope.spawn(|| inbox.join(&mark("a", 2)));
            let question = inbox.begin(&due).unwrap();
            (question, joining.join().unwrap())
        });
        let expected = if has_joined { (2, Some(cause(2))) } else { (1, Some(cause(1))) };
        assert_eq!((question.1, question.0.cause), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holdings_are_kept_with_the_events_about_them() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = open(directory.path());
    let package: Arc<str> = "p".into();
    assert!(!fixture.store.is_walked(&package).await.unwrap());
    let many: Vec<Observed> = (0..5_000).map(|n| Observed::Holding(holding(&format!("o{n}"), n + 1))).collect();
    let event = candidate(&fixture.store, 1, 1, &["a"]);
    assert_eq!(fixture.store.next_place().number, 1);
    fixture.store.observe(many, vec![event]).await.unwrap();
    assert_eq!(fixture.store.next_place().number, 2, "it returns when the event is durable");
    let gone = vec![
        Observed::Holding(holding("o7", 0)),
        Observed::Holding(holding("o8", 80)),
        Observed::Walked { package: Arc::clone(&package), dues_to: 0 },
    ];
    fixture.store.observe(gone, Vec::new()).await.unwrap();
    assert_eq!(fixture.store.holding(&package, &"o7".into()).await.unwrap(), None);
    assert_eq!(fixture.store.holding(&package, &"o8".into()).await.unwrap(), Some(holding("o8", 80)));
    assert_eq!(fixture.store.holdings(&package).await.unwrap().len(), 4_999);
    assert!(fixture.store.holdings(&"q".into()).await.unwrap().is_empty());
    fixture.close().await;

    let found = holdings(directory.path(), Some("p"), None).unwrap();
    assert_eq!((found.len(), found[0].tokens, found[4_998].tokens), (4_999, 5_000, 1));
    assert_eq!(holdings(directory.path(), None, Some("o8")).unwrap(), [holding("o8", 80)]);
    assert!(holdings(directory.path(), Some("q"), Some("o8")).unwrap().is_empty());
    let fixture = open(directory.path());
    assert!(fixture.store.is_walked(&package).await.unwrap());
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_counts_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = open(directory.path());
    fixture.store.accept_marking(Vec::new(), vec![mark("a", 1)]).await.unwrap();
    fixture.store.observe(vec![Observed::Holding(holding("a", 3))], Vec::new()).await.unwrap();
    fixture.close().await;
    let connection = Connection::open(directory.path().join(schema::FILE)).unwrap();
    connection.execute_batch("UPDATE due SET row = substr(row, 2); UPDATE holding SET row = substr(row, 2)").unwrap();
    drop(connection);
    let fixture = open(directory.path());
    assert_eq!(fixture.store.holding(&"p".into(), &"a".into()).await.unwrap(), None);
    fixture.store.accept_marking(Vec::new(), vec![mark("b", 1)]).await.unwrap();
    assert_eq!(owners(&fixture).await, [("b".to_owned(), 0, 1)]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_place_in_memory_is_told_by_its_package() {
    let inbox = Inbox::default();
    let dues = (1..=50_003).map(|number| Due {
        package: "p".into(),
        owner: format!("o{number}").into(),
        number,
        looks: 0,
        cause: None,
    });
    inbox.put(dues.collect());
    let marked = inbox.take().await;
    assert_eq!((marked.dues.len(), marked.packages.get("p")), (50_000, Some(&50_003)));
}
