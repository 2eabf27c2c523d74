//! The one connection of a sink: made when it is needed, made anew when it broke.
//!
//! Nothing runs here between attempts. Brokers are tried in turn, beginning with the one that worked last. While one
//! attempt connects the others wait for it, and share its failure; after a failure the next try waits for a
//! [`Backoff`], so that a broker that comes back is not met by a herd.

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::failure::failure;
use super::live::Live;
use super::socket::{Kit, dial, kit};
use super::topology::Topology;
use crate::backoff::Backoff;
use crate::config::{AmqpBroker, AmqpConfig, AmqpLogin};
use crate::sink::egress::Guard;
use crate::sink::{Cause, Failure};

/// Between two tries to connect; the breaker sees to longer pauses.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// A broker that does not answer by then is passed over.
const BROKER_TIMEOUT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Link {
    sink: Box<str>,
    config: AmqpConfig,
    guard: Guard,
    topology: Topology,
    /// Held while connecting, which is bounded by the deadline of the attempt that does it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    /// Which broker to try first.
    first: usize,
    failures: u32,
    last_failure: Option<(Instant, Failure)>,
}

impl Link {
    pub(super) fn new(sink: &str, config: &AmqpConfig, guard: Guard) -> Self {
        Self {
            sink: sink.into(),
            topology: Topology::new(config),
            config: config.clone(),
            guard,
            state: Mutex::default(),
        }
    }

    /// The connection. Cancel-safe: a connection that is given up half-made is cut.
    pub(super) async fn live(&self, deadline: Instant) -> Result<Arc<Live>, Failure> {
        let asked_at = Instant::now();
        let mut state = timeout_at(deadline, self.state.lock()).await.map_err(|_| late())?;
        if let Some(live) = &state.live {
            if live.is_connected() {
                return Ok(Arc::clone(live));
            }
            state.live = None;
        }
        if let Some((at, failure)) = &state.last_failure {
            let not_before = *at + RECONNECT.delay(state.failures, fastrand::f64());
            // Somebody else has just found out, or there is no time left for a try.
            if *at >= asked_at || not_before >= deadline {
                return Err(failure.clone());
            }
            sleep_until(not_before).await;
        }
        let connected = self.connect(&mut state, deadline).await;
        self.note(&mut state, connected)
    }

    fn note(&self, state: &mut State, connected: Result<Live, Failure>) -> Result<Arc<Live>, Failure> {
        match connected {
            Ok(live) => {
                tracing::info!(sink = &*self.sink, broker = live.address(), "connected to the broker");
                let live = Arc::new(live);
                *state = State { live: Some(Arc::clone(&live)), first: state.first, ..State::default() };
                Ok(live)
            }
            Err(failure) => {
                state.failures = state.failures.saturating_add(1);
                state.last_failure = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Tries each broker once.
    async fn connect(&self, state: &mut State, deadline: Instant) -> Result<Live, Failure> {
        let brokers = &self.config.brokers;
        let mut failures: Vec<Failure> = Vec::new();
        for turn in 0..brokers.len() {
            let index = (state.first + turn) % brokers.len();
            let Some(broker) = brokers.get(index) else { continue };
            let left = u32::try_from(brokers.len() - turn).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let until = Instant::now() + share.min(BROKER_TIMEOUT_MAX);
            match timeout_at(until, self.open(broker)).await.unwrap_or_else(|_| Err(late())) {
                Ok(live) => {
                    state.first = index;
                    return Ok(live);
                }
                Err(failure) => failures.push(at(broker, failure)),
            }
        }
        Err(together(failures))
    }

    async fn open(&self, broker: &AmqpBroker) -> Result<Live, Failure> {
        let cut = CancellationToken::new();
        let guard = cut.clone().drop_guard();
        let line = dial(broker, &self.config.tls, &self.guard, &cut).await?;
        let line = Mutex::new(Some(line));
        let once = async move |_, _| {
            let line = line.lock().await.take();
            let line =
                line.ok_or_else(|| lapin::Error::from(std::io::Error::from(std::io::ErrorKind::NotConnected)))?;
            Ok(AsyncTcpStream::<<Kit as async_rs::traits::Reactor>::TcpStream>::Plain(line.into_stream()))
        };
        let runtime = async_rs::Runtime::new(kit());
        let connection = Connection::connector(self.uri(broker), runtime, once, self.properties()).await;
        let connection = connection.map_err(|error| self.refused(&failure(&error)))?;
        self.topology.ensure(&connection, &broker.vhost).await?;
        guard.disarm();
        Ok(Live::new(&self.sink, connection, format!("{}:{}", broker.host, broker.port)))
    }

    /// Says whose name it was that the broker did not like.
    fn refused(&self, failure: &Failure) -> Failure {
        let advice = match (&self.config.login, failure.cause) {
            (AmqpLogin::Password { .. }, Cause::Denied) => ": check `username`, `password` and the virtual host",
            (AmqpLogin::Certificate, Cause::Denied) => ": check the client certificate and the virtual host",
            _ => "",
        };
        Failure { detail: format!("{}{advice}", failure.detail), ..failure.clone() }
    }

    /// With the present password: one that comes from a file follows the file.
    fn uri(&self, broker: &AmqpBroker) -> AMQPUri {
        let (userinfo, mechanism) = match &self.config.login {
            AmqpLogin::Password { username, password } => {
                let (username, password) = (username.current(), password.current());
                let (username, password) = (username.expose_secret().to_owned(), password.expose_secret().to_owned());
                (AMQPUserInfo { username, password }, SASLMechanism::Plain)
            }
            AmqpLogin::Certificate => {
                (AMQPUserInfo { username: String::new(), password: String::new() }, SASLMechanism::External)
            }
        };
        AMQPUri {
            scheme: if broker.is_tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority { userinfo, host: broker.host.clone(), port: broker.port },
            vhost: broker.vhost.clone(),
            query: AMQPQueryString {
                heartbeat: Some(self.config.heartbeat_seconds),
                auth_mechanism: Some(mechanism),
                ..AMQPQueryString::default()
            },
        }
    }

    fn properties(&self) -> ConnectionProperties {
        ConnectionProperties::default()
            .with_connection_name(format!("cspr-relay sink {}", self.sink).into())
            .with_client_property("product".into(), "cspr-relay".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
    }
}

fn late() -> Failure {
    Failure { cause: Cause::Timeout, status: None, detail: "the broker did not answer in time".to_owned() }
}

fn at(broker: &AmqpBroker, failure: Failure) -> Failure {
    Failure { detail: format!("{}:{}: {}", broker.host, broker.port, failure.detail), ..failure }
}

/// Of several failures the last one's cause, and what each broker said.
fn together(failures: Vec<Failure>) -> Failure {
    let detail = failures.iter().map(|failure| failure.detail.as_str()).collect::<Vec<_>>().join("; ");
    let cause = failures.last().map_or(Cause::Connect, |failure| failure.cause);
    Failure { cause, status: None, detail }
}
