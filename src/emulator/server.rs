//! The listener, and the handle by which a test or a command steers the emulator.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};

use super::connection::Connection;
use super::handshake::{Refusal, Ticket, admit};
use super::hub::{Asked, Event, Hub, Seat, Tally};
use super::rest;
use super::settings::{Fault, Settings, Trigger};
use crate::event::Stream;
use crate::lifecycle::Lifecycle;

/// A client must have sent its upgrade request by then.
const UPGRADE_MAX: Duration = Duration::from_secs(10);
/// Further clients wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1024;

/// A running emulator. Clones are handles to the same one; it stops with the lifecycle it was started in.
#[derive(Clone)]
pub(crate) struct Emulator {
    address: SocketAddr,
    hub: Arc<Hub>,
}

impl Emulator {
    /// Listens at `address` (port 0: any free one). `record` gets a line of JSON for each distinct event sent.
    pub(crate) async fn start(
        lifecycle: &Lifecycle,
        address: SocketAddr,
        settings: Settings,
        record: Option<Box<dyn Write + Send>>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let hub = Hub::new(settings, record);
        let drain = lifecycle.drain().clone();
        let serving = serve(listener, Arc::clone(&hub));
        lifecycle.spawn("emulator", async move {
            tokio::select! {
                () = serving => {}
                () = drain.cancelled() => {}
            }
        });
        Ok(Self { address, hub })
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What belongs into `source.url`.
    pub(crate) fn base_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What belongs into `source.rest.url`.
    pub(crate) fn rest_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes a message as it is and returns its number. Waits for the slowest connected client if the history is
    /// full.
    pub(crate) async fn send(&self, stream: Stream, text: impl Into<Utf8Bytes>) -> u64 {
        self.hub.publish(stream, text.into()).await
    }

    /// Lets `fault` happen at once on every connection that is up.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn inject(&self, fault: Fault) {
        self.hub.inject(fault);
    }

    /// Answers the next `times` handshakes with `refusal`.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn refuse_next(&self, times: usize, refusal: &Refusal) {
        self.hub.refuse_next(times, refusal);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.hub.tally()
    }

    /// Waits until the tally satisfies `is_met`.
    pub(crate) async fn until(&self, is_met: impl Fn(&Tally) -> bool) -> Tally {
        self.hub.until(is_met).await
    }

    pub(crate) fn is_attended(&self) -> bool {
        self.hub.is_attended()
    }

    /// Waits until a client is connected.
    pub(crate) async fn attended(&self) {
        self.hub.attended().await;
    }

    /// Every distinct event sent so far, if [`Settings::keeps_sent`].
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn sent(&self) -> Vec<Arc<Event>> {
        self.hub.sent()
    }

    /// The upgrade requests so far, the last 1,024 of them.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.hub.asked()
    }
}

/// Accepts clients until dropped; its connections are dropped with it. A failed accept (no descriptors left) is
/// tried again.
async fn serve(listener: TcpListener, hub: Arc<Hub>) {
    let mut connections = JoinSet::new();
    for (fault, trigger) in &hub.settings.faults {
        if let Trigger::Every(period) = *trigger {
            connections.spawn(repeat(Arc::clone(&hub), *fault, period));
        }
    }
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _peer)) => { connections.spawn(greet(socket, Arc::clone(&hub))); }
                Err(error) => {
                    tracing::warn!(%error, "the emulator could not accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn repeat(hub: Arc<Hub>, fault: Fault, period: Duration) {
    loop {
        sleep(period).await;
        hub.inject(fault);
    }
}

/// One port serves both APIs: who does not ask for an upgrade is a client of REST.
async fn greet(socket: TcpStream, hub: Arc<Hub>) {
    match timeout(UPGRADE_MAX, rest::asks_for_upgrade(&socket)).await {
        Ok(Ok(true)) => greet_stream(socket, hub).await,
        Ok(Ok(false)) => rest::serve(socket, hub).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client was gone before it asked"),
        Err(_) => tracing::debug!("a client asked for nothing in time"),
    }
}

async fn greet_stream(socket: TcpStream, hub: Arc<Hub>) {
    let mut place = None;
    let porter = Porter { hub: &hub, place: &mut place };
    let upgrade = async {
        socket.set_nodelay(true)?;
        accept_hdr_async(socket, porter).await
    };
    match timeout(UPGRADE_MAX, upgrade).await {
        Ok(Ok(socket)) => {
            if let Some((seat, ticket)) = place {
                Connection::new(socket, seat, ticket, hub).serve().await;
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "an emulated handshake failed"),
        Err(_) => tracing::debug!("a client did not ask for an upgrade in time"),
    }
}

/// Answers the upgrade request. A client joins *before* it is told 101, so that it misses nothing published from the
/// moment it knows.
struct Porter<'a> {
    hub: &'a Arc<Hub>,
    place: &'a mut Option<(Seat, Ticket)>,
}

impl Callback for Porter<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        self.hub.remember(asked(request));
        match self.decide(request) {
            Ok(ticket) => {
                *self.place = Some((self.hub.join(&ticket), ticket));
                Ok(response)
            }
            Err(refusal) => {
                self.hub.note(|tally| tally.refused += 1);
                Err(refusal.into_response())
            }
        }
    }
}

impl Porter<'_> {
    fn decide(&self, request: &Request) -> Result<Ticket, Refusal> {
        match self.hub.take_refusal() {
            Some(refusal) => Err(refusal),
            None => admit(&self.hub.settings, request),
        }
    }
}

fn asked(request: &Request) -> Asked {
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Asked { address: request.uri().to_string(), headers: headers.collect() }
}
