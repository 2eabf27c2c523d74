//! Why a connection did not come up or ended, and how long to wait before the next one: pure decisions.

use std::fmt;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use tokio_tungstenite::tungstenite::http::header::{DATE, HeaderMap, RETRY_AFTER};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

use crate::backoff::Backoff;

/// However long the server asks us to stay away, we come back after this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What went wrong, by what it asks of us. None of it carries the body of an answer: a gateway was seen that echoes
/// the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// 401 or 403: only an operator can mend it.
    KeyRefused { status: u16 },
    /// Another 4xx, or a request that cannot be made: most likely configuration, though a 404 was once seen to pass.
    RequestRefused { cause: String },
    /// Told to come less often.
    Throttled { status: u16, retry_after: Option<Duration> },
    /// Anything that may well pass by itself.
    Transient { cause: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyRefused { status } => write!(f, "the source refuses our API key (status {status})"),
            Self::RequestRefused { cause } => write!(f, "the source does not accept our request: {cause}"),
            Self::Throttled { status, .. } => write!(f, "the source tells us to come less often (status {status})"),
            Self::Transient { cause } => f.write_str(cause),
        }
    }
}

/// The delays of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// For transient trouble.
    pub(super) backoff: Backoff,
    /// For trouble that trying again will hardly mend, on top of `slow_floor`.
    pub(super) slow: Backoff,
    pub(super) slow_floor: Duration,
    /// Two tries never start within this, whatever the backoff draws: a server that accepts and closes sees at most
    /// one connection in this time.
    pub(super) spacing: Duration,
    /// Name resolution, TCP, TLS and upgrade together.
    pub(super) connect_timeout: Duration,
    /// A connection that brought a frame and lived this long counts as recovery: the next delay is a first one again.
    pub(super) healthy_after: Duration,
    /// How long a drain waits for the server's goodbye.
    pub(super) close_timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff: Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(60) },
            slow: Backoff { first: Duration::from_secs(30), cap: Duration::from_secs(270) },
            slow_floor: Duration::from_secs(30),
            spacing: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            healthy_after: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
        }
    }
}

impl Pace {
    /// The delay after the `failures`-th trouble in a row, when the last try began `elapsed` ago; `random` lies in
    /// `0.0..1.0`.
    pub(super) fn delay(&self, trouble: &Trouble, failures: u32, elapsed: Duration, random: f64) -> Duration {
        self.drawn(trouble, failures, random).max(self.spacing.saturating_sub(elapsed))
    }

    fn drawn(&self, trouble: &Trouble, failures: u32, random: f64) -> Duration {
        match trouble {
            Trouble::Transient { .. } => self.backoff.delay(failures, random),
            // Scattered upwards only: the server named the earliest moment.
            Trouble::Throttled { retry_after: Some(wait), .. } => *wait + self.spacing.mul_f64(random),
            Trouble::KeyRefused { .. } | Trouble::RequestRefused { .. } | Trouble::Throttled { .. } => {
                self.slow_floor + self.slow.delay(failures, random)
            }
        }
    }
}

/// What an answer other than 101 means.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value, headers.get(DATE)));
    match status.as_u16() {
        code @ (401 | 403) => Trouble::KeyRefused { status: code },
        code @ 429 => Trouble::Throttled { status: code, retry_after },
        code @ 503 if retry_after.is_some() => Trouble::Throttled { status: code, retry_after },
        code @ 400..500 => Trouble::RequestRefused { cause: format!("the server answered HTTP {code}") },
        code => Trouble::Transient { cause: format!("the server answered HTTP {code}") },
    }
}

/// Seconds, or an HTTP date. A date is measured against the answer's own `Date`, so that our wall clock does not
/// matter; without one it is not understood.
fn retry_after(value: &HeaderValue, date: Option<&HeaderValue>) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let seconds = http_date(text)?.checked_sub(http_date(date?.to_str().ok()?)?)?;
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn http_date(text: &str) -> Option<i64> {
    DateTimeParser::new().parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATED: &[(&str, &str)] = &[("date", "Wed, 21 Oct 2015 07:28:00 GMT")];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn throttled(status: u16, seconds: Option<u64>) -> Trouble {
        Trouble::Throttled { status, retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn refusals_are_told_apart() {
        let refused = |code: u16| Trouble::RequestRefused { cause: format!("the server answered HTTP {code}") };
        let passing = |code: u16| Trouble::Transient { cause: format!("the server answered HTTP {code}") };
        let at = |value| [DATED, &[("retry-after", value)]].concat();
        let table = [
            (401, vec![], Trouble::KeyRefused { status: 401 }),
            (403, vec![("retry-after", "1")], Trouble::KeyRefused { status: 403 }),
            (400, vec![], refused(400)),
            (404, vec![], refused(404)),
            (429, vec![], throttled(429, None)),
            (429, vec![("retry-after", "7")], throttled(429, Some(7))),
            (429, vec![("retry-after", " 0 ")], throttled(429, Some(0))),
            (429, vec![("retry-after", "86400")], throttled(429, Some(3600))),
            (429, vec![("retry-after", "soon")], throttled(429, None)),
            (429, at("Wed, 21 Oct 2015 07:29:30 GMT"), throttled(429, Some(90))),
            (429, at("Wed, 21 Oct 2015 07:00:00 GMT"), throttled(429, Some(0))),
            (429, vec![("retry-after", "Wed, 21 Oct 2015 07:29:30 GMT")], throttled(429, None)),
            (500, vec![], passing(500)),
            (502, vec![("retry-after", "9")], passing(502)),
            (503, vec![], passing(503)),
            (503, vec![("retry-after", "9")], throttled(503, Some(9))),
            (200, vec![], passing(200)),
            (301, vec![], passing(301)),
        ];
        for (status, pairs, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(status, &headers(&pairs)), expected, "{status} {pairs:?}");
        }
    }

    #[test]
    fn delays_fit_the_trouble() {
        let pace = Pace::default();
        let passing = Trouble::Transient { cause: String::new() };
        let key = Trouble::KeyRefused { status: 401 };
        let request = Trouble::RequestRefused { cause: String::new() };
        // (trouble, failures, least seconds, most seconds)
        let table = [
            (&passing, 1, 0, 1),
            (&passing, 4, 0, 8),
            (&passing, 1000, 0, 60),
            (&key, 1, 30, 60),
            (&key, 1000, 30, 300),
            (&request, 1, 30, 60),
            (&throttled(429, None), 1, 30, 60),
            (&throttled(429, Some(7)), 50, 7, 8),
        ];
        let hour = Duration::from_secs(3600);
        for (trouble, failures, least, most) in table {
            let bounds = [0.0, 1.0].map(|random| pace.delay(trouble, failures, hour, random).as_secs());
            assert_eq!(bounds, [least, most], "{trouble:?} {failures}");
        }
    }

    #[test]
    fn tries_never_start_within_a_second_of_each_other() {
        let pace = Pace::default();
        let millis = Duration::from_millis;
        for trouble in [Trouble::Transient { cause: String::new() }, throttled(429, Some(0))] {
            for (elapsed, least) in [(0, 1000), (400, 600), (1000, 0), (5000, 0)] {
                assert_eq!(pace.delay(&trouble, 1, millis(elapsed), 0.0), millis(least));
            }
        }
    }
}
