//! Sinks in this process: they check each signature with the reference library, note what came, and answer as told.

use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::SECRET;

/// What came with one request.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) id: Box<str>,
    /// As it came: epoch and number.
    pub(crate) sequence: Box<str>,
    pub(crate) number: u64,
    /// Stream, package and token.
    pub(crate) lane: Box<str>,
    pub(crate) token: Box<str>,
    pub(crate) attempt: u32,
    /// Which process of the relay sent it.
    pub(crate) life: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) is_signed: bool,
    /// What `cspr-relay-replay` and `cspr-relay-test` say.
    pub(crate) is_replay: bool,
    pub(crate) is_test: bool,
    /// 0: none was given.
    pub(crate) answer: u16,
}

impl Arrival {
    pub(crate) fn is_received(&self) -> bool {
        (200..300).contains(&self.answer)
    }
}

type Script = Box<dyn FnMut(&Arrival) -> u16 + Send>;

/// Given instead of a status: no answer at all.
pub(crate) const HANG: u16 = 0;

struct Shared {
    key: standardwebhooks::Webhook,
    script: Mutex<Script>,
    arrivals: Mutex<Vec<Arrival>>,
}

/// A sink that listens as long as it lives.
pub(crate) struct Listener {
    url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl Listener {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| 204).await
    }

    /// One that answers as `script` says.
    pub(crate) async fn answering(script: impl FnMut(&Arrival) -> u16 + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            key: standardwebhooks::Webhook::new(SECRET).unwrap(),
            script: Mutex::new(Box::new(script)),
            arrivals: Mutex::default(),
        });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async { axum::serve(socket, router).await.unwrap() });
        Self { url, shared, _serving: serving }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers so.
    pub(crate) fn answer(&self, script: impl FnMut(&Arrival) -> u16 + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// How many of the arrivals are such.
    pub(crate) fn count(&self, is_such: impl Fn(&Arrival) -> bool) -> usize {
        self.shared.arrivals.lock().unwrap().iter().filter(|arrival| is_such(arrival)).count()
    }

    pub(crate) fn received(&self) -> usize {
        self.count(Arrival::is_received)
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut arrival = read(&shared.key, &headers, &body);
    arrival.answer = (*shared.script.lock().unwrap())(&arrival);
    let answer = arrival.answer;
    shared.arrivals.lock().unwrap().push(arrival);
    if answer == HANG {
        pending::<()>().await;
    }
    StatusCode::from_u16(answer).unwrap().into_response()
}

fn read(key: &standardwebhooks::Webhook, headers: &HeaderMap, body: &Bytes) -> Arrival {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let sequence = text("cspr-relay-sequence");
    let (_, number) = sequence.split_once('-').unwrap();
    Arrival {
        at: Instant::now(),
        id: text("webhook-id").into(),
        sequence: sequence.into(),
        number: u64::from_str_radix(number, 16).unwrap(),
        lane: ["cspr-relay-stream", "cspr-relay-contract-package", "cspr-relay-token-id"].map(text).join("/").into(),
        token: text("cspr-relay-token-id").into(),
        attempt: text("cspr-relay-attempt").parse().unwrap(),
        life: text("x-life").parse().unwrap(),
        digest: Sha256::digest(body).into(),
        is_signed: key.verify(body, headers).is_ok(),
        is_replay: text("cspr-relay-replay") == "true",
        is_test: text("cspr-relay-test") == "true",
        answer: HANG,
    }
}
