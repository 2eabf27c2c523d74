//! The loop of a sink against a real store and a sink that does as the test says.
//!
//! Time stands still and moves only when a test says so: a blocking task keeps the paused clock from running ahead
//! while the threads of the store work.

mod backlog;
mod breaker;
mod notices;
mod order;
mod pause;
mod rate;
mod retries;
mod stops;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::sync::mpsc::{SyncSender, sync_channel};

use tempfile::TempDir;
use tokio::sync::{Semaphore, oneshot};

use super::*;
use crate::clock;
use crate::config::{BacklogConfig, Format, OnFull, Ordering, RetryConfig, Schedule, SinkKind};
use crate::event::Delivery;
use crate::lifecycle::Task;
use crate::sink::{Cause, Outcome};
use crate::store::tests::{Fixture, candidate, settings};
use crate::store::{LetterFilter, dead_letters};

const SECOND: Duration = Duration::from_secs(1);
/// Real time after which something that should have happened has not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the sink does with an attempt.
#[derive(Clone)]
enum Act {
    End(Outcome),
    Panic,
    /// Delivered as soon as the test lets one go.
    Wait,
}

/// An attempt as the sink saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    seq: u64,
    number: u32,
    at: Instant,
}

type Plan = Box<dyn Fn(u64, u32) -> Act + Send + Sync>;

struct Script {
    plan: Mutex<Plan>,
    calls: Mutex<Vec<Call>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    gate: Semaphore,
}

impl Script {
    async fn act(&self, delivery: &Delivery) -> Outcome {
        let (seq, number) = (delivery.event.sequence.number, delivery.attempt);
        self.calls.lock().unwrap().push(Call { seq, number, at: Instant::now() });
        let act = (self.plan.lock().unwrap())(seq, number);
        let count = self.in_flight.fetch_add(1, Atomic::SeqCst) + 1;
        self.in_flight_max.fetch_max(count, Atomic::SeqCst);
        let outcome = match act {
            Act::End(outcome) => outcome,
            Act::Panic => {
                self.in_flight.fetch_sub(1, Atomic::SeqCst);
                panic!("as the test wants it");
            }
            Act::Wait => {
                self.gate.acquire().await.unwrap().forget();
                Outcome::Delivered { status: Some(200) }
            }
        };
        self.in_flight.fetch_sub(1, Atomic::SeqCst);
        outcome
    }
}

impl Sink for Script {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.act(delivery))
    }
}

fn delivered() -> Act {
    Act::End(Outcome::Delivered { status: Some(200) })
}

fn fails(cause: Cause) -> Act {
    slows(cause, None)
}

fn slows(cause: Cause, after: Option<Duration>) -> Act {
    let failure = Failure { cause, status: Some(500), detail: format!("it {}", cause.as_str()) };
    Act::End(Outcome::Retry { failure, after })
}

/// Three retries, no chance in it.
fn config() -> SinkConfig {
    SinkConfig {
        labels: BTreeMap::new(),
        kind: SinkKind::Stdout,
        format: Format::Raw,
        retry: RetryConfig { schedule: Schedule::Listed(vec![SECOND * 5, SECOND * 60, SECOND * 300]), jitter: 0.0 },
        concurrency: 16,
        rate_limit: None,
        ordering: Ordering::Lane,
        backlog: BacklogConfig { max_bytes: 1 << 40, on_full: OnFull::Expire },
    }
}

/// A relay's store and the group of its sink `a`, at work.
struct Scene {
    folder: TempDir,
    fixture: Fixture,
    sink: Arc<Script>,
    group: Task,
    setup: watch::Sender<Setup>,
    orders: mpsc::Sender<Order>,
    metrics: Arc<SinkMetrics>,
    notices: Notices,
    /// How often the loop was polled.
    polls: Arc<AtomicUsize>,
    config: SinkConfig,
    _frozen: SyncSender<()>,
}

impl Scene {
    fn open(config: SinkConfig, plan: impl Fn(u64, u32) -> Act + Send + Sync + 'static) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), config, plan)
    }

    /// Time must be paused.
    fn open_in(folder: TempDir, config: SinkConfig, plan: impl Fn(u64, u32) -> Act + Send + Sync + 'static) -> Self {
        let (frozen, end) = sync_channel::<()>(0);
        tokio::task::spawn_blocking(move || end.recv());
        let mut settings = settings(folder.path());
        settings.sinks[0].1 = config.backlog;
        let mut fixture = Fixture::open(settings, Clock::default());
        let (name, clock) = (SinkName("a".into()), fixture.clock.clone());
        let mut store = fixture.queues.remove(0);
        let now = Now { instant: Instant::now(), wall: clock.now() };
        let found = std::mem::take(&mut store.found);
        let gate = Gate::new(config.rate_limit, found.paused.clone(), now.instant);
        let queue = Queue::new(config.ordering, found, now);
        let (notices, state) = (Notices::default(), State::new(gate.paused()));
        notices.want(true);
        let (orders, inbox) = mpsc::channel(1);
        let sink = Arc::new(Script {
            plan: Mutex::new(Box::new(plan)),
            calls: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        });
        let metrics = fixture.metrics.sink(&name).unwrap();
        let setup = Setup { config: config.clone(), sink: Arc::clone(&sink) as Arc<dyn Sink> };
        let (setup, changes) = watch::channel(setup);
        let store = Arc::new(store);
        let group = Group {
            name,
            config: config.clone(),
            sink: Arc::clone(&sink) as Arc<dyn Sink>,
            changes,
            orders: inbox,
            gate,
            attempts: Attempts::new(Arc::clone(&store)),
            store,
            queue,
            clock,
            metrics: Arc::clone(&metrics),
            shown: Shown::default(),
            notices: notices.clone(),
            state,
        };
        let polls = Arc::<AtomicUsize>::default();
        let counted = counted(group.run(fixture.lifecycle.drain().clone()), Arc::clone(&polls));
        let group = fixture.lifecycle.spawn("delivery", counted);
        Self { folder, fixture, sink, group, setup, orders, metrics, notices, polls, config, _frozen: frozen }
    }

