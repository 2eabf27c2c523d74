//! A connection that works, and its channels.
//!
//! Each delivery has a channel to itself while it is under way. So a return, a confirm or an error belongs to exactly
//! that delivery, with no bookkeeping that could go wrong, and as many confirms are awaited at once as there are
//! deliveries. (On a shared channel the library hands a returned message to whichever confirm it sees next.) Channels
//! are used again; one that broke, or whose confirm never came, is closed.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, Event};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::sink::escape;

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

pub(super) struct Live {
    sink: Box<str>,
    connection: Connection,
    address: String,
    idle: Mutex<Vec<Channel>>,
    /// As many as the broker allows channels.
    room: Semaphore,
    block: Mutex<Block>,
}

/// What the broker said about taking nothing for now.
struct Block {
    events: Events,
    /// Of the last block.
    reason: String,
    seen_at: Option<Instant>,
    /// Whether the present block was logged.
    is_told: bool,
}

/// A channel in confirm mode that nobody else uses.
pub(super) struct Slot<'a> {
    pub(super) channel: Channel,
    live: &'a Live,
    _room: SemaphorePermit<'a>,
}

impl Live {
    pub(super) fn new(sink: &str, connection: Connection, address: String) -> Self {
        let channels = match connection.configuration().channel_max() {
            0 => u16::MAX,
            channels => channels,
        };
        let events: Events = Box::pin(connection.events_listener());
        Self {
            sink: sink.into(),
            connection,
            address,
            idle: Mutex::default(),
            room: Semaphore::new(channels.into()),
            block: Mutex::new(Block { events, reason: String::new(), seen_at: None, is_told: false }),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Why the broker takes no messages now, if it has said so (`connection.blocked`). News of that are logged.
    pub(super) fn blocked(&self) -> Option<String> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        block.listen();
        if !self.connection.status().blocked() {
            block.is_told = false;
            return None;
        }
        block.seen_at = Some(Instant::now());
        if !block.is_told {
            tracing::warn!(
                sink = &*self.sink,
                broker = self.address,
                reason = block.reason,
                "the broker takes no messages for now: the deliveries of this sink wait"
            );
            block.is_told = true;
        }
        Some(block.reason.clone())
    }

    /// The same, if it was so at any time since `start`.
    pub(super) fn blocked_since(&self, start: Instant) -> Option<String> {
        if let Some(reason) = self.blocked() {
            return Some(reason);
        }
        let block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        block.seen_at.filter(|at| *at >= start).map(|_| block.reason.clone())
    }

    /// Waits while all channels that the broker allows are in use.
    pub(super) async fn slot(&self) -> lapin::Result<Slot<'_>> {
        let closed = |_| lapin::Error::from(lapin::ErrorKind::ChannelsLimitReached);
        let room = self.room.acquire().await.map_err(closed)?;
        let channel = match self.take_idle() {
            Some(channel) => channel,
            None => {
                let channel = self.connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                channel
            }
        };
        Ok(Slot { channel, live: self, _room: room })
    }

    fn take_idle(&self) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|channel| channel.status().connected());
        idle.pop()
    }
}

impl Block {
    /// Takes in what the connection has told since the last time.
    fn listen(&mut self) {
        while let Some(Some(event)) = self.events.next().now_or_never() {
            if let Event::ConnectionBlocked(said) = event {
                self.reason = escape(said.as_bytes());
                self.seen_at = Some(Instant::now());
            }
        }
    }
}

impl Slot<'_> {
    /// The channel may be used again: its confirm has come. Without this it is closed.
    pub(super) fn finish(self) {
        self.live.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.channel);
    }
}
