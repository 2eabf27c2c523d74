//! When to try again, and when to give up: a pure decision.

use std::time::Duration;

use crate::backoff::{Backoff, scatter};
use crate::config::{RetryConfig, Schedule};
use crate::sink::{Cause, Failure, Outcome};

/// The slow-down after a 429 that does not say how long.
const THROTTLE_DEFAULT: Duration = Duration::from_secs(5);
/// What a destination asks for is obeyed up to here.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The delays of a sink that is tried until a time is over, and after how many of them they no longer grow.
const DOUBLING: Backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(60) };
const DOUBLINGS: u32 = 7;

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Delivered {
        status: Option<u16>,
    },
    /// Tried again after a delay; the attempt counts.
    Again {
        delay: Duration,
        failure: Failure,
    },
    /// Tried again after the whole sink has paused that long; the attempt does not count.
    Slow {
        pause: Duration,
        failure: Failure,
    },
    /// The destination is gone for good: the sink pauses until an operator acts; the attempt does not count.
    Pause {
        failure: Failure,
    },
    GiveUp {
        failure: Failure,
    },
}

/// Judges an attempt, the `number`-th of its delivery (1 for the first). `random` lies in `0.0..1.0`.
pub(super) fn judge(retry: &RetryConfig, number: u32, outcome: Outcome, random: f64) -> Verdict {
    match outcome {
        Outcome::Delivered { status } => Verdict::Delivered { status },
        Outcome::Reject { failure } => Verdict::GiveUp { failure },
        Outcome::Retry { failure, .. } if failure.cause == Cause::Gone => Verdict::Pause { failure },
        // Only 429 and 503 speak for the whole destination; with any other answer `Retry-After` is about this event.
        Outcome::Retry { failure, after }
            if failure.cause == Cause::Throttled || (after.is_some() && failure.status == Some(503)) =>
        {
            let pause = after.unwrap_or(THROTTLE_DEFAULT).clamp(Duration::from_millis(100), RETRY_AFTER_MAX);
            Verdict::Slow { pause, failure }
        }
        Outcome::Retry { failure, .. } => match delay(&retry.schedule, number) {
            Some(delay) => Verdict::Again { delay: scatter(delay, retry.jitter, random), failure },
            None => Verdict::GiveUp { failure },
        },
    }
}

/// How long to wait after the failure of the `number`-th attempt.
fn delay(schedule: &Schedule, number: u32) -> Option<Duration> {
    match schedule {
        Schedule::Listed(delays) => delays.get(usize::try_from(number).ok()?.saturating_sub(1)).copied(),
        Schedule::Until(give_up_after) => (waited(number) < *give_up_after).then(|| DOUBLING.bound(number)),
    }
}

/// What the delays before the `number`-th attempt come to when they double.
fn waited(number: u32) -> Duration {
    let before = number.saturating_sub(1);
    let growing: Duration = (1..=before.min(DOUBLINGS)).map(|failures| DOUBLING.bound(failures)).sum();
    growing + DOUBLING.cap * before.saturating_sub(DOUBLINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn failure(cause: Cause) -> Failure {
        Failure { cause, status: None, detail: "it failed".to_owned() }
    }

    fn retry(cause: Cause, after: Option<Duration>) -> Outcome {
        Outcome::Retry { failure: failure(cause), after }
    }

    #[test]
    fn attempts_are_judged_by_the_table() {
        let config = RetryConfig { schedule: Schedule::Listed(vec![MINUTE, MINUTE * 5]), jitter: 0.2 };
        let again = |delay, cause| Verdict::Again { delay, failure: failure(cause) };
        let slow = |pause, cause| Verdict::Slow { pause, failure: failure(cause) };
        let unavailable = || Failure { status: Some(503), ..failure(Cause::Server) };
        let slow_unavailable = |pause| Verdict::Slow { pause, failure: unavailable() };
        let unavailable = |after| Outcome::Retry { failure: unavailable(), after: Some(after) };
        let give_up = |cause| Verdict::GiveUp { failure: failure(cause) };
        let cases = [
            (1, Outcome::Delivered { status: Some(204) }, Verdict::Delivered { status: Some(204) }),
            (1, retry(Cause::Server, None), again(MINUTE, Cause::Server)),
            (2, retry(Cause::Timeout, None), again(MINUTE * 5, Cause::Timeout)),
            (3, retry(Cause::Server, None), give_up(Cause::Server)),
            (u32::MAX, retry(Cause::Server, None), give_up(Cause::Server)),
            (1, Outcome::Reject { failure: failure(Cause::Refused) }, give_up(Cause::Refused)),
            (3, retry(Cause::Throttled, None), slow(THROTTLE_DEFAULT, Cause::Throttled)),
            (1, retry(Cause::Server, Some(MINUTE * 9)), again(MINUTE, Cause::Server)),
            (3, unavailable(MINUTE), slow_unavailable(MINUTE)),
            (3, retry(Cause::Throttled, Some(MINUTE * 600)), slow(RETRY_AFTER_MAX, Cause::Throttled)),
            (1, retry(Cause::Throttled, Some(Duration::ZERO)), slow(Duration::from_millis(100), Cause::Throttled)),
            (3, retry(Cause::Gone, None), Verdict::Pause { failure: failure(Cause::Gone) }),
        ];
        for (number, outcome, expected) in cases {
            assert_eq!(judge(&config, number, outcome.clone(), 0.5), expected, "attempt {number}, {outcome:?}");
        }
    }

    #[test]
    fn delays_double_until_a_time_is_over() {
        let seconds = |schedule: Duration| {
            let delays = (1..).map_while(move |number| delay(&Schedule::Until(schedule), number));
            delays.map(|delay| delay.as_secs()).collect::<Vec<u64>>()
        };
        assert_eq!(seconds(Duration::from_secs(1)), [1], "one more attempt at least");
        assert_eq!(seconds(Duration::from_secs(8)), [1, 2, 4, 8]);
        assert_eq!(seconds(MINUTE * 4), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let three_days = seconds(MINUTE * 60 * 72);
        assert_eq!(three_days.iter().sum::<u64>(), 63 + 4_319 * 60, "the last delay may end after the time");
        assert_eq!(delay(&Schedule::Until(MINUTE), u32::MAX), None);
    }
}
