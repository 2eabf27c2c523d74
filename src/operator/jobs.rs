//! The task that works on jobs: it looks, hands a step to the store, and looks again.
//!
//! Woken by an order, the end of a step and the time that a rate asks for; stopped by the drain, which leaves a job
//! where its last step was: the next start goes on from there. A step that finds no room is tried again. At most
//! [`RUNNING_MAX`] jobs are at work at once; the looking is done on threads for blocking work, a page at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backfill::Means;
use super::board::{Board, Entry};
use super::pace::Pace;
use crate::clock::Clock;
use crate::intake::Reroute;
use crate::lifecycle::{Lifecycle, Task};
use crate::store::{Counts, Job, JobPage, JobState, Order, Step, Store, Survey};

const RUNNING_MAX: usize = 8;
/// After a step that found no room.
const PAUSE: Duration = Duration::from_millis(20);
/// Rows that a count looks at together.
const COUNTED_MAX: usize = 256;
/// Counts under way at once.
const COUNTING_MAX: usize = 4;
/// How long a count may take: less than an answer may.
const COUNT_MAX: Duration = Duration::from_secs(15);
/// How long a cancelled job may take to end before whoever cancelled it is told so: less than an answer may.
const CANCEL_MAX: Duration = Duration::from_secs(10);
/// How often a message is looked for that is on its way out of the quarantine.
const LOOK: Duration = Duration::from_millis(50);

/// Why a job was not set to work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    NotFound(String),
    #[error("as many jobs are at work, or being counted, as may be: wait for one to end, or cancel one")]
    TooMany,
    #[error("{0}")]
    Failed(String),
}

/// The jobs. Clones share them.
#[derive(Clone)]
pub(super) struct Jobs {
    board: Arc<Board>,
    begun: mpsc::Sender<Job>,
    counting: Arc<Semaphore>,
    start: Start,
    drain: CancellationToken,
}

/// What work is done with.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) means: Means,
    pub(super) reroute: Reroute,
    pub(super) store: Store,
    pub(super) clock: Clock,
}

impl Start {
    pub(super) fn start(self, lifecycle: &Lifecycle) -> (Jobs, Task) {
        let (begun, orders) = mpsc::channel(RUNNING_MAX);
        let board = Arc::<Board>::default();
        let counting = Arc::new(Semaphore::new(COUNTING_MAX));
        let drain = lifecycle.drain().clone();
        let jobs = Jobs { board: Arc::clone(&board), begun, counting, start: self.clone(), drain: drain.clone() };
        let task = lifecycle.spawn("jobs", serve(self, board, orders, drain));
        (jobs, task)
    }
}

impl Jobs {
    pub(super) async fn begin(&self, order: Order) -> Result<Job, Refusal> {
        if self.board.running() >= RUNNING_MAX {
            return Err(Refusal::TooMany);
        }
        let job = Job::new(order, self.start.clock.now());
        let begun = self.start.store.step(Step::note(job)).await;
        let full = || Refusal::Failed("the store has no room for it now: is the disk full?".to_owned());
        let job = begun.map_err(|stopped| Refusal::Failed(stopped.to_string()))?.ok_or_else(full)?;
        self.board.show(job.clone());
        tracing::info!(job = job.number, order = ?job.order, "an operator set a job to work");
        self.begun.send(job.clone()).await.map_err(|_| Refusal::Failed("the relay is stopping".to_owned()))?;
        Ok(job)
    }

    pub(super) async fn count(&self, order: Order) -> Result<(Counts, bool), Refusal> {
        if let Order::Backfill { contract_package, history, .. } = &order {
            return self.start.means.forecast(contract_package, *history).await;
        }
        let job = Job::new(order, self.start.clock.now());
        let (store, until) = (self.start.store.clone(), Instant::now() + COUNT_MAX);
        let slot = Arc::clone(&self.counting).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
        let counted = spawn_blocking(move || {
            let _slot = slot;
            count(&store, job, until)
        })
        .await;
        let counted = counted.map_err(|_panic| Refusal::Failed("counting failed".to_owned()))?;
        counted.map_err(|error| Refusal::Failed(format!("{error:#}")))
    }

    pub(super) fn list(&self) -> Vec<Job> {
        self.board.list()
    }

    pub(super) fn one(&self, number: u64) -> Option<Job> {
        self.board.one(number).map(|entry| entry.job)
    }

