//! How jobs are looked for and stepped, through the store.

use tokio::sync::oneshot;

use super::{Job, JobState, Order, Step, Survey};
use crate::config::SinkName;
use crate::store::Store;
use crate::store::error::{OpenError, Stopped};
use crate::store::writer::Command;

impl Store {
    /// A look through the store for a job; blocks for a moment.
    pub(crate) fn survey(&self) -> Result<Survey, OpenError> {
        let served = self.roster().sinks.values().copied().collect();
        self.surveys.start(served)
    }

    /// Hands over a step of a job for the next commit. The job as it stands when the step is durable; `None` if nothing
    /// was done, since a sink has enough to do or there is no room: to be tried again a little later.
    pub(crate) async fn step(&self, step: Step) -> Result<Option<Job>, Stopped> {
        let (done, job) = oneshot::channel();
        let parked =
            if let Order::DropParked { sink } = &step.job.order { Some(SinkName(sink.as_str().into())) } else { None };
        self.commands.send(Command::Step { step: Box::new(step), done }).await.map_err(|_| Stopped)?;
        let job = job.await.ok();
        if let (Some(sink), Some(Job { state: JobState::Done, .. })) = (parked, &job) {
            self.roster().parked.remove(&sink);
        }
        Ok(job)
    }
}
