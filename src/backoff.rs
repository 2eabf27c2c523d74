//! Delays that grow and scatter, so that many clients do not return at once.

use std::time::Duration;

/// Exponential growth with full jitter: the n-th delay is anywhere between zero and `min(cap, first * 2^n)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub first: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The upper bound of the delay before the try that follows `failures` failures in a row (1 for the first).
    pub(crate) fn bound(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A delay drawn with full jitter; `random` lies in `0.0..1.0`.
    pub(crate) fn delay(self, failures: u32, random: f64) -> Duration {
        self.bound(failures).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// `delay` lengthened or shortened by up to the share `jitter` of it; `random` lies in `0.0..1.0`.
pub(crate) fn scatter(delay: Duration, jitter: f64, random: f64) -> Duration {
    delay.mul_f64((1.0 + jitter * (2.0 * random - 1.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(60) };
        let seconds: Vec<u64> = [1, 2, 3, 7, 8, 4_000_000].map(|n| backoff.bound(n).as_secs()).to_vec();
        assert_eq!(seconds, [1, 2, 4, 60, 60, 60]);
        assert_eq!(backoff.delay(3, 0.5), Duration::from_secs(2));
    }

    #[test]
    fn scatter_stays_within_its_share() {
        let minute = Duration::from_secs(60);
        assert_eq!(scatter(minute, 0.2, 0.0), Duration::from_secs(48));
        assert_eq!(scatter(minute, 0.2, 1.0), Duration::from_secs(72));
        assert_eq!(scatter(minute, 0.0, 0.7), minute);
    }
}
