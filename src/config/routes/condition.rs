//! The condition of a route, as the program needs it: a tree in which nothing is left to check.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::pointer::Pointer;
use super::predicate::Predicate;
use crate::event::Stream;

/// Conditions of which every one must hold; none: everything matches (`match: all`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatchConfig {
    pub conditions: Vec<Condition>,
}

/// One key of a `match`.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A fact of the event is one of these texts. Hashes are 64 lower-case hex digits without prefix.
    OneOf(Key, Texts),
    /// What stands at a place of the message passes a test.
    Where(Pointer, Predicate),
    Any(Vec<MatchConfig>),
    All(Vec<MatchConfig>),
    Not(MatchConfig),
}

/// A key of a `match` that takes a value or a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Action,
    ContractPackage,
    TokenId,
    /// The owner, or either side of a transfer.
    Owner,
    From,
    To,
    Kind,
    Burned,
    OwnerType,
    Standard,
}

impl Key {
    pub(super) const ALL: [Self; 10] = [
        Self::Action,
        Self::ContractPackage,
        Self::TokenId,
        Self::Owner,
        Self::From,
        Self::To,
        Self::Kind,
        Self::Burned,
        Self::OwnerType,
        Self::Standard,
    ];

    /// As it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::ContractPackage => "contract_package",
            Self::TokenId => "token_id",
            Self::Owner => "owner",
            Self::From => "from",
            Self::To => "to",
            Self::Kind => "kind",
            Self::Burned => "burned",
            Self::OwnerType => "owner_type",
            Self::Standard => "standard",
        }
    }

    /// Whether messages of `stream` say it, so that a route may ask.
    pub fn is_in(self, stream: Stream) -> bool {
        match self {
            Self::Action => true,
            Self::ContractPackage => stream.has_contract_package(),
            Self::TokenId => stream.has_token_id(),
            Self::Owner => stream.has_owner(),
            Self::From | Self::To => stream.has_sides(),
            Self::Kind => stream.has_kind(),
            Self::Burned | Self::Standard => stream.has_token_state(),
            Self::OwnerType => stream.has_owner_type(),
        }
    }

    /// Whether an event of `stream` has more than one of it, so that two lists without a common value may both hold.
    pub(super) fn is_plural(self, stream: Stream) -> bool {
        self == Self::Owner && stream.has_sides()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of texts, shared by all who hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts(Set);

/// Most lists have one value; a set of its own for each would cost memory, and time to fetch it.
#[derive(Clone, Debug, PartialEq)]
enum Set {
    One(Arc<str>),
    Many(Arc<HashSet<Arc<str>>>),
}

impl Texts {
    pub fn has(&self, text: &str) -> bool {
        match &self.0 {
            Set::One(own) => **own == *text,
            Set::Many(own) => own.contains(text),
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Set::One(_) => 1,
            Set::Many(own) => own.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, many) = match &self.0 {
            Set::One(own) => (Some(own), None),
            Set::Many(own) => (None, Some(own.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.len() < other.len() { (self, other) } else { (other, self) };
        few.iter().any(|text| many.has(text))
    }
}

/// How many texts of a long list are shown.
const SHOWN_MAX: usize = 5;

/// `"a"`, or `one of "a", "b"`; of a long list the beginning.
impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<&Arc<str>> = self.iter().collect();
        texts.sort_unstable();
        if texts.len() != 1 {
            f.write_str("one of ")?;
        }
        for (place, text) in texts.iter().take(SHOWN_MAX).enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{text:?}")?;
        }
        match texts.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl FromIterator<Arc<str>> for Texts {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(texts: I) -> Self {
        let mut texts = texts.into_iter();
        match (texts.next(), texts.next()) {
            (Some(one), None) => Self(Set::One(one)),
            (first, second) => Self(Set::Many(Arc::new(first.into_iter().chain(second).chain(texts).collect()))),
        }
    }
}

impl FromIterator<String> for Texts {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        texts.into_iter().map(Arc::from).collect()
    }
}

impl MatchConfig {
    /// Texts of which every event that matches has one as its `key`; `None` if it may match without. An owner is
    /// implied by either side of a transfer too.
    ///
    /// Of several conditions that must all hold the one with the fewest texts is taken; alternatives add up; `not`
    /// implies nothing.
    pub(crate) fn implied(&self, key: Key) -> Option<Texts> {
        self.conditions.iter().filter_map(|condition| condition.implied(key)).min_by_key(Texts::len)
    }
}

impl Condition {
    fn implied(&self, key: Key) -> Option<Texts> {
        match self {
            Self::OneOf(own, texts) => {
                let is_side = key == Key::Owner && matches!(own, Key::From | Key::To);
                (*own == key || is_side).then(|| texts.clone())
            }
            Self::All(parts) => parts.iter().filter_map(|part| part.implied(key)).min_by_key(Texts::len),
            Self::Any(parts) => {
                let implied: Option<Vec<Texts>> = parts.iter().map(|part| part.implied(key)).collect();
                Some(implied?.iter().flat_map(Texts::iter).cloned().collect())
            }
            Self::Where(..) | Self::Not(_) => None,
        }
    }
}