    /// The job before and after. What is answered is on disk.
    pub(super) async fn cancel(&self, number: u64) -> Result<(Job, Job), Refusal> {
        let unknown = || Refusal::NotFound(format!("there is no job {number}, or it ended long ago"));
        let Entry { job: before, cancel, ended } = self.board.one(number).ok_or_else(unknown)?;
        cancel.cancel();
        let late = || format!("job {number} is to end, but that is not on disk yet: is the disk full? ask again");
        tokio::select! {
            biased;
            in_time = timeout(CANCEL_MAX, ended.cancelled()) => in_time.map_err(|_| Refusal::Failed(late()))?,
            () = self.drain.cancelled() => {
                let why = format!("the relay is stopping: job {number} goes on with its next start; cancel it then");
                return Err(Refusal::Failed(why));
            }
        }
        let after = self.one(number).unwrap_or_else(|| before.clone());
        Ok((before, after))
    }
}

/// What an order would do; false if there was no time for all of it.
fn count(store: &Store, mut job: Job, until: Instant) -> anyhow::Result<(Counts, bool)> {
    let mut survey = store.survey()?;
    if let Order::DropParked { sink } = &job.order {
        let parked = store.parked().get(&crate::config::SinkName(sink.as_str().into())).copied().unwrap_or(0);
        return Ok((Counts { matched: parked, done: parked, ..Counts::default() }, true));
    }
    survey.outline(&mut job)?;
    loop {
        let began = Instant::now();
        if !survey.learn(&job)? {
            std::thread::park_timeout(began.elapsed());
            if began >= until {
                return Ok((job.counts, false));
            }
            continue;
        }
        let page = survey.page(&job, COUNTED_MAX)?;
        if survey.judge(&mut job, &page)? {
            return Ok((job.counts, true));
        }
        if Instant::now() >= until {
            return Ok((job.counts, false));
        }
    }
}

async fn serve(start: Start, board: Arc<Board>, mut orders: mpsc::Receiver<Job>, drain: CancellationToken) {
    let (mut at_work, mut found) = (JoinSet::new(), BTreeSet::new());
    let work = |cancel| Work { start: start.clone(), board: Arc::clone(&board), cancel, drain: drain.clone() };
    for job in start.left().await {
        found.insert(job.number);
        let cancel = board.show(job.clone());
        if job.is_running() {
            tracing::info!(job = job.number, "a job goes on where the last run left it");
            at_work.spawn(work(cancel).run(job));
        }
    }
    loop {
        tokio::select! {
            // One that was ordered while the others were looked for may have been found among them.
            Some(job) = orders.recv() => if !found.contains(&job.number) {
                at_work.spawn(work(board.show(job.clone())).run(job));
            },
            Some(_ended) = at_work.join_next() => {}
            () = drain.cancelled() => break,
        }
    }
    // They end with the step that is under way.
    while at_work.join_next().await.is_some() {}
}

impl Start {
    /// What earlier runs left.
    async fn left(&self) -> Vec<Job> {
        let store = self.store.clone();
        let read = spawn_blocking(move || anyhow::Ok(store.survey()?.jobs()?)).await;
        match read.map_err(anyhow::Error::new).and_then(|read| read) {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::error!(%error, "the jobs of earlier runs cannot be read: they do not go on");
                Vec::new()
            }
        }
    }
}

/// One job at work.
pub(super) struct Work {
    pub(super) start: Start,
    pub(super) board: Arc<Board>,
    pub(super) cancel: CancellationToken,
    pub(super) drain: CancellationToken,
}

impl Work {
    async fn run(self, job: Job) {
        let number = job.number;
        let worked = match job.order {
            Order::Backfill { .. } => self.backfill(job).await,
            _ => self.work(job).await,
        };
        let ended = match worked {
            Ok(ended) => ended,
            Err(error) => self.fail(number, format!("{error:#}")).await,
        };
        if let Some(Job { number, state, counts, .. }) = ended {
            tracing::info!(job = number, state = state.as_str(), ?counts, "a job has ended");
        }
    }

