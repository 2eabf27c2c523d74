//! Long-lived tasks: started here, stopped in order, never dead unseen.
//!
//! A [`Lifecycle`] owns two signals: *drain* (stop taking work, finish what is under way) and *abort* (leave
//! everything as it is; the store makes that safe). A task that ends by itself, or panics, while nobody asked for a
//! drain is a failure of the process: it starts the drain and the exit code tells.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

/// Starts tasks and stops them. Clones share the signals and the failure.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    /// Of the process.
    root: CancellationToken,
    /// Of the tasks that are started here; cancelled with `root`, or before.
    drain: CancellationToken,
    abort: CancellationToken,
    failure: Arc<Mutex<Option<String>>>,
}

/// A running task; await [`Task::ended`] for its end.
#[derive(Debug)]
pub(crate) struct Task {
    handle: tokio::task::JoinHandle<()>,
}

/// Where tests that kill the process end it; nothing without the feature `failpoints`.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "the name is used by the feature alone"))]
pub(crate) fn kill_point(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
}

impl Default for Lifecycle {
    fn default() -> Self {
        let root = CancellationToken::new();
        Self { drain: root.clone(), root, abort: CancellationToken::new(), failure: Arc::default() }
    }
}

impl Lifecycle {
    /// For tasks that may be stopped while the process goes on, by cancelling the drain of what is returned.
    pub(crate) fn child(&self) -> Self {
        Self { drain: self.drain.child_token(), ..self.clone() }
    }

    /// Cancelled when these tasks, or all of the process, are to finish their work and end.
    pub(crate) fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled when the process is to end at once.
    pub(crate) fn abort(&self) -> &CancellationToken {
        &self.abort
    }

    /// Starts the drain because something broke. The first reason is kept.
    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(reason, "the relay stops because of a failure");
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.get_or_insert(reason);
        drop(failure);
        self.root.cancel();
    }

    /// Why the process is ending, if it is not by request.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Starts a long-lived task. It must end only after [`Self::drain`] or [`Self::abort`]; an earlier end, a panic
    /// included, fails the process. After an abort it is dropped at its next await.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Task {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns long-lived tasks")]
        let handle = tokio::spawn(watched(name, self.clone(), work));
        Task { handle }
    }

    /// Starts a long-lived thread for blocking work, under the same rule.
    pub(crate) fn spawn_thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let lifecycle = self.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let watch = EndWatch { name, lifecycle, is_done: false };
            work();
            watch.done();
        })
    }
}

impl Task {
    /// Waits for the end; a panic was already reported.
    pub(crate) async fn ended(&mut self) {
        // The error says only that it panicked or was cancelled, and `EndWatch` has reported that.
        let _outcome = (&mut self.handle).await;
    }
}

async fn watched(name: &'static str, lifecycle: Lifecycle, work: impl Future<Output = ()>) {
    let abort = lifecycle.abort.clone();
    let watch = EndWatch { name, lifecycle, is_done: false };
    tokio::select! {
        biased;
        () = abort.cancelled() => {}
        () = work => {}
    }
    watch.done();
}

/// Notices, by being dropped, that a task panicked.
struct EndWatch {
    name: &'static str,
    lifecycle: Lifecycle,
    is_done: bool,
}

impl EndWatch {
    fn done(mut self) {
        self.is_done = true;
        let stopping = self.lifecycle.drain.is_cancelled() || self.lifecycle.abort.is_cancelled();
        if !stopping {
            self.lifecycle.fail(format!("{} ended by itself", self.name));
        }
    }
}

impl Drop for EndWatch {
    fn drop(&mut self) {
        // A task may also be dropped because its runtime ends: that is no failure.
        if !self.is_done && std::thread::panicking() {
            self.lifecycle.fail(format!("{} panicked", self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_early_fails_the_process() {
        for (is_sound, expected) in [(true, "worker ended by itself"), (false, "worker panicked")] {
            let lifecycle = Lifecycle::default();
            let mut task = lifecycle.spawn("worker", work(is_sound));
            lifecycle.drain().cancelled().await;
            task.ended().await;
            assert_eq!(lifecycle.failure().as_deref(), Some(expected));
        }
    }

    async fn work(is_sound: bool) {
        assert!(is_sound, "a bug");
    }

    #[test]
    fn a_task_that_the_end_of_the_runtime_drops_is_no_failure() {
        let lifecycle = Lifecycle::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { lifecycle.spawn("worker", std::future::pending()) });
        drop(runtime);
        assert_eq!(lifecycle.failure(), None);
    }

    #[tokio::test]
    async fn a_task_that_ends_after_the_drain_is_no_failure() {
        let lifecycle = Lifecycle::default();
        let drain = lifecycle.drain().clone();
        let mut task = lifecycle.spawn("worker", async move { drain.cancelled().await });
        lifecycle.drain().cancel();
        task.ended().await;
        assert_eq!(lifecycle.failure(), None);
    }

    #[tokio::test]
    async fn a_child_is_stopped_alone_and_fails_for_all() {
        let lifecycle = Lifecycle::default();
        let (stopped, failing) = (lifecycle.child(), lifecycle.child());
        let drain = stopped.drain().clone();
        let mut task = stopped.spawn("worker", async move { drain.cancelled().await });
        stopped.drain().cancel();
        task.ended().await;
        assert!(lifecycle.failure().is_none() && !lifecycle.drain().is_cancelled() && !failing.drain().is_cancelled());
        failing.spawn("worker", std::future::ready(())).ended().await;
        assert!(lifecycle.drain().is_cancelled() && lifecycle.failure().is_some());
    }
}
