//! Accepting connections, so many and no more, and serving HTTP/1.1 on them.
//!
//! Hostile or stuck clients take nothing from anybody: a request has a limited time to arrive and to be answered, a
//! connection over [`CONNECTIONS_MAX`] costs the oldest one that has no request under way its place, so a probe or an
//! operator still gets in. Nothing here shares a thread, a lock or a queue with delivery.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;

/// Connections that may be open at once.
pub(super) const CONNECTIONS_MAX: usize = 128;
/// From the connection, or from the answer before, to the last byte of the headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// From the headers to the head of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Line and headers of a request together.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// What is being answered at a stop has this long.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// After an error of `accept` that is not about one connection, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The open connections, oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<Open>,
}

struct Open {
    task: AbortHandle,
    /// Requests whose answer is being made.
    under_way: Arc<AtomicUsize>,
}

/// Woken by a connection or the end of one; stopped by `stop`; an `accept` that fails is tried again.
pub(super) async fn serve(listener: TcpListener, app: Router, stop: CancellationToken) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => connections.add(stream, app.clone(), stop.clone()),
                Err(_error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_ended) = connections.tasks.join_next() => connections.forget_ended(),
            () = stop.cancelled() => break,
        }
    }
    // Whoever has not got an answer by then asks again elsewhere.
    let all_ended = async { while connections.tasks.join_next().await.is_some() {} };
    let _ended = tokio::time::timeout(STOP_TIMEOUT, all_ended).await;
}

impl Connections {
    fn add(&mut self, stream: TcpStream, app: Router, stop: CancellationToken) {
        if self.open.len() >= CONNECTIONS_MAX {
            self.evict();
        }
        let under_way = Arc::new(AtomicUsize::new(0));
        let task = self.tasks.spawn(connection(stream, app, Arc::clone(&under_way), stop));
        self.open.push_back(Open { task, under_way });
    }

    /// Closes the oldest connection that waits for its client; the oldest of all, if there is none such.
    fn evict(&mut self) {
        let is_idle = |open: &Open| open.under_way.load(Ordering::Relaxed) == 0;
        let oldest = self.open.iter().position(is_idle).unwrap_or(0);
        if let Some(open) = self.open.remove(oldest) {
            open.task.abort();
        }
    }

    fn forget_ended(&mut self) {
        self.open.retain(|open| !open.task.is_finished());
    }
}

/// Serves one connection to its end. An error is the client's and nobody's concern.
async fn connection(stream: TcpStream, app: Router, under_way: Arc<AtomicUsize>, stop: CancellationToken) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |request| {
        let under_way = UnderWay::begin(&under_way);
        let answering = app.call(request);
        async move {
            let answer = answering.await;
            drop(under_way);
            answer
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    server.max_buf_size(HEADERS_BYTES_MAX).max_headers(HEADERS_MAX);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ended = serving.as_mut() => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ended = serving.await;
}

/// Counts a request as long as it lives.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounds the time to an answer; one that is a stream may take longer than its head.
pub(super) async fn limit_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::timeout().into_response())
}