    /// The job when it has ended; nothing if the relay stops before.
    async fn work(&self, mut job: Job) -> anyhow::Result<Option<Job>> {
        let store = self.start.store.clone();
        let mut survey = spawn_blocking(move || store.survey()).await.context("starting to look")??;
        let mut pace = Pace::new(&job, Instant::now());
        while job.is_running() {
            if self.cancel.is_cancelled() {
                job = job.ended(JobState::Cancelled, self.start.clock.now());
                return self.hand_over(Step::note(job)).await;
            }
            let began = Instant::now();
            let (looked, found) = look(survey, &job, pace.rows(began)).await?;
            survey = looked;
            let Some(found) = found else {
                tokio::select! {
                    () = sleep(began.elapsed()) => continue,
                    () = self.cancel.cancelled() => continue,
                    () = self.drain.cancelled() => return Ok(None),
                }
            };
            let step = match found {
                Found::Rows(page) => Step { job, page },
                Found::Messages(page, kept) => {
                    let (looked, page) = self.reroute(survey, page, kept).await?;
                    survey = looked;
                    Step { job, page }
                }
            };
            let Some((stepped, took)) = self.step(step).await? else { return Ok(None) };
            job = stepped;
            pace.took(took);
            tokio::select! {
                () = sleep_until(pace.next(job.counts.done)) => {}
                () = self.cancel.cancelled() => {}
                () = self.drain.cancelled() => return Ok(None),
            }
        }
        Ok(Some(job))
    }

    /// Hands a step over until there is room for it; nothing if the relay stops before. That of a job that is cancelled
    /// is tried once, and what was done for it already is counted.
    pub(super) async fn hand_over(&self, step: Step) -> anyhow::Result<Option<Job>> {
        Ok(self.step(step).await?.map(|(job, _)| job))
    }

    /// The same, with how long the commit took.
    pub(super) async fn step(&self, step: Step) -> anyhow::Result<Option<(Job, Duration)>> {
        loop {
            if self.drain.is_cancelled() {
                return Ok(None);
            }
            let began = Instant::now();
            if let Some(job) = self.start.store.step(step.clone()).await? {
                self.board.show(job.clone());
                return Ok(Some((job, began.elapsed())));
            }
            if step.job.is_running() && self.cancel.is_cancelled() {
                return Ok(Some((step.without_rows(), Duration::ZERO)));
            }
            sleep(PAUSE).await;
        }
    }

    async fn fail(&self, number: u64, why: String) -> Option<Job> {
        tracing::error!(job = number, why, "a job cannot go on");
        let job = self.board.one(number)?.job;
        let failed = job.ended(JobState::Failed(why), self.start.clock.now());
        // If that cannot be written either, the next start tries the job again.
        self.hand_over(Step::note(failed)).await.ok().flatten()
    }

    /// Offers messages of the quarantine to be accepted, and waits until they have left it.
    async fn reroute(
        &self,
        mut survey: Survey,
        mut page: JobPage,
        kept: Vec<crate::store::Kept>,
    ) -> anyhow::Result<(Survey, JobPage)> {
        let reroute = self.start.reroute.clone();
        let judged = spawn_blocking(move || {
            let candidates: Vec<_> = kept.iter().filter_map(|message| reroute.candidate(message)).collect();
            (kept.len() - candidates.len(), candidates)
        });
        let (left, candidates) = judged.await.context("reading messages of the quarantine")?;
        let numbers: Vec<u64> = candidates.iter().filter_map(|candidate| candidate.quarantine).collect();
        if !candidates.is_empty() {
            tokio::select! {
                accepted = self.start.store.accept(candidates) => accepted?,
                // While the store is full that may take long.
                () = self.cancel.cancelled() => {}
            }
        }
        let mut still_kept;
        loop {
            let numbers = numbers.clone();
            let looked = spawn_blocking(move || survey.still_kept(&numbers).map(|kept| (survey, kept)));
            (survey, still_kept) = looked.await.context("looking for messages of the quarantine")??;
            // While the store has no room they wait with intake; after a stop they are still where they were. Those of a
            // job that is cancelled may leave yet, uncounted.
            if still_kept == 0 || self.drain.is_cancelled() || self.cancel.is_cancelled() {
                break;
            }
            sleep(LOOK).await;
        }
        let (taken, left) = (numbers.len() as u64, left as u64);
        let counts = Counts { matched: taken + left, done: taken - still_kept, left, ..Counts::default() };
        page.settle_messages(counts, still_kept == 0);
        Ok((survey, page))
    }
}

enum Found {
    Rows(JobPage),
    Messages(JobPage, Vec<crate::store::Kept>),
}

/// A page, or nothing if there is more to learn before.
async fn look(mut survey: Survey, job: &Job, max: usize) -> anyhow::Result<(Survey, Option<Found>)> {
    let job = job.clone();
    let looked = spawn_blocking(move || {
        if !survey.learn(&job)? {
            return Ok((survey, None));
        }
        let found = match job.order {
            Order::RerouteQuarantined { .. } => {
                survey.messages(&job, max).map(|(page, kept)| Found::Messages(page, kept))?
            }
            _ => Found::Rows(survey.page(&job, max)?),
        };
        anyhow::Ok((survey, Some(found)))
    });
    looked.await.context("looking through the store")?
}
