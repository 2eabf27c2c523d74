//! The queue against a model: whatever order attempts end in, and wherever the process is cut, every delivery is
//! settled, none twice within a run, and lanes keep their order.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What the store would hold, built from the changes alone.
#[derive(Clone, Debug, Default)]
struct Disk {
    low: u64,
    settled: HashSet<u64>,
    waiting: BTreeMap<u64, Waiting>,
    held: BTreeMap<u64, Held>,
}

impl Disk {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Settle(settlement) => {
                    self.settled.insert(settlement.seq);
                    let waiting = self.waiting.remove(&settlement.seq);
                    assert!(settlement.has_waited || waiting.is_none(), "a waiting row stays behind: {settlement:?}");
                }
                Change::Wait(waiting) => {
                    self.held.remove(&waiting.seq);
                    self.waiting.insert(waiting.seq, waiting);
                }
                Change::Hold(held) => {
                    self.held.insert(held.seq, held);
                }
                Change::Low(low) => self.low = self.low.max(low),
                Change::Attempt(_) | Change::Pause(_) | Change::Resume => {}
            }
        }
    }

    fn found(&self) -> Found {
        Found {
            low: self.low,
            waiting: self.waiting.values().copied().collect(),
            held: self.held.values().copied().collect(),
            settled: self.settled.iter().copied().filter(|seq| *seq > self.low).collect(),
            paused: None,
        }
    }

    fn check(&self, tail: u64) {
        for held in self.held.values() {
            let is_head = |w: &&Waiting| w.lane == held.lane && (w.seq < held.seq || w.is_replay);
            assert!(self.waiting.values().any(|w| is_head(&w)), "invariant 3: held {} has no waiting head", held.seq);
        }
        for seq in 1..=self.low.min(tail) {
            let is_accounted =
                self.settled.contains(&seq) || self.waiting.contains_key(&seq) || self.held.contains_key(&seq);
            assert!(is_accounted, "invariant 2: {seq} is at or below low {} and nowhere", self.low);
        }
    }
}

fn claimed(seq: u64, lane: u64) -> Claimed {
    Claimed { seq, lane, body_bytes: 10, content: Err("not needed".to_owned()) }
}

struct World {
    lanes: Vec<u64>,
    disk: Disk,
    queue: Queue,
    now: Now,
    in_flight: BTreeMap<u64, u64>,
    /// Per lane, the deliveries that failed and when they first did.
    failed_at: HashMap<u64, Instant>,
    done: HashSet<u64>,
    /// Asked for again, and not settled since.
    replayed: HashSet<u64>,
    ordering: Ordering,
}

