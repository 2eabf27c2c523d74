//! What may be asked of a value in a message, and whether a value passes.
//!
//! Numbers are compared exactly, at any size. A `null` counts as nothing: CSPR.cloud writes what it does not know as
//! `null` or not at all.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use regex::Regex;

use super::condition::Texts;
use super::decimal::Decimal;

/// What was found in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A text, or `true` or `false`.
    Text(Cow<'a, str>),
    /// As it is written.
    Number(Cow<'a, str>),
    /// An object or an array.
    Structure,
}

impl Found<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            Self::Structure => None,
        }
    }
}

/// One word of a `where` condition.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// Written as a value, or a list of values, without a word.
    Equal(Operands),
    In(Operands),
    NotIn(Operands),
    Prefix(Box<str>),
    Regex(Arc<Regex>),
    Exists(bool),
    Compared(Comparison, Bound),
}

/// Whether both are written the same way.
impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Equal(one), Self::Equal(other))
            | (Self::In(one), Self::In(other))
            | (Self::NotIn(one), Self::NotIn(other)) => one == other,
            (Self::Prefix(one), Self::Prefix(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            (Self::Exists(one), Self::Exists(other)) => one == other,
            (Self::Compared(how, bound), Self::Compared(other_how, other)) => (how, bound) == (other_how, other),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// A number and its spelling.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub(super) number: Decimal,
    spelling: Box<str>,
}

/// Values to be equal to. A number in the message is compared by value, a text by its characters; so 20 equals 20,
/// 20.0 and "20", but neither "20.0" nor "020".
#[derive(Clone, Debug, PartialEq)]
pub struct Operands {
    pub(super) texts: Texts,
    numbers: Arc<HashSet<Decimal>>,
}

impl Operands {
    pub(super) fn new(texts: Texts) -> Self {
        let numbers = texts.iter().filter_map(|text| Decimal::parse(text)).collect();
        Self { texts, numbers: Arc::new(numbers) }
    }

    fn has(&self, found: &Found<'_>) -> bool {
        match found {
            Found::Text(text) => self.texts.has(text),
            Found::Number(text) => {
                self.texts.has(text) || Decimal::parse(text).is_some_and(|number| self.numbers.contains(&number))
            }
            Found::Structure => false,
        }
    }
}

impl Bound {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self { number: Decimal::parse(text)?, spelling: text.into() })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

impl Predicate {
    /// The word in the file; `None` for a value that stands without one.
    pub(crate) fn word(&self) -> Option<&'static str> {
        Some(match self {
            Self::Equal(_) => return None,
            Self::In(_) => "in",
            Self::NotIn(_) => "not_in",
            Self::Prefix(_) => "prefix",
            Self::Regex(_) => "regex",
            Self::Exists(_) => "exists",
            Self::Compared(comparison, _) => comparison.as_str(),
        })
    }

    /// Whether what was found passes; nothing passes no test but `exists: false`.
    pub(crate) fn accepts(&self, found: Option<&Found<'_>>) -> bool {
        let Some(found) = found else { return matches!(self, Self::Exists(false)) };
        match self {
            Self::Equal(operands) | Self::In(operands) => operands.has(found),
            Self::NotIn(operands) => !operands.has(found),
            Self::Prefix(prefix) => found.text().is_some_and(|text| text.starts_with(&**prefix)),
            Self::Regex(regex) => found.text().is_some_and(|text| regex.is_match(text)),
            Self::Exists(is_wanted) => *is_wanted,
            Self::Compared(comparison, bound) => {
                found.text().and_then(Decimal::parse).is_some_and(|number| comparison.holds(&number, &bound.number))
            }
        }
    }
}

impl Comparison {
    /// Whether it bounds from below.
    pub(super) fn is_lower(self) -> bool {
        matches!(self, Self::Gt | Self::Gte)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
        }
    }

    fn holds(self, number: &Decimal, bound: &Decimal) -> bool {
        match self {
            Self::Gt => number > bound,
            Self::Gte => number >= bound,
            Self::Lt => number < bound,
            Self::Lte => number <= bound,
        }
    }
}

