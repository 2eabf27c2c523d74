//! What the connections to CSPR.cloud count, all together and each.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Counter, Gauge};
use crate::clock::{Clock, Timestamp};

/// The connections to CSPR.cloud, all streams together.
#[derive(Debug, Default)]
pub(crate) struct SourceMetrics {
    /// Handshakes that succeeded.
    pub(crate) connects: Counter,
    /// Handshakes that failed and connections that ended.
    pub(crate) disconnects: Counter,
    /// Messages that look like events.
    pub(crate) messages: Counter,
    /// Text `Ping` keep-alives.
    pub(crate) pings: Counter,
    /// Other texts that are not JSON objects.
    pub(crate) ignored_texts: Counter,
    /// Messages or frames over the size limit; each also ended its connection.
    pub(crate) too_large: Counter,
    /// Connections ended since the peer broke the protocol, invalid UTF-8 included.
    pub(crate) protocol_errors: Counter,
    clock: Clock,
    /// Gone when their owners are.
    connections: Mutex<Vec<Weak<ConnectionMetrics>>>,
}

/// One connection, with all its reconnects.
#[derive(Debug)]
pub(crate) struct ConnectionMetrics {
    pub(crate) stream: &'static str,
    /// Tells the connections of one stream apart; numbers are given again.
    pub(crate) number: usize,
    /// The query of its address; empty if it asks for the whole stream.
    pub(crate) filter: String,
    /// 1 while it is up.
    pub(crate) up: Gauge,
    /// When it came up, or went down; since it was made, if neither.
    pub(crate) changed_at: Gauge,
    pub(crate) message_at: Gauge,
    pub(crate) ping_at: Gauge,
    /// 1 while it is down for want of any frame.
    pub(crate) is_silent: Gauge,
    pub(crate) messages: Counter,
    /// Handshakes that succeeded.
    pub(crate) connects: Counter,
    /// Handshakes that failed and times that it ended.
    pub(crate) disconnects: Counter,
    /// Why there is no connection.
    trouble: Mutex<Option<String>>,
    clock: Clock,
}

impl SourceMetrics {
    /// A row for a connection, as long as its owner keeps it.
    pub(crate) fn add(&self, stream: &'static str, filter: String) -> Arc<ConnectionMetrics> {
        let mut rows = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|row| row.strong_count() > 0);
        let taken: Vec<usize> =
            rows.iter().filter_map(Weak::upgrade).filter(|row| row.stream == stream).map(|row| row.number).collect();
        let number = (0..).find(|number| !taken.contains(number)).unwrap_or_default();
        let row = Arc::new(ConnectionMetrics::new(stream, number, filter, self.clock.clone()));
        rows.push(Arc::downgrade(&row));
        row
    }

    /// The present ones, by stream and number.
    pub(crate) fn connections(&self) -> Vec<Arc<ConnectionMetrics>> {
        let rows = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<_> = rows.iter().filter_map(Weak::upgrade).collect();
        rows.sort_by_key(|row| (row.stream, row.number));
        rows
    }

    /// How many are up.
    pub(crate) fn connected(&self) -> u64 {
        self.connections().iter().map(|row| row.up.value()).sum()
    }
}

impl ConnectionMetrics {
    fn new(stream: &'static str, number: usize, filter: String, clock: Clock) -> Self {
        let row = Self {
            stream,
            number,
            filter,
            clock,
            up: Gauge::default(),
            changed_at: Gauge::default(),
            message_at: Gauge::default(),
            ping_at: Gauge::default(),
            is_silent: Gauge::default(),
            messages: Counter::default(),
            connects: Counter::default(),
            disconnects: Counter::default(),
            trouble: Mutex::default(),
        };
        row.changed_at.set_moment(Some(row.clock.now()));
        row
    }

    pub(crate) fn came_up(&self) {
        self.connects.increment();
        self.up.set(1);
        self.is_silent.set(0);
        self.changed_at.set_moment(Some(self.clock.now()));
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn went_down(&self) {
        self.up.set(0);
        self.changed_at.set_moment(Some(self.clock.now()));
    }

    /// A try to connect, or a connection, ended for this reason.
    pub(crate) fn failed(&self, why: String) {
        self.disconnects.increment();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub(crate) fn got_message(&self) {
        self.messages.increment();
        self.message_at.set_moment(Some(self.clock.now()));
    }

    pub(crate) fn got_ping(&self) {
        self.ping_at.set_moment(Some(self.clock.now()));
    }

    /// When something last came, or it came up or went down.
    pub(crate) fn heard_at(&self) -> Timestamp {
        let moments = [&self.message_at, &self.ping_at, &self.changed_at];
        Timestamp(moments.map(Gauge::value).into_iter().max().unwrap_or_default())
    }

    /// Why there is no connection; nothing while it is up.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
