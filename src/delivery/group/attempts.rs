//! The attempts of a sink that are under way, all in one task.
//!
//! A task for each of them would cost more than what most of them do between two waits. That they have one of their
//! own, beside the loop of the sink, lets them go on while the loop waits for the store.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;

use super::super::queue::Work;
use super::attempt::{Ended, attempt};
use crate::config::CONCURRENCY_MAX;
use crate::sink::Sink;
use crate::store::{SinkStore, Stopped};

/// Works that are begun before those under way are looked at again.
const BEGUN_MAX: usize = 64;

/// Work to do, and with which sink: that may change in between.
type Start = (Arc<dyn Sink>, Work);

/// Dropping it abandons what is under way.
pub(in crate::delivery) struct Attempts {
    starts: mpsc::Sender<Start>,
    ended: mpsc::Receiver<Ended>,
    count: usize,
    _task: JoinSet<()>,
}

impl Attempts {
    pub(in crate::delivery) fn new(store: Arc<SinkStore>) -> Self {
        // Nobody has more under way, so neither channel is ever full.
        let (starts, works) = mpsc::channel(CONCURRENCY_MAX);
        let (ends, ended) = mpsc::channel(CONCURRENCY_MAX);
        let mut task = JoinSet::new();
        task.spawn(run(store, works, ends));
        Self { starts, ended, count: 0, _task: task }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Begins an attempt.
    pub(super) fn start(&mut self, sink: Arc<dyn Sink>, work: Work) -> Result<(), Stopped> {
        self.count += 1;
        self.starts.try_send((sink, work)).map_err(|_| Stopped)
    }

    /// The next attempt to end; never, while none is under way. Fails if their task has died. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Ended, Stopped> {
        let ended = self.ended.recv().await.ok_or(Stopped)?;
        self.count -= 1;
        Ok(ended)
    }

    /// One that has ended already.
    pub(super) fn try_next(&mut self) -> Option<Ended> {
        let ended = self.ended.try_recv().ok()?;
        self.count -= 1;
        Some(ended)
    }
}

/// Woken by work and by what the attempts wait for; stopped with its [`Attempts`]; holds as much as it was given.
async fn run(store: Arc<SinkStore>, mut works: mpsc::Receiver<Start>, ends: mpsc::Sender<Ended>) {
    let (mut under_way, mut begun) = (FuturesUnordered::new(), Vec::with_capacity(BEGUN_MAX));
    loop {
        tokio::select! {
            count = works.recv_many(&mut begun, BEGUN_MAX) => {
                if count == 0 {
                    return;
                }
                let attempts = begun.drain(..).map(|(sink, work)| attempt(Arc::clone(&store), sink, work));
                under_way.extend(attempts);
            }
            // Each attempt would be looked at twice if the others had used up what one task may do at a time.
            Some(ended) = unconstrained(under_way.next()), if !under_way.is_empty() => {
                if ends.send(ended).await.is_err() {
                    return;
                }
            }
        }
    }
}
