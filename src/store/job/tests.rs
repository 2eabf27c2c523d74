//! Jobs through the doors of the store: what they do, what they leave alone, and where a crash leaves them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::config::SinkName;
use crate::store::tests::{Fixture, Model, Place, SINKS, candidate, settings};
use crate::store::{Change, End, Held, PastDelivery, Quarantined, Replay, Settlement, SinkStore, State, Waiting};

/// Runs a job, at most so many steps of so many rows; the job as it stands then.
pub(in crate::store) async fn run(fixture: &Fixture, order: Order, rows: usize, steps: usize) -> Job {
    let job = Job::new(order, fixture.clock.now());
    let job = fixture.store.step(Step::note(job)).await.unwrap().unwrap();
    go_on(fixture, job, rows, steps).await
}

async fn go_on(fixture: &Fixture, mut job: Job, rows: usize, steps: usize) -> Job {
    let mut survey = fixture.store.survey().unwrap();
    for _ in 0..steps {
        if !job.is_running() {
            break;
        }
        let page = survey.page(&job, rows).unwrap();
        job = fixture.store.step(Step { job, page }).await.unwrap().expect("there is room");
    }
    job
}

/// What the same order would do.
fn count(fixture: &Fixture, order: Order) -> Counts {
    let mut survey = fixture.store.survey().unwrap();
    let mut job = Job::new(order, fixture.clock.now());
    survey.outline(&mut job).unwrap();
    loop {
        let page = survey.page(&job, 3).unwrap();
        if survey.judge(&mut job, &page).unwrap() {
            return job.counts;
        }
    }
}

fn events(sink: &str, again: bool) -> Order {
    Order::ReplayEvents { sink: sink.to_owned(), choice: EventChoice::default(), again, rate: None }
}

fn letters(choice: LetterChoice) -> Order {
    Order::ReplayDeadLetters { choice, skip_superseded: false, rate: None }
}

/// A step of the model test: some replay, which may be cut short, and what the model says of it.
pub(in crate::store) async fn replay(fixture: &Fixture, model: &mut Model, seed: u64, random: &mut fastrand::Rng) {
    fixture.sync().await;
    let (sink, again, token) = (random.usize(..SINKS.len()), random.bool(), random.u64(..6));
    let choice = EventChoice { token_id: Some(token.to_string()), ..EventChoice::default() };
    let order = Order::ReplayEvents { sink: SINKS[sink].to_owned(), choice, again, rate: None };
    let (rows, steps) = (random.usize(1..4), random.usize(..12));
    let counted = count(fixture, order.clone());
    let job = run(fixture, order, rows, steps).await;
    let meant = (1..).zip(&model.events).filter(|(_, (of, _))| *of == token).map(|(seq, _)| seq);
    let expected: Vec<u64> = meant.filter(|seq| is_replayed(model, sink, *seq, again)).collect();
    let handed = fixture.queues[sink].take_replays();
    let seqs: Vec<u64> = handed.iter().map(|replay| replay.waiting.seq).collect();
    assert_eq!(seqs, expected[..seqs.len()], "seed {seed}, sink {sink}: in order, and only those");
    assert_eq!((job.counts.done, counted.done), (seqs.len() as u64, expected.len() as u64), "seed {seed}");
    assert!(job.is_running() || seqs.len() == expected.len(), "seed {seed}: {job:?}");
    for Replay { waiting, claimed } in handed {
        let (token, deploy) = model.events[waiting.seq as usize - 1];
        let (event, _) = claimed.unwrap().content.unwrap();
        assert_eq!(event.body, candidate(&fixture.store, token, deploy, &[]).body);
        model.sinks[sink].insert(waiting.seq, Place::Waiting(waiting));
    }
}

fn is_replayed(model: &Model, sink: usize, seq: u64, again: bool) -> bool {
    match model.sinks[sink].get(&seq) {
        None => true,
        Some(Place::Settled) => again || !model.over[sink][&seq],
        Some(Place::Fresh | Place::Waiting(_) | Place::Held(_)) => false,
    }
}

fn end(seq: u64, end: End) -> Change {
    Change::Settle(Settlement { seq, has_waited: true, attempts: 1, body_bytes: 100, end })
}

fn dead(seq: u64, cause: &'static str) -> Change {
    end(seq, End::Dead { cause, reason: "no".to_owned() })
}

fn delivered(seq: u64) -> Change {
    end(seq, End::Delivered { status: Some(200) })
}

