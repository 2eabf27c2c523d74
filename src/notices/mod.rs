//! What the relay notices about itself and tells as events of the stream `relay`.
//!
//! Whoever notices something says so here and goes on; once a second what is due is taken as messages, which go through
//! intake like those of CSPR.cloud. Of each kind about each sink or stream the first is told at once; what follows
//! within [`PAUSE`] is summed up into one. As long as no route wants the stream, saying something costs one look at a
//! flag, and nothing is kept.
//!
//! Nothing here can loop: what an event of the stream `relay` gives rise to (its dead letter, a breaker that opens for
//! such events alone, its 410, its expiry) is not said in the first place; see `delivery/group`.
//!
//! In memory until it is accepted: a kill forgets what was noticed since the last telling. What it was about (the dead
//! letter, the pause) is in the store.

mod ledger;
mod message;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::config::SinkName;
use crate::event::Stream;
use ledger::Ledger;

/// After something was told, more of the same kind about the same sink or stream is summed up for so long.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// Where to say what was noticed. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_wanted: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// A delivery that was given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'a> {
    /// Of its event.
    pub(crate) sequence: u64,
    pub(crate) cause: &'static str,
    pub(crate) reason: &'a str,
}

/// Why nothing is attempted at a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halt {
    /// `operator`, `destination` or `breaker`.
    pub(crate) by: &'static str,
    pub(crate) reason: String,
}

/// A gap that has begun, or that was seen to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GapNotice {
    pub(crate) number: u64,
    pub(crate) from: Timestamp,
    /// Why it began, or what was made of it.
    pub(crate) word: &'static str,
    /// That in words, if there are any.
    pub(crate) reason: Option<String>,
    /// Events that came back.
    pub(crate) returned: u64,
}

impl Notices {
    /// Whether some route wants the stream from now on. What was not told yet is forgotten when none does.
    pub(crate) fn want(&self, is_wanted: bool) {
        let mut ledger = self.ledger();
        if !is_wanted {
            *ledger = Ledger::default();
        }
        self.0.is_wanted.store(is_wanted, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn dead_letter(&self, sink: &SinkName, letter: Letter<'_>) {
        if self.is_wanted() {
            self.ledger().dead_letter(sink, letter);
        }
    }

    /// Deliveries that the sink's backlog policy let go of.
    pub(crate) fn expired(&self, sink: &SinkName, count: u64) {
        if self.is_wanted() {
            self.ledger().expired(sink, count);
        }
    }

    /// Why nothing is attempted at a sink, before and now; `None`: it is at work.
    pub(crate) fn stands(&self, sink: &SinkName, before: Option<Halt>, now: Option<Halt>) {
        if self.is_wanted() {
            self.ledger().stands(sink, before, now);
        }
    }

    /// No frame came for so long, so the connection was ended.
    pub(crate) fn silent(&self, stream: Stream, silence: Duration) {
        if self.is_wanted() {
            self.ledger().silent(stream, silence);
        }
    }

    /// A stream is not heard any more.
    pub(crate) fn gap_opened(&self, stream: Stream, gap: GapNotice) {
        if self.is_wanted() {
            self.ledger().gap_opened(stream, gap);
        }
    }

    /// A repair has come to its end.
    pub(crate) fn gap_closed(&self, stream: Stream, gap: GapNotice) {
        if self.is_wanted() {
            self.ledger().gap_closed(stream, gap);
        }
    }

    /// The messages that are due.
    pub(crate) fn due(&self, now: Instant, wall: Timestamp) -> Vec<Bytes> {
        if self.is_wanted() { self.ledger().due(now, wall) } else { Vec::new() }
    }

    /// All that was not told yet, due or not: before a stop.
    pub(crate) fn rest(&self, wall: Timestamp) -> Vec<Bytes> {
        if self.is_wanted() { self.ledger().rest(wall) } else { Vec::new() }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
