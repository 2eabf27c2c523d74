//! The loop that asks CSPR.cloud: what wakes it, and what it asks when.

mod answers;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::compare::Seen;
use super::schedule::{Pending, Schedule, Walk};
use super::{Setup, Watching};
use crate::backoff::Backoff;
use crate::budget::Purpose;
use crate::source::rest::{Ownerships, RestError, Walked};
use crate::store::{Observed, Stopped};

/// Owners asked for at once; what the limits on requests allow is up to the client.
const ASKS_MAX: usize = 4;
/// After a failure that the client has not overcome by itself.
const PAUSE: Backoff = Backoff { first: Duration::from_secs(5), cap: Duration::from_secs(300) };

type Job = BoxFuture<'static, Answer>;

/// What an answer of CSPR.cloud is about.
enum Answer {
    Owner(Pending, Result<Seen, RestError>),
    Package(Result<Walked, RestError>),
}

/// A walk under way.
struct Walking {
    package: Arc<str>,
    walk: Walk,
    held: Vec<Pending>,
    /// Owners of the package who were answered for since it began.
    asked: HashSet<Arc<str>>,
}

pub(super) struct Worker {
    setup: Setup,
    watching: watch::Receiver<Watching>,
    schedule: Schedule,
    jobs: FuturesUnordered<Job>,
    asks: usize,
    walking: Option<Walking>,
    /// Failures in a row, and until when nothing is asked because of them.
    failures: u32,
    paused_until: Option<Instant>,
    reconcile_at: Instant,
}

impl Worker {
    pub(super) fn new(setup: Setup, watching: watch::Receiver<Watching>) -> Self {
        let config = watching.borrow().config;
        Self {
            setup,
            watching,
            schedule: Schedule::new(config.settle),
            jobs: FuturesUnordered::new(),
            asks: 0,
            walking: None,
            failures: 0,
            paused_until: None,
            reconcile_at: Instant::now() + config.reconcile,
        }
    }

    /// Woken by marks, answers, reconnects, reloads and the time at which something is due; stopped by the drain, which
    /// drops what is being asked; ends with the store. No failure of CSPR.cloud ends it. What waits in memory is bounded
    /// by the schedule.
    pub(super) async fn run(mut self, drain: &CancellationToken) {
        tokio::select! {
            () = drain.cancelled() => {}
            // The store has said why it stopped.
            _stopped = self.work() => {}
        }
    }

    async fn work(&mut self) -> Result<(), Stopped> {
        self.adopt().await?;
        loop {
            self.start_jobs();
            self.show();
            let wake_at = self.wake_at();
            tokio::select! {
                marked = self.setup.store.marked() => {
                    self.drop_unwatched(marked.all_packages()).await?;
                    self.schedule.mark(marked, Instant::now());
                }
                Some(answer) = self.jobs.next() => self.take(answer).await?,
                Ok(()) = self.setup.reconnects.changed() => self.walk_all_soon(),
                Ok(()) = self.watching.changed() => self.adopt().await?,
                () = sleep_until(wake_at) => self.tick(),
            }
        }
    }

    /// Takes up what is to be watched. New packages are walked, since nobody knows what happened to them so far.
    async fn adopt(&mut self) -> Result<(), Stopped> {
        let Watching { config, packages } = self.watching.borrow_and_update().clone();
        self.schedule.set_settle(config.settle);
        self.reconcile_at = self.reconcile_at.min(Instant::now() + config.reconcile);
        let gone: Vec<Arc<str>> = self.schedule.watched().filter(|known| !packages.contains(*known)).cloned().collect();
        gone.iter().for_each(|package| self.schedule.forget(package));
        self.drop_unwatched(gone.into_iter().collect()).await?;
        for package in packages {
            if self.schedule.watches(&package) {
                continue;
            }
            let is_walked = self.setup.store.is_walked(&package).await?;
            self.schedule.watch(Arc::clone(&package), is_walked);
            self.schedule.walk_unheard(&package, Instant::now() + config.settle);
        }
        Ok(())
    }

