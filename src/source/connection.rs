//! Reading one open connection.
//!
//! # Back-pressure
//! When the channel to intake is full, the connection holds at most [`HELD_MAX`] messages that found no room: the one
//! that met the full channel, and one more, because pings stand in the byte stream behind it and are only found by
//! reading on. So pings are answered for as long as no further event arrives; from then on the socket is left alone,
//! TCP slows the server down, and what the server does with a client that neither reads nor answers is its affair: a
//! connection it closes is opened again once there is room. tungstenite queues the pong while it reads the ping and
//! writes it at the next read, write or flush; since reading goes on at once after a ping, the pong leaves at once.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_util::sync::CancellationToken;

use super::Message;
use super::frame::{Kind, kind};
use crate::event::Stream;
use crate::metrics::{ConnectionMetrics, Metrics};

/// A larger frame ends the connection, and a note about it is handed over. The messages seen are near 1.5 kB.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;
/// The same for a message put together from fragments.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Messages held while the channel is full; at this number the socket is no longer read.
const HELD_MAX: usize = 2;
/// Eagerly allocated per connection; also how much one read may take, so one system call brings some 80 messages.
const READ_BUFFER_BYTES: usize = 128 << 10;
/// We write pongs and one close frame.
const WRITE_BUFFER_BYTES: usize = 4 << 10;

pub(super) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        // Pongs queue only while the socket takes nothing; a peer that never reads them must not grow this.
        .max_write_buffer_size(16 * WRITE_BUFFER_BYTES)
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(MESSAGE_BYTES_MAX))
}

/// Where messages go.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    pub(super) stream: Stream,
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) row: Arc<ConnectionMetrics>,
}