impl World {
    fn new(lanes: Vec<u64>, ordering: Ordering) -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp(1_000_000_000) };
        let queue = Queue::new(ordering, Found::default(), now);
        let (disk, in_flight, failed_at, done, replayed) = Default::default();
        Self { lanes, disk, queue, now, in_flight, failed_at, done, replayed, ordering }
    }

    fn tail(&self) -> u64 {
        self.lanes.len() as u64
    }

    fn lane(&self, seq: u64) -> u64 {
        self.lanes[seq as usize - 1]
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.wall = Timestamp(self.now.wall.0 + time.as_millis() as u64);
    }

    fn flush(&mut self) {
        let changes = self.queue.take_changes();
        self.disk.apply(changes);
        self.disk.check(self.tail());
    }

    /// Reads some more, as the store would give it: from disk nothing that was settled in an earlier run, from memory
    /// that too.
    fn read(&mut self, max: usize) {
        let from = self.queue.cursor() + 1;
        let to = self.tail().min(from + max as u64 - 1);
        let is_from_memory = max.is_multiple_of(2);
        let fresh = (from..=to).filter(|seq| is_from_memory || !self.disk.settled.contains(seq));
        let fresh: Vec<_> = fresh.map(|seq| claimed(seq, self.lane(seq))).collect();
        self.queue.add_fresh(fresh, to);
    }

    fn start(&mut self) {
        let Some(work) = self.queue.next(self.now) else { return };
        self.started(&work);
    }

    fn start_replay(&mut self) {
        let Some(work) = self.queue.next_replay(self.now) else { return };
        assert!(work.is_replay && self.replayed.contains(&work.seq));
        self.started(&work);
    }

    /// Whether it has failed for so long that its lane need not wait. A restart may also find a failing replay beside a
    /// newer head that has blocked for long enough.
    fn is_excused(&self, seq: u64) -> bool {
        let blocked = |at: &Instant| self.now.instant.duration_since(*at) >= BLOCKING_MAX;
        self.failed_at.get(&seq).is_some_and(|at| self.replayed.contains(&seq) || blocked(at))
    }

    fn started(&mut self, work: &Work) {
        let lane = self.lane(work.seq);
        assert!(!self.done.contains(&work.seq), "{} is sent again after it was settled", work.seq);
        if self.ordering == Ordering::Lane && lane != 0 {
            let is_replay = |seq: &u64| self.replayed.contains(seq);
            let earlier = (1..work.seq).filter(|seq| !is_replay(seq) && !is_replay(&work.seq));
            let under_way = self.in_flight.iter().filter(|(_, other)| **other == lane).map(|(seq, _)| *seq);
            for other in earlier.filter(|seq| self.lane(*seq) == lane && !self.done.contains(seq)).chain(under_way) {
                let either = self.is_excused(other) || self.is_excused(work.seq);
                assert!(either, "{} overtakes {other} of lane {lane}, or goes beside it", work.seq);
            }
        }
        assert!(self.in_flight.insert(work.seq, lane).is_none(), "{} is in flight twice", work.seq);
    }

    fn end(&mut self, place: usize, is_delivered: bool, delay: Duration) {
        let Some(seq) = self.in_flight.keys().nth(place % self.in_flight.len().max(1)).copied() else { return };
        self.in_flight.remove(&seq);
        if is_delivered {
            self.done.insert(seq);
            self.replayed.remove(&seq);
            self.queue.settle(seq, true, End::Delivered { status: None }, self.now);
        } else {
            self.failed_at.entry(seq).or_insert(self.now.instant);
            self.queue.wait(seq, true, delay, self.now);
        }
    }

    /// A crash: what was not flushed is forgotten, by us and by the queue.
    fn crash(&mut self) {
        self.in_flight.clear();
        let waiting = &self.disk.waiting;
        self.done = self.disk.settled.iter().copied().filter(|seq| !waiting.contains_key(seq)).collect();
        self.replayed = waiting.values().filter(|waiting| waiting.is_replay).map(|waiting| waiting.seq).collect();
        self.failed_at.retain(|seq, _| waiting.contains_key(seq));
        self.queue = Queue::new(self.ordering, self.disk.found(), self.now);
    }

    /// An operator asks again for something that is over, as the store makes it durable: it knows nothing of what was
    /// not flushed.
    fn replay(&mut self, place: usize) {
        let over = self.disk.settled.iter().filter(|seq| !self.disk.waiting.contains_key(seq));
        let mut over: Vec<u64> = over.copied().collect();
        over.sort_unstable();
        let Some(seq) = over.get(place % over.len().max(1)).copied() else { return };
        let waiting = Waiting {
            seq,
            lane: self.lane(seq),
            body_bytes: 10,
            attempts: 0,
            is_replay: true,
            delay: Duration::ZERO,
            due_at: self.now.wall,
            blocking_since: None,
        };
        self.disk.waiting.insert(seq, waiting);
        self.queue.add_replays([Replay { waiting, claimed: None }]);
        self.done.remove(&seq);
        self.failed_at.remove(&seq);
        self.replayed.insert(seq);
    }

    /// Lets everything succeed, and sees that nothing is left.
    fn drain(&mut self) {
        for _ in 0..10 * self.lanes.len() + 10 {
            self.read(8);
            (0..8).for_each(|_| self.start());
            (0..8).for_each(|_| self.start_replay());
            while !self.in_flight.is_empty() {
                self.end(0, true, Duration::ZERO);
            }
            self.flush();
            self.pass(SECOND * 300);
        }
        assert_eq!(self.disk.settled.len() as u64, self.tail(), "everything is settled");
        assert_eq!(self.disk.low, self.tail());
        assert!(self.disk.waiting.is_empty() && self.disk.held.is_empty());
        assert!(self.queue.lanes.is_empty() && self.queue.unsettled.is_empty());
        assert!(self.queue.due.is_empty() && self.queue.blocking.is_empty());
        assert_eq!((self.queue.held, self.queue.behind), (0, 0));
        assert_eq!((self.queue.replays.count, self.queue.replays.in_flight, self.queue.has_replay()), (0, 0, false));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Start,
    End(usize, bool, u64),
    Pass(u64),
    Flush,
    Crash,
    Expire,
    Replay(usize),
    StartReplay,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_usize..6).prop_map(Step::Read),
        6 => Just(Step::Start),
        6 => (0_usize..8, any::<bool>(), 0_u64..2000).prop_map(|(place, ok, delay)| Step::End(place, ok, delay)),
        2 => (0_u64..1000).prop_map(Step::Pass),
        3 => Just(Step::Flush),
        1 => Just(Step::Crash),
        1 => Just(Step::Expire),
        2 => (0_usize..60).prop_map(Step::Replay),
        2 => Just(Step::StartReplay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_overtaken(
        lanes in prop::collection::vec(0_u64..5, 1..60),
        steps in prop::collection::vec(step(), 0..200),
        is_ordered in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _context = runtime.enter();
        let ordering = if is_ordered { Ordering::Lane } else { Ordering::None };
        let mut world = World::new(lanes, ordering);
        for step in steps {
            match step {
                Step::Read(max) => world.read(max),
                Step::Start => world.start(),
                Step::End(place, ok, delay) => world.end(place, ok, SECOND * delay as u32),
                Step::Pass(seconds) => world.pass(SECOND * seconds as u32),
                Step::Flush => world.flush(),
                Step::Crash => world.crash(),
                Step::Replay(place) => world.replay(place),
                Step::StartReplay => world.start_replay(),
                Step::Expire => {
                    world.flush();
                    let before: HashSet<u64> = world.disk.waiting.keys().copied().collect();
                    world.queue.expire_oldest(world.now);
                    world.flush();
                    let is_over = |seq: &&u64| !world.disk.waiting.contains_key(seq) && !world.in_flight.contains_key(seq);
                    let over: Vec<u64> = world.disk.settled.iter().filter(is_over).copied().collect();
                    world.replayed.retain(|seq| world.disk.waiting.contains_key(seq) || !before.contains(seq));
                    world.done.extend(over);
                }
            }
        }
        world.flush();
        world.drain();
    }
}