/// Six events for `a`, of tokens 1 2 3 1 2 3; 1 to 4 are dead there: by `server`, `refused`, `server`, `server`.
async fn scene(directory: &std::path::Path) -> Fixture {
    let fixture = Fixture::open(settings(directory), Clock::default());
    let event = |(n, token)| candidate(&fixture.store, token, n, &["a"]);
    let offered = (1..).zip([1, 2, 3, 1, 2, 3]).map(event).collect();
    fixture.store.accept(offered).await.unwrap();
    fixture.sync().await;
    let causes = [(1, "server"), (2, "refused"), (3, "server"), (4, "server")];
    let changes = causes.map(|(seq, cause)| dead(seq, cause)).to_vec();
    fixture.queues[0].record_durably(changes).await.unwrap();
    fixture
}

fn taken(queue: &SinkStore) -> Vec<u64> {
    queue.take_replays().iter().map(|replay| replay.waiting.seq).collect()
}

#[tokio::test]
async fn letters_are_replayed_by_every_choice_and_never_twice() {
    let none = LetterChoice::default;
    let text = |text: &str| Some(text.to_owned());
    let cases: [(LetterChoice, &[u64]); 9] = [
        (none(), &[1, 2, 3, 4]),
        (LetterChoice { sink: text("a"), ..none() }, &[1, 2, 3, 4]),
        (LetterChoice { sink: text("b"), ..none() }, &[]),
        (LetterChoice { sink: text("nobody"), ..none() }, &[]),
        (LetterChoice { cause: text("server"), ..none() }, &[1, 3, 4]),
        (LetterChoice { route: text("route"), token_id: text("1"), ..none() }, &[1, 4]),
        (LetterChoice { route: text("other"), ..none() }, &[]),
        (LetterChoice { contract_package: text("bb"), ..none() }, &[]),
        (LetterChoice { died_until_ms: Some(1), ..none() }, &[]),
    ];
    for (choice, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let fixture = scene(directory.path()).await;
        let counted = count(&fixture, letters(choice.clone()));
        let job = run(&fixture, letters(choice.clone()), 3, 99).await;
        assert_eq!((job.state.clone(), taken(&fixture.queues[0])), (JobState::Done, expected.to_vec()), "{choice:?}");
        assert_eq!(job.counts, counted, "a dry run says the same");
        let again = run(&fixture, letters(choice), 3, 99).await;
        assert_eq!((again.counts.done, again.counts.waiting), (0, expected.len() as u64));
        let (event, _) = fixture.queues[0].load(4).await.unwrap().content.unwrap();
        let choice = LetterChoice { event: Some(event.id.to_string()), ..none() };
        let one = count(&fixture, letters(choice));
        assert_eq!(one.matched, 1);
        fixture.close().await;
    }
}

#[tokio::test]
async fn superseded_letters_are_counted_and_can_be_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    // 4 follows 1, 5 follows 2, 6 follows 3; nothing follows 4.
    assert_eq!(count(&fixture, letters(LetterChoice::default())).superseded, 3);
    let order =
        |skip_superseded| Order::ReplayDeadLetters { choice: LetterChoice::default(), skip_superseded, rate: None };
    let job = run(&fixture, order(true), 2, 99).await;
    assert_eq!((job.counts.done, job.counts.skipped, job.counts.superseded), (1, 3, 3));
    assert_eq!(taken(&fixture.queues[0]), [4]);
    let job = run(&fixture, order(false), 2, 99).await;
    assert_eq!((job.counts.done, job.counts.waiting), (3, 1));
    fixture.close().await;
}

#[tokio::test]
async fn a_job_goes_on_after_a_crash_where_its_last_step_was() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    let job = run(&fixture, letters(LetterChoice::default()), 1, 2).await;
    assert!(job.is_running());
    assert_eq!(taken(&fixture.queues[0]), [1, 2]);
    fixture.close().await;
    let fixture = Fixture::open(settings(directory.path()), Clock::default());
    let found: Vec<_> = fixture.queues[0].found.waiting.iter().map(|waiting| waiting.seq).collect();
    assert_eq!(found, [1, 2], "what was replayed is found waiting");
    let jobs = fixture.store.survey().unwrap().jobs().unwrap();
    assert_eq!(jobs, std::slice::from_ref(&job));
    let job = go_on(&fixture, job, 1, 99).await;
    assert_eq!((job.counts.done, taken(&fixture.queues[0])), (4, vec![3, 4]));
    fixture.close().await;
}

