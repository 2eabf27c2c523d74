//! What the store hands to a sink: deliveries with all that an attempt needs.

use std::sync::Arc;

use crate::event::Event;

/// The names of matched routes.
pub(crate) type RouteNames = Arc<[Arc<str>]>;

/// A delivery, ready to be attempted.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) seq: u64,
    /// 0: unordered.
    pub(crate) lane: u64,
    pub(crate) body_bytes: u32,
    /// The event and the names of the matched routes; or what is wrong with the stored rows.
    pub(crate) content: Result<(Arc<Event>, RouteNames), String>,
}

/// The result of a look for fresh deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) claimed: Vec<Claimed>,
    /// There is nothing else for the sink up to here.
    pub(crate) scanned_to: u64,
}

impl Page {
    /// Of the messages of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.claimed.iter().map(|claimed| claimed.body_bytes as usize).sum()
    }
}