/// What is expected, in words.
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(operands) | Self::In(operands) => write!(f, "{}", operands.texts),
            Self::NotIn(operands) => write!(f, "not {}", operands.texts),
            Self::Prefix(prefix) => write!(f, "a text that begins with {prefix:?}"),
            Self::Regex(regex) => write!(f, "a text that matches {:?}", regex.as_str()),
            Self::Exists(true) => f.write_str("any value"),
            Self::Exists(false) => f.write_str("no value"),
            Self::Compared(comparison, bound) => {
                let sign = match comparison {
                    Comparison::Gt => ">",
                    Comparison::Gte => "≥",
                    Comparison::Lt => "<",
                    Comparison::Lte => "≤",
                };
                write!(f, "a number {sign} {bound}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operands(texts: &[&str]) -> Operands {
        Operands::new(texts.iter().map(|&text| text.to_owned()).collect())
    }

    fn compared(comparison: Comparison, bound: &str) -> Predicate {
        Predicate::Compared(comparison, Bound::parse(bound).unwrap())
    }

    fn text(text: &str) -> Option<Found<'_>> {
        Some(Found::Text(text.into()))
    }

    fn number(text: &str) -> Option<Found<'_>> {
        Some(Found::Number(text.into()))
    }

    #[test]
    fn each_test_accepts_what_it_says() {
        let regex = Predicate::Regex(Arc::new(Regex::new("^a+$").unwrap()));
        let ten_to_the_77 = format!("1{}", "0".repeat(77));
        for (test, found, expected) in [
            (Predicate::Equal(operands(&["20"])), text("20"), true),
            (Predicate::Equal(operands(&["20"])), number("20"), true),
            (Predicate::Equal(operands(&["20"])), number("2.0e1"), true),
            (Predicate::Equal(operands(&["20"])), text("20.0"), false),
            (Predicate::Equal(operands(&["007"])), text("7"), false),
            (Predicate::Equal(operands(&["true"])), text("true"), true),
            (Predicate::In(operands(&["a", "b"])), text("b"), true),
            (Predicate::In(operands(&["a", "b"])), text("c"), false),
            (Predicate::In(operands(&["a"])), Some(Found::Structure), false),
            (Predicate::NotIn(operands(&["a"])), text("b"), true),
            (Predicate::NotIn(operands(&["1"])), number("1.0"), false),
            (Predicate::NotIn(operands(&["a"])), Some(Found::Structure), true),
            (Predicate::NotIn(operands(&["a"])), None, false),
            (Predicate::Prefix("ipfs://".into()), text("ipfs://x"), true),
            (Predicate::Prefix("ipfs://".into()), text("http://x"), false),
            (Predicate::Prefix("1".into()), number("12"), true),
            (regex.clone(), text("aaa"), true),
            (regex, text("aab"), false),
            (Predicate::Exists(true), Some(Found::Structure), true),
            (Predicate::Exists(true), None, false),
            (Predicate::Exists(false), None, true),
            (Predicate::Exists(false), text(""), false),
            (compared(Comparison::Gte, "20"), text("20.000"), true),
            (compared(Comparison::Gt, "20"), number("20"), false),
            (compared(Comparison::Gt, "20"), text("20.00000000000000000000000000000001"), true),
            (compared(Comparison::Lt, "1e77"), text(&ten_to_the_77), false),
            (compared(Comparison::Lte, "1e77"), text(&ten_to_the_77), true),
            (compared(Comparison::Lt, "20"), text("cheap"), false),
            (compared(Comparison::Lt, "20"), None, false),
        ] {
            assert_eq!(test.accepts(found.as_ref()), expected, "{test:?} {found:?}");
        }
    }
}
