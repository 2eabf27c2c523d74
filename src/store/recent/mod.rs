//! The newest events, in memory, so that sinks that keep up never read the disk.
//!
//! A ring of whole commits' events with consecutive numbers, bounded by bytes. A sink that asks for what the ring no
//! longer holds is sent to the disk.

use std::collections::{HashMap, VecDeque};
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
pub(super) struct Recent(Mutex<Ring>);

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
        Self(Mutex::new(Ring { newest, ..Ring::default() }))
    }

    pub(super) fn newest(&self) -> u64 {
        self.ring().newest
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use super::Accepted;
    use crate::clock::Clock;
    use crate::store::tests::{Fixture, candidate, settings};

    #[tokio::test]
    async fn who_looks_on_sees_each_event_once_or_learns_how_many_were_missed() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let (mut last, mut seen, mut skipped, mut random) =
            (fixture.store.accepted_since(None, 1).last, 0, 0, fastrand::Rng::with_seed(1));
        for round in 0..200_u64 {
            let mut events: Vec<_> =
                (0..random.u64(..90)).map(|n| candidate(&fixture.store, n, round << 32 | n, &["a"])).collect();
            // Large, so that the ring turns over.
            events.iter_mut().for_each(|event| event.body = [event.body.as_ref(), &[b' '; 8192]].concat().into());
            fixture.store.accept(events).await.unwrap();
            fixture.sync().await;
            // Only now and then, so that some are missed; a look that takes nothing moves nothing.
            let max = random.usize(1..500) * usize::from(random.u8(..10) == 0);
            let accepted = look(&fixture, last, max);
            assert!(accepted.events.is_sorted_by_key(|accepted| accepted.event.sequence.number));
            assert!(accepted.events.iter().all(|accepted| accepted.event.sequence.number > last));
            (seen, skipped, last) = (seen + accepted.events.len() as u64, skipped + accepted.skipped, accepted.last);
            assert_eq!(seen + skipped, last);
        }
        assert!(seen > 1000 && skipped > 100, "{seen} seen, {skipped} skipped");
        fixture.close().await;
    }

    fn look(fixture: &Fixture, last: u64, max: usize) -> Accepted {
        match max {
            0 => Accepted { last, ..fixture.store.accepted_since(None, 0) },
            max => fixture.store.accepted_since(Some(last), max),
        }
    }
}
