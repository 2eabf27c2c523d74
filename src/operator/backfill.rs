//! A job that sends a sink what REST knows of a package: its tokens as they are, or all that was done with them.
//!
//! [`filling`](super::filling) says what becomes of the rows. They are asked for with the least urgency. When REST fails
//! the job waits, says why, and tries again. It waits as well while the sink has enough to do, so that nothing expires
//! for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::filling::Filling;
use super::jobs::{Refusal, Work};
use super::pace::Pace;
use crate::backoff::Backoff;
use crate::budget::Purpose;
use crate::config::SinkName;
use crate::delivery::Controls;
use crate::metrics::Metrics;
use crate::repair::Present;
use crate::source::rest::RestError;
use crate::store::{Counts, Job, JobState, Step, Stopped};

/// Between two tries when REST fails.
const RETRY: Backoff = Backoff { first: Duration::from_secs(5), cap: Duration::from_secs(300) };
/// A sink with so many deliveries pending gets no more until it has caught up.
const PENDING_MAX: u64 = 2_048;
/// Between two looks at what a page waits for.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a forecast may wait for its turn and its answer.
const FORECAST_MAX: Duration = Duration::from_secs(15);

/// What backfills work with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) present: Present,
    pub(super) sinks: Arc<Mutex<BTreeMap<SinkName, Controls>>>,
    pub(super) metrics: Arc<Metrics>,
}

/// Why a page did not come about.
pub(super) enum Trouble {
    /// It is to be tried again.
    Passing(RestError),
    /// The job has come to its end.
    Final(anyhow::Error),
    /// The job was cancelled when so many events of the page had been accepted.
    Cancelled { done: u64 },
}

impl Trouble {
    /// The same, met after so many events of the page had been accepted.
    pub(super) fn after(self, done: u64) -> Self {
        match self {
            Self::Cancelled { .. } => Self::Cancelled { done },
            other => other,
        }
    }
}

impl From<RestError> for Trouble {
    fn from(error: RestError) -> Self {
        match error {
            RestError::NotFound | RestError::Refused { .. } => Self::Final(error.into()),
            _ => Self::Passing(error),
        }
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error)
    }
}

impl From<Stopped> for Trouble {
    fn from(stopped: Stopped) -> Self {
        Self::Final(stopped.into())
    }
}

impl Means {
    /// How many rows there are, and whether that is all of them. Nothing is known of them if REST has no turn to spare.
    pub(super) async fn forecast(&self, package: &str, history: bool) -> Result<(Counts, bool), Refusal> {
        let Ok(asked) = timeout(FORECAST_MAX, self.present.page(package, history, 1)).await else {
            return Ok((Counts::default(), false));
        };
        let first = asked.map_err(|error| Refusal::Failed(error.to_string()))?;
        if first.rows.is_empty() {
            return Err(Refusal::NotFound(nothing(package)));
        }
        let count = first.total.unwrap_or(first.rows.len() as u64);
        let counts = Counts { seen: count, matched: count, done: count, ..Counts::default() };
        Ok((counts, first.total.is_some() || first.is_last))
    }

    /// Whether a sink has place for an event of so many bytes.
    pub(super) fn has_place(&self, sink: &SinkName, bytes: u64) -> bool {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((controls, metrics)) = sinks.get(sink).zip(self.metrics.sink(sink)) else { return true };
        let bytes_max = controls.setup().config.backlog.max_bytes;
        metrics.pending.value() < PENDING_MAX && metrics.pending_bytes.value() + bytes <= bytes_max
    }
}

impl Work {
    /// Works on a backfill; the job when it has ended, nothing if the relay stops before.
    pub(super) async fn backfill(&self, mut job: Job) -> anyhow::Result<Option<Job>> {
        let Some(mut filling) = Filling::new(self, &job) else { return Ok(Some(job)) };
        let mut pace = Pace::new(&job, Instant::now());
        let mut failures = 0;
        while job.is_running() {
            if self.cancel.is_cancelled() {
                job = job.ended(JobState::Cancelled, self.start.clock.now());
                return self.hand_over(Step::note(job)).await;
            }
            let rows = pace.rows(Instant::now());
            let page = tokio::select! {
                biased;
                () = self.drain.cancelled() => return Ok(None),
                page = filling.page(&job, rows) => page,
                () = self.tell_waits(job.clone()) => continue,
            };
            let page = match page {
                Ok(page) => page,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Cancelled { done }) => {
                    job.counts.add(Counts { seen: done, matched: done, done, ..Counts::default() });
                    continue;
                }
                Err(Trouble::Passing(error)) => {
                    failures += 1;
                    self.put_off(&mut job, &error, failures).await;
                    continue;
                }
            };
            (failures, job.trouble) = (0, None);
            let Some((stepped, took)) = self.step(Step { job, page }).await? else { return Ok(None) };
            job = stepped;
            pace.took(took);
            self.idle(pace.next(job.counts.done)).await;
        }
        Ok(Some(job))
    }

    /// Shows what a page waits for, for as long as that is so.
    async fn tell_waits(&self, mut job: Job) {
        loop {
            sleep(TELL_EVERY).await;
            let trouble = self.start.means.metrics.rest.hindrance(Purpose::Backfill);
            if trouble != job.trouble {
                job.trouble = trouble;
                self.board.show(job.clone());
            }
        }
    }

    /// What comes of it, unless the job is cancelled before.
    pub(super) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Trouble::Cancelled { done: 0 }),
            done = work => Ok(done),
        }
    }

    /// Shows what the matter is, and waits before the next try.
    async fn put_off(&self, job: &mut Job, error: &RestError, failures: u32) {
        let wait = RETRY.bound(failures);
        tracing::warn!(job = job.number, %error, retry_s = wait.as_secs(), "a backfill waits for CSPR.cloud's REST API");
        job.trouble = Some(error.to_string());
        self.board.show(job.clone());
        self.idle(Instant::now() + wait).await;
    }

    /// Waits; not if the job or the relay is to end.
    async fn idle(&self, until: Instant) {
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.cancel.cancelled() => {}
            () = self.drain.cancelled() => {}
        }
    }
}

pub(super) fn nothing(package: &str) -> String {
    format!("CSPR.cloud knows no tokens of the contract package {package}: check the hash and source.network")
}
