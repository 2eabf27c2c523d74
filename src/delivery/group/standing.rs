//! Whether a sink is at work, and what is told of that.
//!
//! The rule that keeps operational events from feeding themselves: what they bring about is not told. A pause counts
//! as theirs if one of them got the 410, a breaker if no other event failed since the sink last worked.

use std::sync::PoisonError;

use super::super::breaker::Sign;
use super::super::queue::Now;
use super::Group;
use crate::notices::Halt;
use crate::sink::Failure;
use crate::store::{Change, Paused, PausedBy};

/// What was told, and what is not to be told.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Standing {
    told: Option<Halt>,
    /// Why the breaker opened, until the sink works again.
    breaker: Option<Halt>,
    /// An event that is not operational has failed since the sink last worked.
    has_failed: bool,
    /// An operational event was told that the destination is gone.
    pub(super) is_pause_untold: bool,
}

impl Standing {
    /// Of a sink that earlier runs may have paused.
    pub(in crate::delivery) fn new(paused: Option<&Paused>) -> Self {
        Self { told: paused.map(Halt::from), ..Self::default() }
    }

    fn take(&mut self, sign: Sign, is_operational: bool) {
        match sign {
            Sign::Works => (self.has_failed, self.breaker) = (false, None),
            Sign::Fails => self.has_failed |= !is_operational,
        }
    }

    fn breaker_opened(&mut self, failure: &Failure) {
        if self.has_failed && self.breaker.is_none() {
            self.breaker = Some(Halt { by: "breaker", reason: failure.detail.clone() });
        }
    }
}

impl From<&Paused> for Halt {
    fn from(paused: &Paused) -> Self {
        let by = match paused.by {
            PausedBy::Operator => "operator",
            PausedBy::Destination => "destination",
        };
        Self { by, reason: paused.reason.clone() }
    }
}

impl Group {
    /// Pauses or resumes, from the next commit on for good; what was before.
    pub(super) fn set_paused(&mut self, paused: Option<Paused>) -> Option<Paused> {
        self.queue.record(paused.clone().map_or(Change::Resume, Change::Pause));
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&paused);
        let before = self.gate.set_paused(paused);
        if before.is_some() {
            self.queue.renew_blocking(self.now());
        }
        self.tell();
        before
    }

    /// Several attempts may end that way; the first one tells why.
    pub(super) fn pause_as_gone(&mut self, failure: Failure, is_operational: bool, now: Now) {
        if self.gate.paused().is_some() {
            return;
        }
        tracing::error!(
            sink = %self.name,
            detail = failure.detail,
            "the destination says that it is gone for good (410): the sink is paused and keeps its events; correct the \
             sink's configuration, or its receiver and then `cspr-relay sinks resume`"
        );
        let paused = Paused { since: now.wall, by: PausedBy::Destination, reason: failure.detail };
        self.state.standing.is_pause_untold = is_operational;
        self.set_paused(Some(paused));
    }

    /// Tells the breaker how an attempt ended, and people if that changed anything.
    pub(super) fn note(&mut self, seq: u64, is_operational: bool, failure: Option<&Failure>, now: Now) {
        let was_open = self.gate.breaker_is_open();
        let sign = failure.map_or(Sign::Works, |failure| Sign::of(failure.cause));
        self.gate.note(seq, sign, now.instant, fastrand::f64());
        match (was_open, self.gate.breaker_is_open()) {
            (false, true) => tracing::warn!(
                sink = %self.name,
                cause = failure.map(|failure| failure.cause.as_str()),
                detail = failure.map(|failure| &*failure.detail),
                "the sink fails for one delivery after the other: its breaker is open, one probe at a time goes through"
            ),
            (true, false) => tracing::info!(sink = %self.name, "the sink works again: its breaker is closed"),
            _ => {}
        }
        self.state.standing.take(sign, is_operational);
        if let (false, true, Some(failure)) = (was_open, self.gate.breaker_is_open(), failure) {
            self.state.standing.breaker_opened(failure);
        }
        self.tell();
    }

    /// Says how the sink stands now, if that is new.
    fn tell(&mut self) {
        let standing = &self.state.standing;
        let paused = self.gate.paused().filter(|_| !standing.is_pause_untold);
        let now = paused.map(Halt::from).or_else(|| standing.breaker.clone());
        if now != standing.told {
            let before = std::mem::replace(&mut self.state.standing.told, now.clone());
            self.notices.stands(&self.name, before, now);
        }
    }
}
