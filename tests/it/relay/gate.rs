//! The emulator's REST API behind a door that can be shut or slow, and that notes who came when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Plain text, as a gateway was seen to answer, and it repeats the key.
const REFUSED: &str = "access key not found error emulator-key";

/// What a shut door says instead of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
}

pub(super) struct Gate {
    pub(super) url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    shut: Mutex<Option<Refusal>>,
    /// Each answer takes so long.
    slow: Mutex<Duration>,
    /// When each request came, refused ones included.
    came: Mutex<Vec<Instant>>,
    emulator: String,
    http: reqwest::Client,
}

impl Gate {
    pub(super) async fn before(emulator: &str) -> Self {
        let shared = Arc::new(Shared {
            shut: Mutex::default(),
            slow: Mutex::default(),
            came: Mutex::default(),
            emulator: emulator.replace("ws://", "http://"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async { axum::serve(socket, router).await.unwrap() });
        Self { url, shared, _serving: serving }
    }

    /// From now on it answers with this status.
    pub(super) fn shut(&self, status: u16) {
        self.refuse(Refusal { status, retry_after: None });
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        *self.shared.shut.lock().unwrap() = Some(refusal);
    }

    /// From now on each answer takes so long.
    pub(super) fn slow(&self, by: Duration) {
        *self.shared.slow.lock().unwrap() = by;
    }

    /// From now on it lets through.
    pub(super) fn open(&self) {
        self.slow(Duration::ZERO);
        *self.shared.shut.lock().unwrap() = None;
    }

    /// How many requests came.
    pub(super) fn asked(&self) -> usize {
        self.shared.came.lock().unwrap().len()
    }

    /// How many of them within such a span, where it was worst.
    pub(super) fn asked_within(&self, span: Duration) -> usize {
        let came = self.shared.came.lock().unwrap();
        let within = |from: usize| came[from..].iter().take_while(|at| **at - came[from] < span).count();
        (0..came.len()).map(within).max().unwrap_or_default()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    shared.came.lock().unwrap().push(Instant::now());
    let slow = *shared.slow.lock().unwrap();
    sleep(slow).await;
    let shut = *shared.shut.lock().unwrap();
    if let Some(Refusal { status, retry_after }) = shut {
        let status = StatusCode::from_u16(status).unwrap();
        let wait = retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        return wait.map_or_else(|| (status, REFUSED).into_response(), |wait| (status, wait, REFUSED).into_response());
    }
    let request = shared.http.get(format!("{}{uri}", shared.emulator)).header("authorization", "emulator-key");
    let answer = request.send().await.unwrap();
    (answer.status(), answer.bytes().await.unwrap()).into_response()
}
