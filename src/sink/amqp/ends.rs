//! Futures under way, and those of them that have come to their end, without a gap in time.
//!
//! [`Ends::next`] gives everything that had ended when it looked: if what it gives says that one future has ended, then
//! every other one that ended before is in the same list or in an earlier one. [`super::common`] rests on that.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use tokio::task::coop::unconstrained;

pub(super) struct Ends<F> {
    under_way: FuturesUnordered<F>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Wakes the task, and remembers that it did.
#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> Ends<F> {
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell::default());
        Self { under_way: FuturesUnordered::new(), waker: Waker::from(Arc::clone(&bell)), bell }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Begins it at the next look.
    pub(super) fn push(&self, future: F) {
        self.under_way.push(future);
    }

    /// Waits until some have ended, and gives all that have. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<F::Output> {
        // Once a task has done what it may at a time, futures of tokio only call again, and a look would not end.
        unconstrained(poll_fn(|cx| self.poll(cx))).await
    }

    /// A set of futures may stop short of what is ready if it has the waker called. So only a look that found nothing
    /// more, with nobody calling since it began, has seen all.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Vec<F::Output>> {
        self.bell.task.register(cx.waker());
        let mut ended = Vec::new();
        loop {
            self.bell.has_rung.store(false, Ordering::Release);
            let mut inner = Context::from_waker(&self.waker);
            while let Poll::Ready(Some(end)) = self.under_way.poll_next_unpin(&mut inner) {
                ended.push(end);
            }
            if !self.bell.has_rung.load(Ordering::Acquire) {
                break;
            }
        }
        if ended.is_empty() { Poll::Pending } else { Poll::Ready(ended) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::pin::Pin;

    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinSet;

    use super::*;

    const PAIRS: usize = 3_000;
    const UNDER_WAY_MAX: usize = 50;

    /// Futures that end one after the other.
    type Pair = (oneshot::Sender<()>, oneshot::Sender<()>);
    /// The number of its pair, and whether it ends first.
    type Half = Pin<Box<dyn Future<Output = (usize, bool)> + Send>>;

    async fn end_all(mut pairs: mpsc::Receiver<Pair>) {
        while let Some((first, second)) = pairs.recv().await {
            first.send(()).unwrap();
            second.send(()).unwrap();
        }
    }

    /// The second is looked at first.
    fn begin(number: usize, ends: &Ends<Half>) -> Pair {
        let ((first, first_end), (second, second_end)) = (oneshot::channel(), oneshot::channel());
        ends.push(Box::pin(async move { second_end.await.map(|()| (number, false)).unwrap() }));
        ends.push(Box::pin(async move { first_end.await.map(|()| (number, true)).unwrap() }));
        (first, second)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_ended_before_is_never_seen_after() {
        let (pairs, inbox) = mpsc::channel(UNDER_WAY_MAX);
        let mut other = JoinSet::new();
        other.spawn(end_all(inbox));
        let (mut ends, mut firsts, mut seconds, mut begun) = (Ends::new(), HashSet::new(), HashSet::new(), 0);
        while seconds.len() < PAIRS {
            let more = begun..PAIRS.min(seconds.len() + UNDER_WAY_MAX);
            begun = more.end;
            more.for_each(|number| pairs.try_send(begin(number, &ends)).unwrap());
            let (first, second): (Vec<_>, Vec<_>) = ends.next().await.into_iter().partition(|(_, is_first)| *is_first);
            firsts.extend(first.into_iter().map(|(number, _)| number));
            seconds.extend(second.into_iter().map(|(number, _)| number));
            assert!(seconds.is_subset(&firsts), "{:?}", seconds.difference(&firsts));
        }
        assert!(ends.is_empty());
    }
}
