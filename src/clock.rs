//! Wall time and monotonic time: the only place that reads either.
//!
//! Delays and deadlines use monotonic time; wall time stands in records only, so a wall clock that jumps changes what
//! is written down, never what is done.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as written in records. Displayed as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(pub u64);

impl Timestamp {
    /// How long ago `earlier` was; zero if the clock was set back in between.
    pub(crate) fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since 1970.
    pub(crate) fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;

    /// Reads RFC 3339.
    fn from_str(text: &str) -> Result<Self, String> {
        let time: jiff::Timestamp =
            text.parse().map_err(|_| "expected a time such as 2026-11-21T10:00:00Z".to_owned())?;
        let millis = u64::try_from(time.as_millisecond()).map_err(|_| "it lies before 1970".to_owned())?;
        Ok(Self(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The wall clock. Clones share it; a test can shift it to play a clock that jumps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads wall time")]
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Timestamp(millis.saturating_add_signed(self.shift_ms.load(Ordering::Relaxed)))
    }

    /// Moves the clock by `millis`, forwards or back.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    pub(crate) fn shift(&self, millis: i64) {
        self.shift_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// Monotonic time for threads outside the async runtime; inside it use tokio's, which tests can pause.
pub(crate) fn monotonic() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(1_707_301_289_557).to_string(), "2024-02-07T10:21:29.557Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!("2024-02-07T10:21:29.557Z".parse(), Ok(Timestamp(1_707_301_289_557)));
        assert!("yesterday".parse::<Timestamp>().is_err() && "1960-01-01T00:00:00Z".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_clock_set_back_never_gives_a_negative_span() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), std::time::Duration::ZERO);
    }
}
