//! Numbers as they are written, compared exactly: amounts and ids of the chain do not fit into machine numbers.

use std::cmp::Ordering;

/// Beyond this a number is no number here: nothing on the chain is that large or that small.
const EXPONENT_MAX: i64 = 1_000_000;

/// A number of any size, kept as its significant digits and their place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Decimal {
    is_negative: bool,
    /// Neither leading nor trailing zeros; empty for zero.
    digits: Box<str>,
    /// The power of ten of the digit before the first one: 20 is 0.2 × 10².
    exponent: i64,
}

impl Decimal {
    /// Reads `20`, `-1.50`, `1e18` or `0020`; `None` for everything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = match rest.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, integer(power)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let all = [whole, fraction].concat();
        let significant = all.trim_start_matches('0');
        let zeros = i64::try_from(all.len() - significant.len()).ok()?;
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: "".into(), exponent: 0 });
        }
        let exponent = i64::try_from(whole.len()).ok()? - zeros + power;
        Some(Self { is_negative, digits: digits.into(), exponent })
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        }
    }
}

/// A whole number with or without a sign, within bounds.
fn integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (-EXPONENT_MAX..=EXPONENT_MAX).contains(&number).then_some(number)
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_size = || {
            let by_place = self.exponent.cmp(&other.exponent);
            // Without trailing zeros, shorter is smaller where it ends, as in texts.
            by_place.then_with(|| self.digits.cmp(&other.digits))
        };
        match self.sign().cmp(&other.sign()) {
            Ordering::Equal if self.sign() < 0 => by_size().reverse(),
            Ordering::Equal => by_size(),
            unequal => unequal,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let ascending = [
            "-1e30",
            "-10.5",
            "-10.49",
            "-0.001",
            "0",
            "1e-7",
            "0.001",
            "0.01",
            "1",
            "1.5",
            "9.99",
            "10",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            "115792089237316195423570985008687907853269984665640564039457584007913129639936",
            "1e78",
        ];
        for pair in ascending.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
            assert!(decimal(pair[1]) > decimal(pair[0]), "{pair:?}");
        }
        for (one, other) in [("20", "20.0"), ("20", "2e1"), ("0020", "2E+1"), ("-0", "0.00"), ("0.5", "5e-1")] {
            assert_eq!(decimal(one), decimal(other));
            assert_eq!(decimal(one).cmp(&decimal(other)), Ordering::Equal);
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in
            ["", "-", ".5", "5.", "1e", "e5", "0x10", "1_000", "1,5", "NaN", "inf", " 1", "+1", "--1", "1e9999999"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_orders_as_integers_do(a in any::<i128>(), b in any::<i64>(), shift in 0..6_u32) {
            let b = i128::from(b);
            prop_assert_eq!(decimal(&a.to_string()).cmp(&decimal(&b.to_string())), a.cmp(&b));
            let scaled = (b * 10_i128.pow(shift), format!("{b}e{shift}"));
            prop_assert_eq!(decimal(&scaled.0.to_string()), decimal(&scaled.1));
        }
    }
}
