//! What was accepted until a while ago: an answer of the REST API may not know of anything later.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Moments closer than this to the last one are not noted.
const APART: Duration = Duration::from_secs(1);

/// The newest event at moments of the past, the oldest moment first.
#[derive(Debug, Default)]
pub(crate) struct Past(VecDeque<(Instant, u64)>);

impl Past {
    /// Notes the newest event of this moment; of those longer ago than `span` only the last is kept.
    pub(crate) fn note(&mut self, now: Instant, newest: u64, span: Duration) {
        if self.0.back().is_some_and(|(last, _)| now.duration_since(*last) < APART) {
            return;
        }
        self.0.push_back((now, newest));
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= span) {
            self.0.pop_front();
        }
    }

    /// The newest event of `span` ago, or of somewhat longer; 0 if nobody knows.
    pub(crate) fn before(&self, now: Instant, span: Duration) -> u64 {
        let known = self.0.iter().rev().find(|(at, _)| now.duration_since(*at) >= span);
        known.map_or(0, |(_, newest)| *newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_a_while_ago_is_known_once_that_while_has_passed() {
        let (mut past, begin, span) = (Past::default(), Instant::now(), Duration::from_secs(10));
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        for second in 0..=60 {
            past.note(at(second), second * 100, span);
            past.note(at(second) + Duration::from_millis(500), second * 100 + 50, span);
            let expected = second.saturating_sub(10) * 100;
            assert_eq!(past.before(at(second), span), expected, "{second}");
        }
        assert!(past.0.len() <= 12, "{}", past.0.len());
    }
}