#[tokio::test]
async fn letters_are_dropped_but_for_those_that_wait() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    let one = LetterChoice { cause: Some("refused".to_owned()), ..LetterChoice::default() };
    run(&fixture, letters(one), 9, 99).await;
    let drop = || Order::DropDeadLetters { choice: LetterChoice::default() };
    let counted = count(&fixture, drop());
    let job = run(&fixture, drop(), 2, 99).await;
    assert_eq!((job.counts.done, job.counts.waiting), (3, 1));
    assert_eq!(job.counts, counted);
    assert_eq!(count(&fixture, drop()).matched, 1);
    fixture.close().await;
}

/// The retention of `settings` is an hour.
#[tokio::test]
async fn retention_leaves_what_waits_to_be_replayed_also_to_a_new_sink() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    let rest = [delivered(5), delivered(6), Change::Low(6)];
    fixture.queues[0].record_durably(rest.to_vec()).await.unwrap();
    let choice = EventChoice { token_id: Some("2".to_owned()), ..EventChoice::default() };
    let order = Order::ReplayEvents { sink: "b".to_owned(), choice, again: false, rate: None };
    assert_eq!(run(&fixture, order, 9, 99).await.counts.done, 2);
    fixture.queues[1].record_durably(vec![Change::Low(6)]).await.unwrap();
    fixture.queues[2].record_durably(vec![Change::Low(6)]).await.unwrap();
    fixture.clock.shift(7_200_000);
    for _ in 0..3 {
        fixture.store.tick().await.unwrap();
    }
    fixture.sync().await;
    let pending = |fixture: &Fixture| fixture.metrics.sink(&SinkName("b".into())).unwrap().pending.value();
    assert_eq!(pending(&fixture), 2);
    let clock = fixture.clock.clone();
    fixture.close().await;
    let fixture = Fixture::open(settings(directory.path()), clock);
    assert_eq!(pending(&fixture), 2, "the same after a restart");
    for seq in [2, 5] {
        assert!(fixture.queues[1].load(seq).await.unwrap().content.is_ok(), "{seq} is still there");
    }
    assert!(fixture.queues[0].load(6).await.unwrap().content.is_err(), "the others went");
    fixture.queues[1].record_durably(vec![delivered(2), delivered(5)]).await.unwrap();
    for _ in 0..3 {
        fixture.store.tick().await.unwrap();
        fixture.sync().await;
    }
    assert!(fixture.queues[1].load(5).await.unwrap().content.is_err(), "now nothing needs it");
    fixture.close().await;
}

/// What the store says of event 5 at a sink that it went to.
fn at_sink(directory: &std::path::Path, sink: usize) -> PastDelivery {
    let history = crate::store::events(directory).unwrap().history(5).unwrap().unwrap();
    history.deliveries.into_iter().find(|delivery| &*delivery.sink.0 == SINKS[sink]).unwrap()
}

/// To the sink that it was meant for, and to one that it was replayed to.
#[tokio::test]
async fn what_was_delivered_once_stays_so_however_a_replay_of_it_ends() {
    let letter = || End::Dead { cause: "server", reason: "503".to_owned() };
    for (sink, bad_end) in [(0, End::Expired), (0, letter()), (1, End::Expired), (1, letter())] {
        let directory = tempfile::tempdir().unwrap();
        let fixture = scene(directory.path()).await;
        let choice = || EventChoice { token_id: Some("2".to_owned()), ..EventChoice::default() };
        let order = |again| Order::ReplayEvents { sink: SINKS[sink].to_owned(), choice: choice(), again, rate: None };
        run(&fixture, order(false), 9, 99).await;
        fixture.queues[sink].record_durably(vec![delivered(5), Change::Low(6)]).await.unwrap();
        let first = at_sink(directory.path(), sink);
        let State::Delivered { at, .. } = first.state else { panic!("{first:?}") };
        assert_eq!((first.delivered_before, first.routes.is_empty()), (None, sink == 1));
        for _ in 0..2 {
            assert_eq!(count(&fixture, order(false)).delivered, 1);
            fixture.clock.shift(1_000);
            assert_eq!(run(&fixture, order(true), 9, 99).await.counts.delivered, 0);
            let waiting = at_sink(directory.path(), sink);
            assert!(matches!(waiting.state, State::Waiting(_)) && waiting.delivered_before == Some(at), "{waiting:?}");
            fixture.queues[sink].record_durably(vec![end(5, bad_end.clone())]).await.unwrap();
            let ended = at_sink(directory.path(), sink);
            assert!(!matches!(ended.state, State::Waiting(_) | State::Delivered { .. }), "{ended:?}");
            assert_eq!(ended.delivered_before, Some(at), "{ended:?}");
        }
        run(&fixture, Order::DropDeadLetters { choice: LetterChoice::default() }, 9, 99).await;
        assert_eq!(count(&fixture, order(false)).delivered, 1, "and is not replayed unless that is asked for");
        fixture.close().await;
    }
}

