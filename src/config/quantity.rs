//! Durations and sizes as people write them: whole numbers with a unit.

use std::time::Duration;

const MS_BY_UNIT: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const BYTES_BY_UNIT: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `15s`, `500ms`, `1h30m`; units from the largest to the smallest, each at most once.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut smallest = u64::MAX;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, after) = split(rest).ok_or_else(|| not_a_duration(text))?;
        let &(_, ms) = MS_BY_UNIT.iter().find(|(name, _)| *name == unit).ok_or_else(|| not_a_duration(text))?;
        if ms >= smallest {
            return Err(format!("`{text}` has its units out of order: write the largest first, each once"));
        }
        smallest = ms;
        total = number.checked_mul(ms).and_then(|ms| total.checked_add(ms)).ok_or_else(|| too_large(text))?;
        rest = after;
    }
    if smallest == u64::MAX { Err(not_a_duration(text)) } else { Ok(Duration::from_millis(total)) }
}

/// `64KiB`, `2MB`, or plain bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write a whole number with a unit, such as 512MiB, 10GiB or 2GB");
    let (number, unit, _) = split(text).filter(|(_, _, after)| after.is_empty()).ok_or_else(wrong)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let &(_, bytes) = BYTES_BY_UNIT.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(bytes).ok_or_else(|| too_large(text))
}

/// What [`duration`] accepts, as a regular expression, but for nothing (`0s`) and the order of the units.
pub(super) fn duration_pattern() -> String {
    format!("^(?=.*[1-9])([0-9]+ *({}) *)+$", MS_BY_UNIT.map(|(unit, _)| unit).join("|"))
}

/// What [`size`] accepts, as a regular expression.
pub(super) fn size_pattern() -> String {
    format!("^[0-9]+ *({})?$", BYTES_BY_UNIT.map(|(unit, _)| unit).join("|"))
}

/// A leading number, the letters behind it, and the rest; spaces between number and unit are skipped.
fn split(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let rest = rest.trim_start_matches(' ');
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, rest.trim_start_matches(' ')))
}

fn not_a_duration(text: &str) -> String {
    format!("`{text}` is not a duration: write whole numbers with units, such as 500ms, 15s, 1h30m or 7d")
}

fn too_large(text: &str) -> String {
    format!("`{text}` is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("15s", 15_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_a_reason() {
        for text in ["", "15", "s", "1.5h", "-1s", "15 parsecs", "1s1h", "1s1s", "15S", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("300000000000d").unwrap_err().contains("too large"));
        assert!(duration("30m1h").unwrap_err().contains("out of order"));
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64KiB", 65_536), ("2MB", 2_000_000), ("10 GiB", 10 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "1.5GiB", "10Gi", "10gib", "1GiB1MiB", "-1", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
