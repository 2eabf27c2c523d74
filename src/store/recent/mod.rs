//! The newest events, in memory, so that sinks that keep up never read the disk.
//!
//! A ring of whole commits' events with consecutive numbers, bounded by bytes. A sink that asks for what the ring no
//! longer holds is sent to the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claimed::{Claimed, Page};
use super::{SinkId, Store};
use crate::config::SinkName;
use crate::event::Event;

const BYTES_MAX: usize = 12 * 1024 * 1024;

/// An accepted event and who gets it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) event: Arc<Event>,
    pub(super) lane: u64,
    pub(super) targets: Vec<(SinkId, Arc<[Arc<str>]>)>,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: Mutex<Ring>,
    /// Of all events up to here the bells of their sinks have rung.
    rung_to: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    /// With consecutive sequence numbers.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The newest event, also if the ring does not hold it.
    newest: u64,
}

impl Entry {
    fn seq(&self) -> u64 {
        self.event.sequence.number
    }

    fn claim(&self, sink: SinkId) -> Option<Claimed> {
        let (_, routes) = self.targets.iter().find(|(target, _)| *target == sink)?;
        Some(Claimed {
            seq: self.seq(),
            lane: self.lane,
            body_bytes: u32::try_from(self.event.body.len()).unwrap_or(u32::MAX),
            content: Ok((Arc::clone(&self.event), Arc::clone(routes))),
        })
    }
}

impl Recent {
    /// For a store whose newest event is `newest`.
    pub(super) fn after(newest: u64) -> Self {
        Self { ring: Mutex::new(Ring { newest, ..Ring::default() }), rung_to: newest.into() }
    }

    pub(super) fn newest(&self) -> u64 {
        self.ring().newest
    }

    /// Called by the writer alone, after it has rung for all events up to `seq`.
    pub(super) fn rung(&self, seq: u64) {
        self.rung_to.store(seq, Ordering::Release);
    }

    /// Whoever looks at a bell after that finds it rung for all events up to here.
    pub(super) fn rung_to(&self) -> u64 {
        self.rung_to.load(Ordering::Acquire)
    }

    /// Appends the events of a commit that has returned.
    pub(super) fn push(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut ring = self.ring();
        for entry in entries {
            ring.bytes += entry.event.body.len();
            ring.newest = entry.seq();
            ring.entries.push_back(entry);
        }
        while ring.bytes > BYTES_MAX {
            let Some(oldest) = ring.entries.pop_front() else { break };
            ring.bytes -= oldest.event.body.len();
        }
    }

    /// Deliveries for `sink` after `after`; `None` if the disk has to be asked.
    pub(super) fn page(&self, sink: SinkId, after: u64, max: usize) -> Option<Page> {
        let ring = self.ring();
        let first = ring.entries.front()?.seq();
        let skipped = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        let mut page = Page { claimed: Vec::new(), scanned_to: after };
        for entry in ring.entries.iter().skip(skipped) {
            if page.claimed.len() >= max {
                break;
            }
            page.scanned_to = entry.seq();
            page.claimed.extend(entry.claim(sink));
        }
        Some(page)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that were accepted lately, for whoever looks on.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// Ascending.
    pub(crate) events: Vec<AcceptedEvent>,
    /// Events that came and went before they were asked for.
    pub(crate) skipped: u64,
    /// Up to here everything was looked at.
    pub(crate) last: u64,
}

/// An accepted event, with the sinks that get it and the routes that say so.
#[derive(Clone, Debug)]
pub(crate) struct AcceptedEvent {
    pub(crate) event: Arc<Event>,
    pub(crate) targets: Vec<(SinkName, Arc<[Arc<str>]>)>,
}

impl Store {
    /// What was accepted after the event `after`, at most `max` events; without it nothing but the place to go on from.
    /// Looks into memory only, so whoever is too slow misses events, and nobody waits for him.
    pub(crate) fn accepted_since(&self, after: Option<u64>, max: usize) -> Accepted {
        let names: HashMap<SinkId, SinkName> =
            self.roster().sinks.iter().map(|(name, id)| (*id, name.clone())).collect();
        let (entries, skipped, last) = self.recent.since(after, max);
        let named = |entry: Entry| AcceptedEvent {
            targets: entry
                .targets
                .iter()
                .filter_map(|(id, routes)| Some((names.get(id)?.clone(), Arc::clone(routes))))
                .collect(),
            event: entry.event,
        };
        Accepted { events: entries.into_iter().map(named).collect(), skipped, last }
    }
}

impl Recent {
    fn since(&self, after: Option<u64>, max: usize) -> (Vec<Entry>, u64, u64) {
        let ring = self.ring();
        let (Some(after), Some(first)) = (after, ring.entries.front().map(Entry::seq)) else {
            return (Vec::new(), 0, after.unwrap_or(ring.newest));
        };
        let next = first.max(after + 1);
        let missed = next - after - 1;
        let skipped = usize::try_from(next - first).unwrap_or(usize::MAX);
        let entries: Vec<Entry> = ring.entries.iter().skip(skipped).take(max).cloned().collect();
        let last = entries.last().map_or(after, Entry::seq);
        (entries, missed, last)
    }
}

#[cfg(test)]
mod tests;