    /// Has events of these tokens accepted, one after the other; they are numbered from 1 in a new store.
    async fn accept(&self, tokens: &[u64]) {
        let newest = self.fixture.metrics.intake.accepted.value();
        let offered = tokens.iter().zip(fastrand::u64(..1 << 60)..);
        let events = offered.map(|(token, deploy)| candidate(&self.fixture.store, *token, deploy, &["a"])).collect();
        self.fixture.store.accept(events).await.unwrap();
        self.until("accepted", |scene| scene.fixture.metrics.intake.accepted.value() >= newest + tokens.len() as u64)
            .await;
    }

    fn plan(&self, plan: impl Fn(u64, u32) -> Act + Send + Sync + 'static) {
        *self.sink.plan.lock().unwrap() = Box::new(plan);
    }

    /// Waits, without time passing, until something is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = clock::monotonic();
        while !is_so(self) {
            let calls = self.sink.calls.lock().unwrap().len();
            assert!(began.elapsed() < PATIENCE, "never {what}: {calls} attempts, {:?}", self.metrics);
            assert!(self.fixture.lifecycle.failure().is_none());
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }

    /// Lets everything happen that needs no time to pass.
    async fn settled(&self) {
        for _ in 0..4 {
            self.fixture.sync().await;
            let _loaded = self.fixture.queues[0].load(1).await.unwrap();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn pass(&self, time: Duration) {
        self.settled().await;
        tokio::time::advance(time).await;
        self.settled().await;
    }

    fn calls(&self) -> Vec<(u64, u32)> {
        self.sink.calls.lock().unwrap().iter().map(|call| (call.seq, call.number)).collect()
    }

    fn seqs(&self) -> Vec<u64> {
        self.calls().into_iter().map(|(seq, _)| seq).collect()
    }

    /// Pauses or resumes, as an operator does; what was before.
    async fn set_paused(&self, paused: Option<Paused>) -> Option<Paused> {
        let (done, mut before) = oneshot::channel();
        self.orders.send(Order { paused, done }).await.unwrap();
        let began = clock::monotonic();
        loop {
            if let Ok(before) = before.try_recv() {
                return before;
            }
            assert!(began.elapsed() < PATIENCE, "the order was not obeyed");
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }

    /// Delivered, dead, expired.
    fn ends(&self) -> [u64; 3] {
        [self.metrics.delivered.value(), self.metrics.dead.value(), self.metrics.expired.value()]
    }

    async fn until_settled(&self, count: u64) {
        self.until("settled", |scene| scene.ends().iter().sum::<u64>() >= count).await;
    }

    /// Asks for the end of the work; [`Self::ended`] waits for it.
    fn drain(&self) {
        self.fixture.lifecycle.drain().cancel();
    }

    async fn ended(mut self) -> (TempDir, Arc<Script>) {
        self.drain();
        self.group.ended().await;
        assert_eq!(self.fixture.lifecycle.failure(), None);
        self.fixture.close().await;
        (self.folder, self.sink)
    }

    /// Stops and opens the same store again.
    async fn restart(self) -> Self {
        let config = self.config.clone();
        let (folder, sink) = self.ended().await;
        let plan = std::mem::replace(&mut *sink.plan.lock().unwrap(), Box::new(|_, _| delivered()));
        Self::open_in(folder, config, plan)
    }
}

/// The dead letters of a closed store: sequence, attempts that counted, cause, and the numbers of all attempts noted.
fn letters(folder: &TempDir) -> Vec<(u64, u32, String, Vec<u32>)> {
    let letters = dead_letters(folder.path()).unwrap();
    let mut found = Vec::new();
    let everything = LetterFilter::default();
    let visit = |listed: crate::store::Listed| {
        let attempts = letters.attempts(&listed.letter).unwrap();
        let numbers = attempts.iter().map(|attempt| attempt.number).collect();
        found.push((listed.letter.seq, listed.letter.attempts, listed.letter.cause, numbers));
        true
    };
    letters.each(&everything, Clock::default().now(), visit).unwrap();
    found
}

async fn counted(work: impl Future<Output = ()>, polls: Arc<AtomicUsize>) {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        polls.fetch_add(1, Atomic::SeqCst);
        work.as_mut().poll(context)
    })
    .await;
}
