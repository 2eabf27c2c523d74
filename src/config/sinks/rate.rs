//! The key `rate_limit`: how often a sink may be asked.

use std::time::Duration;

/// Beyond this a limit limits nothing.
const COUNT_MAX: u32 = 100_000;

/// At most `count` attempts in each `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// At least 1.
    pub count: u32,
    pub per: Duration,
}

impl RateLimit {
    pub(super) const PATTERN: &'static str = "^[1-9][0-9]*/[sm]$";

    /// `200/s` or `30/m`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a number of attempts per second or minute, such as 200/s or 30/m, found `{text}`");
        let (count, unit) = text.split_once('/').ok_or_else(expected)?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            _ => return Err(expected()),
        };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected());
        }
        match count.parse() {
            Ok(0) => {
                Err("must be more than 0: a sink that is to get nothing is paused with `cspr-relay sinks pause`"
                    .to_owned())
            }
            Ok(count) if count <= COUNT_MAX => Ok(Self { count, per }),
            _ => Err(format!("must be at most {COUNT_MAX}; without `rate_limit` there is no limit")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let good = [("200/s", 200, second), ("1/m", 1, minute), ("100000/s", 100_000, second)];
        for (text, count, per) in good {
            assert_eq!(RateLimit::parse(text), Ok(RateLimit { count, per }));
        }
        let bad = [
            ("200", "found `200`"),
            ("200/h", "found `200/h`"),
            ("/s", "found `/s`"),
            ("+5/s", "found `+5/s`"),
            ("1.5/s", "found `1.5/s`"),
            ("0/s", "more than 0"),
            ("100001/s", "at most 100000"),
            ("99999999999999999999/m", "at most 100000"),
        ];
        for (text, reason) in bad {
            let error = RateLimit::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
