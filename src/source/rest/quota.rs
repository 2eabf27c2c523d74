//! At most so many requests in any minute.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

const MINUTE: Duration = Duration::from_secs(60);

/// Whoever has its turn may make one request. Turns come in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Quota {
    per_minute: usize,
    /// When the last `per_minute` turns were given, oldest first.
    given: Mutex<VecDeque<Instant>>,
}

impl Quota {
    pub(super) fn new(per_minute: usize) -> Self {
        Self { per_minute, given: Mutex::default() }
    }

    /// Waits until the turn counted `per_minute` back is a minute old. Cancelled while waiting, it takes no turn.
    pub(super) async fn turn(&self) {
        // Held while waiting on purpose: those behind wait for those ahead.
        let mut given = self.given.lock().await;
        if given.len() >= self.per_minute {
            if let Some(oldest) = given.front() {
                sleep_until(*oldest + MINUTE).await;
            }
            given.pop_front();
        }
        given.push_back(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_turns_than_allowed() {
        let quota = Quota::new(3);
        let start = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..8 {
            quota.turn().await;
            seconds.push(start.elapsed().as_secs());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(seconds, [0, 1, 2, 60, 61, 62, 120, 121]);
    }
}
