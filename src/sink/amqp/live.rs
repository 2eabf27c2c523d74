//! A connection that works, and its channels.
//!
//! Most deliveries share a channel ([`Common`]), which is made when it is needed, and made anew when a delivery on it
//! did not end with a confirmation. What may break a channel has one to itself while it is under way: so a return, a
//! confirm or an error belongs to exactly that delivery, with no bookkeeping that could go wrong. Such channels are used
//! again; one that broke, or whose confirm never came, is closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::common::Common;
use super::message::Message;
use crate::sink::escape;

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

pub(super) struct Live {
    sink: Box<str>,
    connection: Connection,
    address: String,
    common: Mutex<Option<Arc<Common>>>,
    /// Held while one is made, so that only one is.
    making: tokio::sync::Mutex<()>,
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

/// The common channel while a delivery is on it. Dropped before its end, nobody else begins there.
struct Seat<'a> {
    common: Arc<Common>,
    live: &'a Live,
    has_ended: bool,
}

/// A channel in confirm mode that nobody else uses.
struct Slot<'a> {
    channel: Channel,
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
            common: Mutex::default(),
            making: tokio::sync::Mutex::default(),
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

    /// Publishes on the common channel. The error says that it broke, perhaps through another delivery, or that there
    /// is none: what has become of the message is unknown.
    pub(super) async fn publish_with_others(&self, message: Message<'_>) -> lapin::Result<Confirmation> {
        let mut seat = Seat { common: self.common().await?, live: self, has_ended: false };
        let confirmation = seat.common.publish(message).await?;
        seat.has_ended = true;
        Ok(confirmation)
    }

    /// Publishes on a channel of its own. Not cancel-safe: given up, the message may or may not be at the broker, and
    /// its channel is closed. Waits while all channels that the broker allows are in use.
    pub(super) async fn publish_alone(&self, message: Message<'_>) -> lapin::Result<Confirmation> {
        let slot = self.slot().await?;
        let Message { target, properties, body } = message;
        let place = ((&*target.exchange).into(), (&*target.routing_key).into());
        let confirmation = confirm(&slot.channel, place, properties, &body).await?;
        slot.finish();
        Ok(confirmation)
    }

    async fn common(&self) -> lapin::Result<Arc<Common>> {
        if let Some(common) = self.present() {
            return Ok(common);
        }
        let _only_one = self.making.lock().await;
        if let Some(common) = self.present() {
            return Ok(common);
        }
        let common = Arc::new(Common::open(&self.connection).await?);
        *self.common_slot() = Some(Arc::clone(&common));
        Ok(common)
    }

    fn present(&self) -> Option<Arc<Common>> {
        self.common_slot().clone().filter(|common| common.works())
    }

    fn common_slot(&self) -> MutexGuard<'_, Option<Arc<Common>>> {
        self.common.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn slot(&self) -> lapin::Result<Slot<'_>> {
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

impl Drop for Seat<'_> {
    /// Those that are on it stay there until their end; the next one makes another.
    fn drop(&mut self) {
        if !self.has_ended {
            self.live.common_slot().take_if(|present| Arc::ptr_eq(present, &self.common));
        }
    }
}

impl Slot<'_> {
    /// The channel may be used again: its confirm has come. Without this it is closed.
    fn finish(self) {
        self.live.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.channel);
    }
}

/// Publishes on a channel in confirm mode, and waits for what the broker says.
pub(super) async fn confirm(
    channel: &Channel,
    (exchange, routing_key): (ShortString, ShortString),
    properties: BasicProperties,
    body: &[u8],
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, body, properties).await?.await
}
