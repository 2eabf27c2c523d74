//! What the requests to CSPR.cloud's REST API count.

use super::{Counter, Gauge};
use crate::budget::Purpose;

#[derive(Debug, Default)]
pub(crate) struct RestMetrics {
    requests: [Counter; Purpose::ALL.len()],
    /// Answers that wanted fewer requests.
    pub(crate) throttled: Counter,
    /// Requests that brought no usable answer, the throttled ones included.
    pub(crate) failed: Counter,
    /// Requests of the last 24 hours, those of earlier runs included.
    pub(crate) day: Gauge,
    /// `source.rest.requests_per_day`
    pub(crate) per_day: Gauge,
    /// Requests that wait for their turn.
    pub(crate) waiting: Gauge,
    /// When the first of them will have it; nothing while none waits for a moment.
    pub(crate) waiting_until: Gauge,
}

impl RestMetrics {
    pub(crate) fn note_request(&self, purpose: Purpose) {
        if let Some(counter) = self.requests.get(purpose as usize) {
            counter.increment();
        }
    }

    /// Requests made since the process started, by purpose.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (Purpose, u64)> {
        Purpose::ALL.into_iter().zip(self.requests.iter().map(Counter::value))
    }
}
