//! A stand-in for a consumer: takes webhooks, checks their signatures, counts them, and misbehaves on demand.
//!
//! For tests (in process), demonstrations and measurements, and for people to look at what comes (`cspr-relay
//! listen`). It knows what it got and what it answered ([`Tally`]), so that it can be held against what was sent.
//!
//! Every request that was read whole is counted as *received* at once, and settled once: by the answer it got, or as
//! unanswered. The observer and the log are told of it *before* the answer goes out, so that nothing acknowledged
//! lacks a record. There is no time-out for idle or slow clients; their number is bounded.

mod behaviour;
mod drip;
mod ledger;
mod request;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(crate) use behaviour::{Answer, Behaviour, When};
pub(crate) use ledger::{Count, Keeps, Observer, Tally};
pub(crate) use request::{Form, Received, Signature};

use crate::lifecycle::Lifecycle;
use crate::signature::{SigningKey, TOLERANCE};
use behaviour::Payload;
use drip::Dripping;
use ledger::{Ledger, Open, Plan};
use request::Arrived;

/// Further clients wait in the listener's queue.
const CONNECTIONS_MAX: usize = 4096;

/// How a receiver begins.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Any of them may have signed. None: nothing is checked, and unsigned requests are welcome. Otherwise what is
    /// not authentic is answered 401, whatever the behaviour.
    pub(crate) keys: Vec<SigningKey>,
    /// How far a timestamp may lie from now; `None`: any distance.
    pub(crate) tolerance: Option<Duration>,
    pub(crate) keeps: Keeps,
    pub(crate) behaviour: Behaviour,
    /// The same seed gives the same chances.
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            tolerance: Some(TOLERANCE),
            keeps: Keeps::Ids,
            behaviour: Behaviour::default(),
            seed: 1,
        }
    }
}

/// A running receiver. Clones are handles to the same one; it stops with the lifecycle it was started in.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    ledger: Arc<Ledger>,
}

impl Receiver {
    /// Listens at `address` (port 0: any free one). `observer` is told of each request before it is answered.
    pub(crate) async fn start(
        lifecycle: &Lifecycle,
        address: SocketAddr,
        settings: Settings,
        observer: Option<Observer>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(Ledger::new(settings, observer));
        let drain = lifecycle.drain().clone();
        let serving = serve(listener, Arc::clone(&ledger));
        lifecycle.spawn("receiver", async move {
            tokio::select! {
                () = serving => {}
                () = drain.cancelled() => {}
            }
        });
        Ok(Self { address, ledger })
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What belongs into a webhook's `url`; any path is served.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Holds for every request from now on; those under way keep what they were given.
    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        self.ledger.set_behaviour(behaviour);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.ledger.tally()
    }

    /// Waits until the tally satisfies `is_met`.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) async fn until(&self, is_met: impl Fn(&Tally) -> bool) -> Tally {
        self.ledger.until(is_met).await
    }

    /// The settled requests, in the order of their answers, as far as [`Keeps::Requests`] keeps them.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn received(&self) -> Vec<Received> {
        self.ledger.received()
    }
}

/// Accepts clients until dropped; its connections are dropped with it. A failed accept (no descriptors left) is
/// tried again.
async fn serve(listener: TcpListener, ledger: Arc<Ledger>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _peer)) => { connections.spawn(attend(socket, Arc::clone(&ledger))); }
                Err(error) => {
                    tracing::warn!(%error, "the receiver could not accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until either side ends it.
async fn attend(socket: TcpStream, ledger: Arc<Ledger>) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a client was gone before it was served");
        return;
    }
    let drips = Arc::new(AtomicBool::new(false));
    let (ledger, drips_now) = (&*ledger, &*drips);
    let service = service_fn(move |request| answer(request, ledger, drips_now));
    let io = TokioIo::new(Dripping::new(socket, Arc::clone(&drips)));
    if let Err(error) = http1::Builder::new().serve_connection(io, service).await {
        tracing::debug!(%error, "a connection to the receiver ended");
    }
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the receiver was told to close the connection")]
struct Hangup;

async fn answer(request: Request<Incoming>, ledger: &Ledger, drips: &AtomicBool) -> Result<Response<Payload>, Hangup> {
    let arrived = match Arrived::read(request, &ledger.settings, ledger.now()).await {
        Ok(arrived) => arrived,
        Err(unusable) => {
            ledger.count_unusable();
            return Ok(closing(respond(unusable.status(), Payload::Empty)));
        }
    };
    let Plan { answer, delay } = ledger.admit(&arrived);
    let open = Open::new(ledger, arrived);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if !open.settle(answer.status()) {
        return Ok(respond(500, Payload::Empty));
    }
    match answer {
        Answer::Status(status) => Ok(respond(status, Payload::Empty)),
        Answer::Throttle { seconds } => {
            let mut response = respond(429, Payload::Empty);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            Ok(response)
        }
        Answer::Endless(status) => Ok(respond(status, Payload::Endless)),
        Answer::Drip => {
            drips.store(true, Ordering::Relaxed);
            Ok(respond(503, Payload::Endless))
        }
        Answer::Hang => std::future::pending::<Result<_, Infallible>>().await.map_err(|never| match never {}),
        Answer::Close => Err(Hangup),
    }
}

fn respond(status: u16, payload: Payload) -> Response<Payload> {
    let mut response = Response::new(payload);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// The rest of the request was not read, so the connection cannot be used again.
fn closing(mut response: Response<Payload>) -> Response<Payload> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
