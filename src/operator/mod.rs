//! What an operator does to a running relay: pause and resume sinks, try them, and set jobs to work on what is stored.
//!
//! Every change is durable before it is answered, and logged with what it is about, what was before and what is now.

mod backfill;
mod board;
mod filling;
mod jobs;
mod pace;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use crate::delivery::Trial;
use backfill::Means;
pub(crate) use jobs::Refusal;
use jobs::{Jobs, Start};

use crate::clock::Clock;
use crate::config::SinkName;
use crate::delivery::{Controls, trial};
use crate::event::Network;
use crate::intake::Reroute;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::repair::Present;
use crate::store::{Counts, Job, LetterChoice, Order, Paused, PausedBy, Stopped, Store};

/// What an operator's work is done with.
pub(crate) struct Setup {
    pub(crate) reroute: Reroute,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) present: Present,
    pub(crate) metrics: Arc<Metrics>,
}

/// Acts for operators. Clones share it.
#[derive(Clone)]
pub(crate) struct Operator {
    network: Network,
    clock: Clock,
    store: Store,
    sinks: Arc<Mutex<BTreeMap<SinkName, Controls>>>,
    jobs: Jobs,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    #[error("there is no sink `{0}` in the configuration")]
    NoSink(SinkName),
    #[error("the relay is stopping")]
    Stopping,
}

impl From<Stopped> for NotDone {
    fn from(_: Stopped) -> Self {
        Self::Stopping
    }
}

impl Operator {
    /// Starts the task that works on jobs, beginning with those that an earlier run left.
    pub(crate) fn start(setup: Setup, lifecycle: &Lifecycle) -> (Self, Task) {
        let Setup { reroute, store, clock, present, metrics } = setup;
        let (network, sinks) = (reroute.network, Arc::<Mutex<_>>::default());
        let means = Means { present, sinks: Arc::clone(&sinks), metrics };
        let (jobs, task) = Start { means, reroute, store: store.clone(), clock: clock.clone() }.start(lifecycle);
        (Self { network, clock, store, sinks, jobs }, task)
    }

    /// A sink is at work from now on.
    pub(crate) fn add_sink(&self, name: &SinkName, controls: Controls) {
        self.sinks().insert(name.clone(), controls);
    }

    pub(crate) fn remove_sink(&self, name: &SinkName) {
        self.sinks().remove(name);
    }

    /// Why a sink is paused, if it is.
    pub(crate) fn paused(&self, name: &SinkName) -> Option<Paused> {
        self.sinks().get(name).and_then(Controls::paused)
    }

    /// Pauses a sink, until [`Self::resume`]; what was before. Its events wait meanwhile, whatever restarts.
    pub(crate) async fn pause(&self, name: &SinkName, reason: &str) -> Result<Option<Paused>, NotDone> {
        let paused = Paused { since: self.clock.now(), by: PausedBy::Operator, reason: reason.to_owned() };
        let before = self.controls(name)?.set_paused(Some(paused)).await?;
        tracing::info!(sink = %name, reason, before = told(before.as_ref()), after = "paused", "an operator paused a sink");
        Ok(before)
    }

    /// Ends a pause, whoever began it; what was before.
    pub(crate) async fn resume(&self, name: &SinkName) -> Result<Option<Paused>, NotDone> {
        let before = self.controls(name)?.set_paused(None).await?;
        tracing::info!(sink = %name, before = told(before.as_ref()), after = "at work", "an operator resumed a sink");
        Ok(before)
    }

    /// Sends a sink one event that never was.
    pub(crate) async fn test(&self, name: &SinkName) -> Result<Trial, NotDone> {
        let setup = self.controls(name)?.setup();
        let trial = trial(&setup, self.network, self.clock.now()).await;
        tracing::info!(sink = %name, id = %trial.id, "an operator sent a sink a test event");
        Ok(trial)
    }

    /// Says what an order would do, without doing any of it; and whether it has looked at everything, which takes some
    /// time if there is much.
    pub(crate) async fn count(&self, order: Order) -> Result<(Counts, bool), Refusal> {
        self.check(&order)?;
        self.jobs.count(order).await
    }

    /// Sets a job to work. Durable when it returns.
    pub(crate) async fn order(&self, order: Order) -> Result<Job, Refusal> {
        self.check(&order)?;
        self.jobs.begin(order).await
    }

    /// The jobs at work and those that ended lately, newest first.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.jobs.list()
    }

    pub(crate) fn job(&self, number: u64) -> Option<Job> {
        self.jobs.one(number)
    }

    /// Ends a job where it is: as it was, and as it has ended. What it has done stays done. Durable when it returns.
    pub(crate) async fn cancel(&self, number: u64) -> Result<Job, Refusal> {
        let (before, after) = self.jobs.cancel(number).await?;
        let (was, is) = (before.state.as_str(), after.state.as_str());
        tracing::info!(job = number, before = was, after = is, "an operator cancelled a job");
        Ok(after)
    }

    fn check(&self, order: &Order) -> Result<(), Refusal> {
        let known = |name: &str| SinkName(name.into());
        match order {
            Order::ReplayEvents { sink, .. } | Order::Backfill { sink, .. }
                if self.store.sink_id(&known(sink)).is_none() =>
            {
                Err(Refusal::NotFound(format!("there is no sink `{sink}` in the configuration")))
            }
            Order::DropParked { sink } if !self.store.parked().contains_key(&known(sink)) => {
                Err(Refusal::NotFound(format!("nothing is parked for a sink `{sink}`")))
            }
            Order::ReplayDeadLetters { choice: LetterChoice { sink: Some(sink), .. }, .. }
            | Order::DropDeadLetters { choice: LetterChoice { sink: Some(sink), .. } }
                if self.store.sink_id(&known(sink)).is_none() && !self.has_seen(sink)? =>
            {
                Err(Refusal::NotFound(format!("there is no sink `{sink}`, and never was")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the store knows a sink, perhaps one that is no longer configured. Blocks for a moment.
    fn has_seen(&self, sink: &str) -> Result<bool, Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::Failed(error.to_string());
        let survey = self.store.survey().map_err(|error| failed(&error))?;
        survey.knows_sink(sink).map_err(|error| failed(&error))
    }

    fn controls(&self, name: &SinkName) -> Result<Controls, NotDone> {
        self.sinks().get(name).cloned().ok_or_else(|| NotDone::NoSink(name.clone()))
    }

    fn sinks(&self) -> MutexGuard<'_, BTreeMap<SinkName, Controls>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(paused: Option<&Paused>) -> String {
    match paused {
        None => "at work".to_owned(),
        Some(Paused { since, by: PausedBy::Operator, reason }) => format!("paused since {since}: {reason}"),
        Some(Paused { since, by: PausedBy::Destination, reason }) => format!("gone (410) since {since}: {reason}"),
    }
}
