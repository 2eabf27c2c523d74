//! When somebody is asked for, with a clock that stands still.

use super::*;
use crate::event::EventId;
use crate::store::Cause;

const SETTLE: Duration = Duration::from_secs(2);

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn due(owner: &str, number: u64) -> Due {
    let cause = Some(Arc::new(Cause { event: EventId([1; 16]), deploy_hash: None, token_id: None }));
    Due { package: "p".into(), owner: owner.into(), number, looks: 0, cause }
}

fn marked(dues: &[(&str, u64)]) -> Marked {
    let dues = dues.iter().map(|(owner, number)| (due(owner, *number), 1)).collect();
    Marked { dues, packages: HashMap::new() }
}

/// A schedule of the package `p`, whose first walk over `owners` is over.
fn walked(owners: usize) -> Schedule {
    let mut schedule = Schedule::new(SETTLE);
    schedule.watch("p".into(), true);
    schedule.walked("p", owners, Instant::now());
    schedule
}

fn owners(schedule: &mut Schedule) -> Vec<String> {
    std::iter::from_fn(|| schedule.take_ripe(Instant::now())).map(|pending| pending.due.owner.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_burst_to_one_owner_is_one_question_after_it_has_settled() {
    let (mut schedule, start) = (walked(1), Instant::now());
    for number in 0..10_000 {
        schedule.mark(marked(&[("a", number)]), Instant::now());
        if number % 1_000 == 0 {
            tokio::time::advance(Duration::from_millis(150)).await;
        }
    }
    assert_eq!(start.elapsed(), Duration::from_millis(1_500));
    assert_eq!(owners(&mut schedule), [""; 0]);
    assert_eq!(schedule.next_at(true), Some(start + SETTLE), "later marks do not put it off");
    tokio::time::advance(second(1)).await;
    let pending = schedule.take_ripe(Instant::now()).unwrap();
    assert_eq!((pending.marks, pending.due.number), (10_000, 9_999));
    assert_eq!(schedule.next_at(true), None);
}

#[tokio::test(start_paused = true)]
async fn who_is_marked_while_being_asked_for_is_asked_for_once_more() {
    let mut schedule = walked(1);
    schedule.mark(marked(&[("a", 1)]), Instant::now());
    tokio::time::advance(SETTLE).await;
    let asked = schedule.take_ripe(Instant::now()).unwrap();
    schedule.mark(marked(&[("a", 2)]), Instant::now());
    tokio::time::advance(SETTLE).await;
    assert_eq!(owners(&mut schedule), [""; 0], "never twice at the same time");
    schedule.answered(&asked.key());
    schedule.again(asked, Instant::now() + second(60));
    let again = schedule.take_ripe(Instant::now()).unwrap();
    assert_eq!((again.due.number, again.marks), (2, 1), "the answer to the first says nothing of the second");
}

#[tokio::test(start_paused = true)]
async fn a_mark_brings_a_later_look_forward() {
    let mut schedule = walked(1);
    schedule.mark(marked(&[("a", 1)]), Instant::now());
    tokio::time::advance(SETTLE).await;
    let asked = schedule.take_ripe(Instant::now()).unwrap();
    schedule.answered(&asked.key());
    schedule.again(asked, Instant::now() + second(60));
    schedule.mark(marked(&[("a", 2)]), Instant::now());
    tokio::time::advance(SETTLE).await;
    let again = schedule.take_ripe(Instant::now()).unwrap();
    assert_eq!((again.due.number, again.marks), (2, 2), "what the first look did not explain counts on");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_before_the_first_walk() {
    let mut schedule = Schedule::new(SETTLE);
    schedule.watch("p".into(), false);
    schedule.walk_at("p", Instant::now(), 0);
    schedule.mark(marked(&[("a", 1)]), Instant::now());
    schedule.mark(
        Marked { dues: vec![(Due { package: "q".into(), ..due("b", 2) }, 1)], ..Marked::default() },
        Instant::now(),
    );
    assert_eq!(schedule.len(), 1, "what nobody watches is left out");
    tokio::time::advance(SETTLE).await;
    assert_eq!(owners(&mut schedule), [""; 0]);
    let (package, _, held) = schedule.take_walk(Instant::now()).unwrap();
    assert_eq!((&*package, held.len()), ("p", 1), "the walk stands for it");
    schedule.mark(marked(&[("b", 2)]), Instant::now());
    tokio::time::advance(SETTLE).await;
    assert_eq!((owners(&mut schedule), schedule.next_at(true)), (vec![], None), "the end of the walk wakes");
    schedule.walked("p", 2, Instant::now());
    assert_eq!(owners(&mut schedule), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn many_owners_of_a_small_collection_are_one_walk() {
    // (owners of the collection, how many of them are due, how many are asked for one by one)
    for (all, many, asked) in [(100, 4, 4), (100, 5, 0), (2_500, 20, 20), (2_500, 25, 0)] {
        let mut schedule = walked(all);
        let names: Vec<String> = (0..many).map(|n| format!("o{n}")).collect();
        let dues: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
        schedule.mark(marked(&dues), Instant::now());
        tokio::time::advance(SETTLE).await;
        assert_eq!(owners(&mut schedule).len(), asked, "{many} of {all}");
        let walk = schedule.take_walk(Instant::now());
        assert_eq!(walk.map_or(0, |(_, _, held)| held.len()), many - asked);
    }
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_place_makes_a_walk_and_is_answered_by_it() {
    let mut schedule = walked(10);
    let marks = Marked { packages: HashMap::from([("p".into(), 77)]), ..Marked::default() };
    schedule.mark(marks, Instant::now());
    tokio::time::advance(SETTLE).await;
    let (package, ..) = schedule.take_walk(Instant::now()).unwrap();
    assert!(schedule.take_walk(Instant::now()).is_none(), "one at a time");
    assert_eq!(schedule.walked(&package, 10, Instant::now()), 77);
    let again = schedule.next_at(true).unwrap();
    assert_eq!(again.duration_since(Instant::now()), WALK_AGAIN, "REST may have lagged behind");
    tokio::time::advance(WALK_AGAIN).await;
    schedule.take_walk(Instant::now()).unwrap();
    assert_eq!((schedule.walked(&package, 10, Instant::now()), schedule.next_at(true)), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_package_that_is_no_longer_watched_is_forgotten() {
    let mut schedule = walked(10);
    schedule.mark(marked(&[("a", 1), ("b", 2)]), Instant::now());
    tokio::time::advance(SETTLE).await;
    let asked = schedule.take_ripe(Instant::now()).unwrap();
    schedule.walk_at("p", Instant::now(), 0);
    schedule.forget("p");
    schedule.answered(&asked.key());
    schedule.again(asked, Instant::now());
    assert_eq!((schedule.len(), schedule.next_at(true)), (0, None));
}

#[tokio::test(start_paused = true)]
async fn whom_a_walk_did_not_meet_is_asked_for_and_not_walked_for_again() {
    let mut schedule = walked(100);
    let names: Vec<String> = (0..50).map(|n| format!("o{n}")).collect();
    let dues: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
    schedule.mark(marked(&dues), Instant::now());
    tokio::time::advance(SETTLE).await;
    assert_eq!(owners(&mut schedule), [""; 0]);
    let (package, _, held) = schedule.take_walk(Instant::now()).unwrap();
    held.into_iter().for_each(|pending| schedule.alone(pending, Instant::now()));
    schedule.walked(&package, 50, Instant::now());
    assert_eq!(owners(&mut schedule).len(), 50);
    assert!(schedule.take_walk(Instant::now()).is_none());

    let mut schedule = walked(100);
    let missed = |number| (Due { cause: None, ..due(&format!("o{number}"), number) }, 1);
    schedule.mark(Marked { dues: (0..50).map(missed).collect(), ..Marked::default() }, Instant::now());
    tokio::time::advance(SETTLE).await;
    assert_eq!(
        (owners(&mut schedule).len(), schedule.take_walk(Instant::now())),
        (50, None),
        "those of an earlier walk"
    );
}

/// REST may not know yet of what happened just before the connection came up.
#[tokio::test(start_paused = true)]
async fn what_was_not_heard_is_looked_through_twice() {
    let (mut schedule, start) = (walked(1), Instant::now());
    schedule.walk_unheard("p", start);
    assert!(schedule.take_walk(start).is_some());
    // Another connection comes up in the middle of the walk.
    schedule.walk_unheard("p", start + SETTLE);
    schedule.walked("p", 1, start);
    assert_eq!(schedule.next_at(true), Some(start + SETTLE));
    assert!(schedule.take_walk(start + SETTLE).is_some());
    schedule.walked("p", 1, start + SETTLE);
    assert_eq!(schedule.next_at(true), Some(start + SETTLE + WALK_AGAIN));
    assert!(schedule.take_walk(start + SETTLE + WALK_AGAIN).is_some());
    schedule.walked("p", 1, start + SETTLE + WALK_AGAIN);
    assert_eq!(schedule.next_at(true), None);
}