#[tokio::test]
async fn parked_deliveries_are_dropped_unless_the_sink_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    let name = SinkName("a".into());
    let order = || Order::DropParked { sink: "a".to_owned() };
    let refused = run(&fixture, order(), 0, 9).await;
    assert!(matches!(refused.state, JobState::Failed(_)), "{refused:?}");
    let waiting = Waiting {
        seq: 5,
        lane: 7,
        body_bytes: 1,
        attempts: 1,
        is_replay: false,
        delay: Duration::ZERO,
        due_at: fixture.clock.now(),
        blocking_since: None,
    };
    let held = Held { seq: 6, lane: 7, body_bytes: 1 };
    fixture.queues[0].record_durably(vec![Change::Wait(waiting), Change::Hold(held)]).await.unwrap();
    assert_eq!(fixture.store.leave(&name).await.unwrap(), 2);
    let job = run(&fixture, order(), 0, 9).await;
    assert_eq!((job.state, fixture.store.parked().len()), (JobState::Done, 0));
    let metrics = fixture.metrics.sink(&name).unwrap();
    let backlog = settings(directory.path()).sinks[0].1;
    let joined = fixture.store.join(&name, backlog, metrics).await.unwrap();
    assert_eq!((joined.found.waiting.len(), joined.found.held.len(), joined.found.low), (0, 0, 6));
    assert_eq!(count(&fixture, letters(LetterChoice::default())).done, 4, "dead letters are another matter");
    assert_eq!(count(&fixture, events("a", false)).done, 6, "and all of it can be replayed");
    drop(joined);
    fixture.close().await;
    let report = crate::store::verify(directory.path()).unwrap();
    assert!(report.is_whole() && !report.pending.contains_key("a"), "{report:?}");
}

#[tokio::test]
async fn messages_leave_the_quarantine_with_the_commit_that_accepts_them() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    for reason in ["odd", "even", "odd"] {
        let body = bytes::Bytes::from_static(b"{");
        let message = Quarantined { stream: crate::event::Stream::NftTokens, reason: reason.to_owned(), body };
        fixture.store.quarantine(message).await.unwrap();
    }
    fixture.sync().await;
    let survey = fixture.store.survey().unwrap();
    let all = [1, 2, 3];
    assert_eq!(survey.still_kept(&all).unwrap(), 3);
    let new = Rerouted { token: 9, deploy: 9 }.of(&fixture, 1);
    let known = Rerouted { token: 1, deploy: 1 }.of(&fixture, 2);
    fixture.store.accept(vec![new, known]).await.unwrap();
    fixture.sync().await;
    assert_eq!(survey.still_kept(&all).unwrap(), 1, "the new one and the known one left");
    assert_eq!(fixture.metrics.intake.accepted.value(), 7);
    let choice = QuarantineChoice { reason: Some("odd".to_owned()), ..QuarantineChoice::default() };
    let job = run(&fixture, Order::DropQuarantined { choice }, 9, 9).await;
    assert_eq!((job.counts.done, survey.still_kept(&all).unwrap()), (1, 0));
    fixture.close().await;
}

/// An event that is still in quarantine.
struct Rerouted {
    token: u64,
    deploy: u64,
}

impl Rerouted {
    fn of(self, fixture: &Fixture, number: u64) -> crate::store::Candidate {
        let event = candidate(&fixture.store, self.token, self.deploy, &["a"]);
        crate::store::Candidate { quarantine: Some(number), ..event }
    }
}

#[tokio::test]
async fn old_jobs_are_forgotten_but_for_those_at_work() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = scene(directory.path()).await;
    let at_work = run(&fixture, letters(LetterChoice::default()), 1, 1).await;
    for _ in 0..205 {
        run(&fixture, letters(LetterChoice { sink: Some("nobody".to_owned()), ..LetterChoice::default() }), 1, 9).await;
    }
    let kept: BTreeSet<u64> = fixture.store.survey().unwrap().jobs().unwrap().iter().map(|job| job.number).collect();
    assert!(kept.contains(&at_work.number) && kept.contains(&206) && !kept.contains(&3), "{kept:?}");
    assert!(kept.len() <= 202);
    fixture.close().await;
}
