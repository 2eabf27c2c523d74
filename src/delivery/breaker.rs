//! The breaker of one sink: a pure state machine.
//!
//! Closed, it lets everything through. A run of failures that are the sink's fault, over at least
//! [`DELIVERIES_MIN`] different deliveries, opens it: then one attempt at a time goes through as a probe, at growing
//! distances, and everything else waits without using up attempts. Any answer that shows the sink at work closes it.
//! One poisoned message, however often it fails, is one delivery and never opens it.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, scatter};
use crate::sink::Cause;

const DELIVERIES_MIN: usize = 5;
const PROBES: Backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(60) };
const PROBE_JITTER: f64 = 0.2;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Breaker {
    /// The different deliveries of the present run of failures.
    Closed {
        run: Vec<u64>,
    },
    Open {
        failures: u32,
        probe_at: Instant,
    },
    /// A probe is under way.
    Probing {
        failures: u32,
    },
}

/// What an attempt says about the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answered, if only to refuse this event.
    Works,
    /// It did not, or answered that it cannot.
    Fails,
}

impl Sign {
    pub(super) fn of(cause: Cause) -> Self {
        match cause {
            Cause::Dns
            | Cause::Connect
            | Cause::Tls
            | Cause::Timeout
            | Cause::Denied
            | Cause::Server
            | Cause::Forbidden => Self::Fails,
            Cause::Throttled | Cause::Gone | Cause::Refused | Cause::Invalid | Cause::Panic => Self::Works,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { run: Vec::new() }
    }
}

impl Breaker {
    /// Whether an attempt may start now. If it is open and one may, that one is the probe.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        match *self {
            Self::Closed { .. } => true,
            Self::Open { failures, probe_at } if probe_at <= now => {
                *self = Self::Probing { failures };
                true
            }
            Self::Open { .. } | Self::Probing { .. } => false,
        }
    }

    /// The probe that was admitted did not start, for want of anything to send.
    pub(super) fn cancel_probe(&mut self, now: Instant) {
        if let Self::Probing { failures } = *self {
            *self = Self::Open { failures, probe_at: now };
        }
    }

    /// Whether [`Self::admit`] would say yes.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { probe_at, .. } => *probe_at <= now,
            Self::Probing { .. } => false,
        }
    }

    /// When it will next let an attempt through, if that is a matter of time.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        match self {
            Self::Open { probe_at, .. } => Some(*probe_at),
            Self::Closed { .. } | Self::Probing { .. } => None,
        }
    }

    /// Whether everything waits for the end of one attempt.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self, Self::Probing { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }

    /// Takes note of how the attempt of delivery `seq` ended. `random` lies in `0.0..1.0`. Attempts that were under
    /// way when it opened may still report; a success among them closes it.
    pub(super) fn note(&mut self, seq: u64, sign: Sign, now: Instant, random: f64) {
        let open = |failures: u32| {
            let delay = scatter(PROBES.bound(failures), PROBE_JITTER, random);
            Self::Open { failures, probe_at: now + delay }
        };
        match (sign, &mut *self) {
            (Sign::Works, _) => *self = Self::default(),
            (Sign::Fails, Self::Closed { run }) => {
                if !run.contains(&seq) {
                    run.push(seq);
                }
                if run.len() >= DELIVERIES_MIN {
                    *self = open(1);
                }
            }
            (Sign::Fails, Self::Probing { failures }) => *self = open(*failures + 1),
            (Sign::Fails, Self::Open { .. }) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for seq in 1..=5 {
            assert!(!breaker.is_open());
            breaker.note(seq, Sign::Fails, now, 0.5);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_five_different_deliveries_and_closes_by_a_probe() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert!(breaker.is_open() && !breaker.admit(now));
        let second = Duration::from_secs(1);
        assert_eq!(breaker.opens_at(), Some(now + second));
        assert!(breaker.admit(now + second), "the probe");
        assert!(!breaker.admit(now + second), "one probe at a time");
        breaker.note(6, Sign::Fails, now + second, 0.5);
        assert_eq!(breaker.opens_at(), Some(now + second * 3), "the next probe comes later");
        assert!(breaker.admit(now + second * 3));
        breaker.note(7, Sign::Works, now + second * 3, 0.5);
        assert_eq!(breaker, Breaker::default());
    }

    #[tokio::test(start_paused = true)]
    async fn one_poisoned_message_never_opens_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        (0..100).for_each(|_| breaker.note(1, Sign::Fails, now, 0.5));
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn any_sign_of_work_ends_the_run() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        let signs = [[Sign::Fails; 4].as_slice(), &[Sign::Works]].concat();
        for (seq, sign) in (0..100).zip(signs.into_iter().cycle()) {
            breaker.note(seq, sign, now, 0.5);
            assert!(!breaker.is_open());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn latecomers_do_not_move_the_probe() {
        let now = Instant::now();
        let mut breaker = open(now);
        let before = breaker.clone();
        breaker.note(9, Sign::Fails, now, 0.9);
        assert_eq!(breaker, before);
    }
}
