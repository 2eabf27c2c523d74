//! Events that REST told after the fact: which of them the store still takes.
//!
//! REST lags the stream, and a token may have moved on since it was asked. So such an event is refused if the lane
//! has an event that REST did not know of yet, and dropped if the same state came by another way.

use std::sync::atomic::{AtomicU8, Ordering};

use super::error::Stopped;
use super::known::{Known, head};
use super::{Candidate, Store};
use crate::event::{Identity, Key, Origin};

/// What is known of an event that did not come by the stream.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// Events that say the same: if one of them was accepted, this one is not.
    same: Vec<Identity>,
    /// The base keys of all that REST knew of the lane, its present state included; `None`: the order does not matter.
    told: Option<Vec<Key>>,
    /// Events later than this were accepted after the gap had begun.
    after: u64,
    is_backfill: bool,
    fate: AtomicU8,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    Accepted = 1,
    Known = 2,
    /// The lane has an event that REST did not know of: to be asked again, or not needed any more.
    Behind = 3,
}

impl Repaired {
    pub(crate) fn new(same: Vec<Identity>, told: Vec<Key>, after: u64) -> Self {
        Self { same, told: Some(told), after, ..Self::default() }
    }

    /// Asked for by an operator, and not because of a gap.
    pub(crate) fn backfill(self) -> Self {
        Self { is_backfill: true, ..self }
    }

    pub(super) fn origin(&self) -> Origin {
        if self.is_backfill { Origin::Backfill } else { Origin::Repair }
    }

    pub(super) fn set(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::Relaxed);
    }

    fn fate(&self) -> Option<Fate> {
        let code = self.fate.load(Ordering::Relaxed);
        [Fate::Accepted, Fate::Known, Fate::Behind].into_iter().find(|fate| *fate as u8 == code)
    }

    /// Why the event is not taken, if it is not.
    pub(super) fn refusal(&self, identity: &Identity, known: &Known) -> Option<Fate> {
        if self.same.iter().any(|same| known.has(same)) {
            return Some(Fate::Known);
        }
        let (told, last) = (self.told.as_ref()?, known.last(identity.lane?)?);
        let knows = |base: u64| told.iter().any(|told| head(told) == base);
        let knows_last = last.deploy == 0 || knows(last.deploy);
        // An event without a deploy that came since the gap began tells a state that REST may lag.
        let is_overtaken = last.deploy != last.base && last.seq > self.after && !knows(last.base);
        (!knows_last || is_overtaken).then_some(Fate::Behind)
    }
}

impl Store {
    /// As [`Store::accept`], and returns what became of each when that is durable.
    pub(crate) async fn accept_repaired(&self, events: Vec<Candidate>) -> Result<Vec<Fate>, Stopped> {
        let repaired: Vec<_> = events.iter().filter_map(|event| event.repaired.clone()).collect();
        self.observe(Vec::new(), events).await?;
        repaired.iter().map(|repaired| repaired.fate().ok_or(Stopped)).collect()
    }
}
