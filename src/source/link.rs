//! One subscription's task: connect, read, wait, again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, End, Outlet, websocket_config};
use super::retry::{Pace, Trouble, refusal};
use super::{Message, request, tls};
use crate::config::{SourceConfig, Subscription};
use crate::event::Stream;
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::notices::Notices;

/// Nagle's algorithm would hold back our pongs.
const DISABLE_NAGLE: bool = true;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What all links share.
pub(super) struct Common {
    config: SourceConfig,
    tls: Connector,
    pace: Pace,
    messages: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
    notices: Notices,
    /// Connections for token actions that came up.
    action_connects: watch::Sender<u64>,
}

impl Common {
    pub(super) fn build(
        config: SourceConfig,
        pace: Pace,
        messages: mpsc::Sender<Message>,
        metrics: Arc<Metrics>,
        notices: Notices,
    ) -> anyhow::Result<Self> {
        let tls = tls::connector(config.url.scheme(), config.ca_file.as_deref())?;
        let action_connects = watch::Sender::new(0);
        Ok(Self { config, tls, pace, messages, metrics, notices, action_connects })
    }

    pub(super) fn action_connects(&self) -> watch::Receiver<u64> {
        self.action_connects.subscribe()
    }
}

/// One subscription, ready to run.
pub(super) struct Link {
    common: Arc<Common>,
    stream: Stream,
    address: Url,
    session: Option<String>,
    is_up: watch::Sender<bool>,
    row: Arc<ConnectionMetrics>,
}

/// How one try ended.
struct Failure {
    trouble: Trouble,
    was_healthy: bool,
}

impl Link {
    pub(super) fn build(common: Arc<Common>, subscription: Subscription) -> anyhow::Result<Self> {
        let stream = subscription.stream;
        let address = request::address(&common.config.url, &subscription)?;
        let prefix = common.config.persistent_session.as_deref();
        let session = prefix.map(|prefix| request::session_name(prefix, &subscription));
        request::upgrade(&address, session.as_deref(), &common.config.api_key.current())
            .with_context(|| format!("preparing the connection for {stream}"))?;
        let row = common.metrics.source.add(stream.as_str(), address.query().unwrap_or_default().to_owned());
        Ok(Self { common, stream, address, session, is_up: watch::Sender::new(false), row })
    }

    /// Whether the connection is up.
    pub(super) fn is_up(&self) -> watch::Receiver<bool> {
        self.is_up.subscribe()
    }

    /// Keeps the subscription connected until the drain. Errors are counted, logged once and answered with a delay;
    /// none of them ends it.
    pub(super) async fn run(self, drain: CancellationToken) {
        let mut failures = 0_u32;
        while !drain.is_cancelled() {
            let began = Instant::now();
            let Some(failure) = self.attempt(&drain).await else { break };
            self.common.metrics.source.disconnects.increment();
            failures = if failure.was_healthy { 1 } else { failures.saturating_add(1) };
            let pace = &self.common.pace;
            let delay = pace.delay(&failure.trouble, failures, began.elapsed(), fastrand::f64());
            self.report(&failure.trouble, delay, failures);
            tokio::select! {
                () = sleep(delay) => {}
                () = drain.cancelled() => {}
            }
        }
        // Nobody receives any more, or the drain began: the task may end only in the second case.
        drain.cancelled().await;
    }

    /// Connects and reads; `None` when there is nothing left to do.
    async fn attempt(&self, drain: &CancellationToken) -> Option<Failure> {
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = drain.cancelled() => return None,
        };
        let socket = match opened {
            Ok(socket) => socket,
            Err(trouble) => return Some(Failure { trouble, was_healthy: false }),
        };
        let Common { config, pace, metrics, messages, action_connects, .. } = &*self.common;
        if self.stream == Stream::NftTokenActions {
            action_connects.send_modify(|count| *count += 1);
        }
        let _connected = Connected::new(&self.row, &self.is_up);
        metrics.source.connects.increment();
        tracing::info!(stream = %self.stream, query = self.address.query(), "connected to the source");
        let (metrics, row) = (Arc::clone(metrics), Arc::clone(&self.row));
        let outlet = Outlet { stream: self.stream, messages: messages.clone(), metrics, row };
        let mut connection = Connection::new(socket, outlet);
        let opened_at = Instant::now();
        let end = connection.read(config.silence_timeout, drain).await;
        let was_healthy = connection.has_heard() && opened_at.elapsed() >= pace.healthy_after;
        if let End::Silent(silence) = end {
            self.common.notices.silent(self.stream, silence);
        }
        match end {
            End::Drained => {
                connection.close(pace.close_timeout).await;
                tracing::info!(stream = %self.stream, "disconnected from the source, as asked");
                None
            }
            End::NoIntake => None,
            end => {
                self.row.is_silent.set(matches!(end, End::Silent(_)).into());
                Some(Failure { trouble: Trouble::Transient { cause: end.to_string() }, was_healthy })
            }
        }
    }

    /// The key is read again at each try, so that a rotated one is taken up.
    async fn open(&self) -> Result<Socket, Trouble> {
        let Common { config, tls, pace, .. } = &*self.common;
        let request = request::upgrade(&self.address, self.session.as_deref(), &config.api_key.current())
            .map_err(|error| Trouble::RequestRefused { cause: format!("{error:#}") })?;
        let connecting =
            connect_async_tls_with_config(request, Some(websocket_config()), DISABLE_NAGLE, Some(tls.clone()));
        match timeout(pace.connect_timeout, Box::pin(connecting)).await {
            Ok(Ok((socket, _answer))) => Ok(socket),
            Ok(Err(Error::Http(answer))) => Err(refusal(answer.status(), answer.headers())),
            Ok(Err(error)) => Err(Trouble::Transient { cause: format!("connecting failed: {error}") }),
            Err(_) => Err(Trouble::Transient { cause: format!("connecting took over {:?}", pace.connect_timeout) }),
        }
    }

    fn report(&self, trouble: &Trouble, delay: Duration, failures: u32) {
        self.row.failed(trouble.to_string());
        let stream = self.stream;
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        match trouble {
            Trouble::KeyRefused { status } => tracing::error!(
                %stream, status, delay_ms, failures,
                "the source refuses our API key: check source.api_key, that it is for this network, and that its tier \
                 allows what is asked (source.persistent_session needs a paid one); trying again"
            ),
            Trouble::RequestRefused { cause } => tracing::error!(
                %stream, cause, query = self.address.query(), delay_ms, failures,
                "the source does not accept our request: check source.url and the filters of the routes; trying again"
            ),
            Trouble::Throttled { status, retry_after } => tracing::warn!(
                %stream, status, ?retry_after, delay_ms, failures,
                "the source tells us to come less often; trying again"
            ),
            Trouble::Transient { cause } => {
                tracing::warn!(%stream, cause, delay_ms, failures, "no connection to the source; trying again");
            }
        }
    }
}

/// Counts a connection as up for as long as it lives, however its task ends.
struct Connected<'a>(&'a ConnectionMetrics, &'a watch::Sender<bool>);

impl<'a> Connected<'a> {
    fn new(row: &'a ConnectionMetrics, is_up: &'a watch::Sender<bool>) -> Self {
        row.came_up();
        is_up.send_replace(true);
        Self(row, is_up)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.went_down();
        self.1.send_replace(false);
    }
}
