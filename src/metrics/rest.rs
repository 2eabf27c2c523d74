//! What the requests to CSPR.cloud's REST API count.

use std::sync::{Mutex, PoisonError};

use super::{Counter, Gauge};
use crate::budget::Purpose;
use crate::clock::Timestamp;

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
    /// The same for each purpose.
    waits: [Gauge; Purpose::ALL.len()],
    trouble: Mutex<Option<String>>,
}

impl RestMetrics {
    pub(crate) fn note_request(&self, purpose: Purpose) {
        if let Some(counter) = self.requests.get(purpose as usize) {
            counter.increment();
        }
    }

    /// The first request for a purpose has its turn then, or does not wait for a moment.
    pub(crate) fn note_wait(&self, purpose: Purpose, until: Option<Timestamp>) {
        if let Some(gauge) = self.waits.get(purpose as usize) {
            gauge.set_moment(until);
        }
    }

    /// When the first request for a purpose has its turn, if that waits for a moment.
    fn waits_until(&self, purpose: Purpose) -> Option<Timestamp> {
        self.waits.get(purpose as usize).and_then(Gauge::moment)
    }

    /// A request brought no answer, or keeps us waiting for one: why.
    pub(crate) fn note_trouble(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// A request was answered.
    pub(crate) fn note_answer(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why the last request brought no answer; nothing once one did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why requests for a purpose are not answered for the moment, if that is known.
    pub(crate) fn hindrance(&self, purpose: Purpose) -> Option<String> {
        let Some(until) = self.waits_until(purpose) else { return self.trouble() };
        let why = self.trouble().unwrap_or_else(|| "source.rest allows no more requests for now".to_owned());
        Some(format!("{why}; it is asked again at {until}"))
    }

    /// Requests made since the process started, by purpose.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (Purpose, u64)> {
        Purpose::ALL.into_iter().zip(self.requests.iter().map(Counter::value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_requests_is_told_in_words() {
        let rest = RestMetrics::default();
        let hindrance = || rest.hindrance(Purpose::Repair);
        assert_eq!(hindrance(), None);
        rest.note_trouble("CSPR.cloud is away".to_owned());
        rest.note_wait(Purpose::Backfill, Some(Timestamp(90_000)));
        assert_eq!(hindrance().unwrap(), "CSPR.cloud is away");
        rest.note_wait(Purpose::Repair, Some(Timestamp(60_000)));
        assert_eq!(hindrance().unwrap(), "CSPR.cloud is away; it is asked again at 1970-01-01T00:01:00.000Z");
        rest.note_answer();
        let spent = "source.rest allows no more requests for now; it is asked again at 1970-01-01T00:01:00.000Z";
        assert_eq!(hindrance().unwrap(), spent);
        rest.note_wait(Purpose::Repair, None);
        assert_eq!(hindrance(), None);
    }
}
