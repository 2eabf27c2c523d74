//! The newest events, in memory, so that sinks that keep up never read the disk.
//!
//! A ring of whole commits' events with consecutive numbers, bounded by bytes. A sink that asks for what the ring no
//! longer holds is sent to the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SinkId;
use super::reader::{Claimed, Page};
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
    /// Appends the events of a commit that has returned.
    pub(super) fn push(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut ring = self.ring();
        for entry in entries {
            ring.bytes += entry.event.body.len();
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