/// Why reading ended.
#[derive(Debug)]
pub(super) enum End {
    Drained,
    /// Nobody takes messages any more; the process is on its way down.
    NoIntake,
    Silent(Duration),
    Closed(Option<CloseFrame>),
    Failed(Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => write!(f, "closed by us"),
            Self::NoIntake => write!(f, "closed by us, since nothing takes messages any more"),
            Self::Silent(span) => write!(f, "no frame for {span:?}, so the link counts as dead"),
            Self::Closed(None) => write!(f, "closed by the server without a code"),
            // The reason is foreign text: quoted and escaped.
            Self::Closed(Some(frame)) => {
                write!(
                    f,
                    "closed by the server with code {}, reason {:?}",
                    u16::from(frame.code),
                    frame.reason.as_str()
                )
            }
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

/// An open connection and the messages that found no room yet.
pub(super) struct Connection<S> {
    socket: WebSocketStream<S>,
    outlet: Outlet,
    held: VecDeque<Message>,
    heard_at: Instant,
    has_heard: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(socket: WebSocketStream<S>, outlet: Outlet) -> Self {
        Self { socket, outlet, held: VecDeque::with_capacity(HELD_MAX), heard_at: Instant::now(), has_heard: false }
    }

    /// Whether any frame arrived.
    pub(super) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Reads until the connection ends, is silent for `silence`, or is to drain. Every message read before is handed
    /// over when this returns; on [`End::Drained`] call [`Self::close`].
    ///
    /// Woken by frames, by room in the channel, by the silence alarm and by the drain. The silence clock stands still
    /// while we do not read. A message that is still arriving in fragments shows no frame; `silence` must exceed the
    /// time one message takes.
    pub(super) async fn read(&mut self, silence: Duration, drain: &CancellationToken) -> End {
        let mut alarm = pin!(sleep(silence));
        let mut drained = pin!(drain.cancelled());
        let messages = self.outlet.messages.clone();
        // Asked on every turn, since a busy socket would never let the select reach its last arm.
        while !drain.is_cancelled() {
            let is_reading = self.held.len() < HELD_MAX;
            tokio::select! {
                biased;
                room = messages.reserve(), if !self.held.is_empty() => {
                    let Ok(permit) = room else { return End::NoIntake };
                    if let Some(message) = self.held.pop_front() {
                        permit.send(message);
                    }
                    self.heard_at = Instant::now();
                }
                frame = self.socket.next(), if is_reading => {
                    if let Some(end) = self.take(frame) {
                        self.hand_over_held().await;
                        return end;
                    }
                }
                () = alarm.as_mut() => {
                    // Moving the alarm at every frame would cost more than the frame: it is moved when it rings.
                    if is_reading && self.heard_at.elapsed() >= silence {
                        self.hand_over_held().await;
                        return End::Silent(silence);
                    }
                    let heard_at = if is_reading { self.heard_at } else { Instant::now() };
                    alarm.as_mut().reset(heard_at + silence);
                }
                () = drained.as_mut() => {}
            }
        }
        End::Drained
    }

    /// Says goodbye and hands over what the server had already sent: a server-side queue counts it as delivered.
    /// Gives up after `bound`.
    pub(super) async fn close(mut self, bound: Duration) {
        let goodbye = async {
            self.hand_over_held().await;
            if let Err(error) = self.socket.close(None).await {
                tracing::debug!(stream = %self.outlet.stream, %error, "the connection ended before its goodbye");
            }
            while !self.take_next().await {}
        };
        if timeout(bound, goodbye).await.is_err() {
            tracing::debug!(stream = %self.outlet.stream, "the server did not answer our goodbye in time");
        }
    }

    /// Reads and hands over one frame; whether it was the last.
    async fn take_next(&mut self) -> bool {
        let frame = self.socket.next().await;
        let is_last = self.take(frame).is_some();
        self.hand_over_held().await;
        is_last
    }

    /// Sorts one frame; `Some` if it was the last.
    fn take(&mut self, frame: Option<Result<Frame, Error>>) -> Option<End> {
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Some(self.fail(error)),
            None => return Some(End::Closed(None)),
        };
        self.heard_at = Instant::now();
        self.has_heard = true;
        match frame {
            Frame::Text(text) => self.sort(text.into()),
            Frame::Binary(bytes) => self.sort(bytes),
            Frame::Close(reason) => return Some(End::Closed(reason)),
            Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
        }
        None
    }

    fn sort(&mut self, bytes: Bytes) {
        let counts = &self.outlet.metrics.source;
        match kind(&bytes) {
            Kind::Event => {
                counts.messages.increment();
                self.outlet.row.got_message();
                self.hand_over(bytes, None);
            }
            Kind::KeepAlive => {
                counts.pings.increment();
                self.outlet.row.got_ping();
            }
            Kind::Other => {
                counts.ignored_texts.increment();
                let stream = self.outlet.stream;
                tracing::debug!(%stream, bytes = bytes.len(), "skipped a message that is not a JSON object");
            }
        }
    }

    fn fail(&mut self, error: Error) -> End {
        let counts = &self.outlet.metrics.source;
        match &error {
            Error::Capacity(_) => {
                counts.too_large.increment();
                self.hand_over(Bytes::new(), Some(format!("too large to read: {error}").into()));
            }
            Error::Protocol(_) | Error::Utf8(_) => counts.protocol_errors.increment(),
            _ => {}
        }
        End::Failed(error)
    }

    fn hand_over(&mut self, bytes: Bytes, unreadable: Option<Box<str>>) {
        let message = Message { stream: self.outlet.stream, bytes, unreadable };
        if !self.held.is_empty() {
            return self.held.push_back(message);
        }
        match self.outlet.messages.try_send(message) {
            // A closed channel shows at the next `reserve`.
            Err(mpsc::error::TrySendError::Full(message) | mpsc::error::TrySendError::Closed(message)) => {
                self.held.push_back(message);
            }
            Ok(()) => {}
        }
    }

    /// Waits for room for what is held. Ends early only if nobody receives any more.
    async fn hand_over_held(&mut self) {
        while let Some(message) = self.held.pop_front() {
            if self.outlet.messages.send(message).await.is_err() {
                return;
            }
        }
    }
}