    /// Lets go of dues of packages that nobody asks for any more.
    async fn drop_unwatched(&mut self, packages: HashSet<Arc<str>>) -> Result<(), Stopped> {
        let unwatched = packages.into_iter().filter(|package| !self.schedule.watches(package));
        let steps: Vec<Observed> = unwatched.map(|package| Observed::Unwatched { package }).collect();
        if steps.is_empty() { Ok(()) } else { self.setup.store.observe(steps, Vec::new()).await }
    }

    fn walk_all_soon(&mut self) {
        // Several connections come up one after the other; and REST lags behind.
        let at = Instant::now() + self.watching.borrow().config.settle;
        let packages: Vec<Arc<str>> = self.schedule.watched().cloned().collect();
        packages.iter().for_each(|package| self.schedule.walk_unheard(package, at));
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.reconcile_at <= now {
            self.reconcile_at = now + self.watching.borrow().config.reconcile;
            self.schedule.walk_all_at(now);
        }
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    fn wake_at(&self) -> Instant {
        let next = match self.paused_until {
            Some(until) => Some(until),
            None => self.schedule.next_at(self.asks < ASKS_MAX),
        };
        next.map_or(self.reconcile_at, |next| next.min(self.reconcile_at))
    }

    fn start_jobs(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some() {
            return;
        }
        while self.asks < ASKS_MAX {
            let Some(pending) = self.schedule.take_ripe(now) else { break };
            self.asks += 1;
            let pending = self.begin(pending);
            self.jobs.push(self.ask(pending));
        }
        if let Some((package, walk, held)) = self.schedule.take_walk(now) {
            tracing::debug!(package = &*package, dues = held.len(), "all owners of a package are looked through");
            let held: Vec<Pending> = held.into_iter().map(|pending| self.begin(pending)).collect();
            self.jobs.push(self.walk(&package));
            self.walking = Some(Walking { package, walk, held, asked: HashSet::new() });
        }
    }

    /// Takes account of what was marked since the owner was told of.
    fn begin(&self, pending: Pending) -> Pending {
        match self.setup.store.begin_asking(&pending.due) {
            Some((due, marks)) => pending.joined(due, marks),
            None => pending,
        }
    }

    fn ask(&self, pending: Pending) -> Job {
        let rest = self.setup.rest.at(Purpose::Due);
        Box::pin(async move {
            let (package, owner) = pending.key();
            let whose = Ownerships::OwnerInPackage { owner: owner.to_string(), package: package.to_string() };
            let found = rest.ownerships(&whose, |_, _| ()).await;
            let seen = found.map(|walked| answers::seen_of(&walked.rows, &package, &owner));
            Answer::Owner(pending, seen)
        })
    }

    fn walk(&self, package: &Arc<str>) -> Job {
        let (rest, package) = (self.setup.rest.at(Purpose::Reconcile), package.to_string());
        Box::pin(async move { Answer::Package(rest.ownerships(&Ownerships::Package(package), |_, _| ()).await) })
    }

    fn note_success(&mut self) {
        if self.failures > 0 {
            tracing::info!("CSPR.cloud's REST API answers again: ownership is looked at");
        }
        self.failures = 0;
        self.setup.metrics.ownership.set_trouble(None);
    }

    fn note_trouble(&self, error: &RestError) {
        self.setup.metrics.ownership.failures.increment();
        self.setup.metrics.ownership.set_trouble(Some(error.to_string()));
    }

    /// Nothing is asked for a while. The dues stay.
    fn pause(&mut self, error: &RestError) {
        self.note_trouble(error);
        if self.failures == 0 {
            tracing::warn!(%error, "CSPR.cloud's REST API cannot be asked: changes of ownership are told later");
        }
        self.failures = self.failures.saturating_add(1);
        self.paused_until = Some(Instant::now() + PAUSE.bound(self.failures));
    }

    fn show(&self) {
        let metrics = &self.setup.metrics.ownership;
        metrics.packages.set(self.schedule.watched().count() as u64);
        metrics.due.set(self.schedule.len() as u64);
    }
}
