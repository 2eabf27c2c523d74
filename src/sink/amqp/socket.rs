//! The socket of a connection: dialled here, and handed to the AMQP library as a stream like any other.
//!
//! The library could dial by itself, but would then resolve names past the egress guard, and brings a TLS stack with
//! formats that nobody here needs. So it gets a runtime of its own making ([`Kit`]) whose streams are [`Line`]s.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::config::{AmqpBroker, TlsConfig};
use crate::sink::egress::{Forbidden, Guard};
use crate::sink::{Cause, Failure, tls};

/// A connection to a broker, with TLS if the broker's address says so.
pub(super) async fn dial(
    broker: &AmqpBroker,
    tls: &TlsConfig,
    guard: &Guard,
    cut: &CancellationToken,
) -> Result<Line, Failure> {
    let plain = connect(broker, guard).await?;
    let socket: Box<dyn Socket> =
        if broker.is_tls { Box::new(secured(broker, tls, plain).await?) } else { Box::new(plain) };
    Ok(Line { socket, cut: Box::pin(cut.clone().cancelled_owned()), token: cut.clone() })
}

async fn connect(broker: &AmqpBroker, guard: &Guard) -> Result<TcpStream, Failure> {
    let addresses = guard.addresses(&broker.host, broker.port).await.map_err(|error| {
        let (cause, what) = match error.is::<Forbidden>() {
            true => (Cause::Forbidden, "not sent"),
            false => (Cause::Dns, "could not find the host"),
        };
        failure(cause, format!("{what}: {error}"))
    })?;
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(failure(Cause::Connect, format!("could not connect: {last}")))
}

async fn secured(
    broker: &AmqpBroker,
    tls: &TlsConfig,
    plain: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let config = tls::client_config(tls).map_err(|error| failure(Cause::Tls, format!("TLS: {error:#}")))?;
    let name = ServerName::try_from(broker.host.clone())
        .map_err(|_| failure(Cause::Tls, format!("`{}` cannot be the name in a certificate", broker.host)))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, plain).await;
    connected.map_err(|error| failure(Cause::Tls, format!("TLS failed: {error}")))
}

fn failure(cause: Cause, detail: String) -> Failure {
    Failure { cause, status: None, detail }
}

/// What the AMQP library runs on: our runtime, with streams that we have made.
pub(super) type Kit = RuntimeParts<Tokio, Lines>;

/// To be called inside the runtime.
pub(super) fn kit() -> Kit {
    RuntimeParts::new(Tokio::current(), Lines(Tokio::current()))
}

/// A reactor that times as tokio does and never dials.
#[derive(Clone, Debug)]
pub(super) struct Lines(Tokio);

impl Reactor for Lines {
    type TcpStream = Compat<Line>;
    type Sleep = <Tokio as Reactor>::Sleep;

    #[expect(refining_impl_trait_internal, reason = "there is nothing else that an error could be of")]
    fn register<H: io::Read + io::Write + Send + 'static>(&self, _: H) -> io::Result<Self::TcpStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl futures_util::Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    fn tcp_connect_addr(&self, _: SocketAddr) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A socket that can be cut: then reading and writing fail at once, whatever the peer does. So the library's thread
/// for a connection ends even if a broker took up the connection and never says a word.
pub(super) struct Line {
    socket: Box<dyn Socket>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    token: CancellationToken,
}

impl Line {
    pub(super) fn into_stream(self) -> Compat<Self> {
        self.compat()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