fn world(lanes: &[u64]) -> World {
    World::new(lanes.to_vec(), Ordering::Lane)
}

#[tokio::test]
async fn a_failing_event_holds_back_its_lane_only_and_not_for_ever() {
    let mut world = world(&[1, 1, 2, 1]);
    world.read(4);
    (0..4).for_each(|_| world.start());
    assert_eq!(world.in_flight.keys().copied().collect::<Vec<_>>(), [1, 3]);
    world.end(0, false, SECOND * 3600);
    world.flush();
    assert_eq!(world.disk.held.keys().copied().collect::<Vec<_>>(), [2, 4]);
    world.pass(BLOCKING_MAX - SECOND);
    world.start();
    assert!(!world.in_flight.contains_key(&2));
    world.pass(SECOND);
    world.start();
    assert!(world.in_flight.contains_key(&2), "after fifteen minutes the next one goes");
    world.drain();
}

#[tokio::test]
async fn a_clock_set_back_by_an_hour_does_not_lengthen_a_wait_across_a_restart() {
    let mut world = world(&[1, 1]);
    world.read(2);
    world.start();
    world.end(0, false, SECOND * 300);
    world.flush();
    world.pass(SECOND * 100);
    world.now.wall = Timestamp(world.now.wall.0 - 3_600_000);
    world.crash();
    world.pass(SECOND * 299);
    world.start();
    assert!(world.in_flight.is_empty(), "the wait is bounded by its delay, not cut short");
    world.pass(SECOND);
    world.start();
    assert_eq!(world.in_flight.keys().copied().collect::<Vec<_>>(), [1], "the first goes before the second");
    world.drain();
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_wait_keeps_order_and_time() {
    let mut world = world(&[1, 1]);
    world.read(2);
    world.start();
    world.end(0, false, SECOND * 300);
    world.flush();
    world.pass(SECOND * 100);
    world.crash();
    world.read(2);
    world.start();
    assert!(world.in_flight.is_empty(), "neither the first, early, nor the second, out of order");
    world.pass(SECOND * 200);
    world.start();
    assert_eq!(world.in_flight.keys().copied().collect::<Vec<_>>(), [1]);
    world.drain();
}
