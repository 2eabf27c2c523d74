//! The condition of a route.

use std::collections::HashSet;

use crate::config::{MatchConfig, MatchKeys};
use crate::event::Facts;

/// Conditions of which every one must hold; none: everything matches.
#[derive(Debug)]
pub(super) struct Matcher {
    conditions: Vec<Condition>,
}

/// One key of a `match`. A new key is a variant here, with an arm in [`Condition::holds`].
#[derive(Debug)]
enum Condition {
    Action(OneOf),
    ContractPackage(OneOf),
    /// The owner, or either side of a transfer.
    Owner(OneOf),
    TokenId(OneOf),
}

#[derive(Debug)]
struct OneOf(HashSet<Box<str>>);

impl Matcher {
    pub(super) fn new(config: &MatchConfig) -> Self {
        let conditions = match config {
            MatchConfig::All => Vec::new(),
            MatchConfig::Keys(MatchKeys { action, contract_package, owner, token_id }) => {
                let keys = [
                    OneOf::new(action).map(Condition::Action),
                    OneOf::new(contract_package).map(Condition::ContractPackage),
                    OneOf::new(token_id).map(Condition::TokenId),
                    OneOf::new(owner).map(Condition::Owner),
                ];
                keys.into_iter().flatten().collect()
            }
        };
        Self { conditions }
    }

    pub(super) fn matches(&self, facts: &Facts) -> bool {
        self.conditions.iter().all(|condition| condition.holds(facts))
    }
}

impl Condition {
    fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Action(words) => words.has(&facts.action),
            Self::ContractPackage(hashes) => hashes.has_some(&facts.contract_package),
            Self::Owner(hashes) => [&facts.owner, &facts.from, &facts.to].into_iter().any(|side| hashes.has_some(side)),
            Self::TokenId(ids) => ids.has_some(&facts.token_id),
        }
    }
}

impl OneOf {
    fn new(list: &Option<Vec<String>>) -> Option<Self> {
        list.as_ref().map(|list| Self(list.iter().map(|text| text.as_str().into()).collect()))
    }

    fn has(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// What an event lacks is in no list.
    fn has_some(&self, text: &Option<Box<str>>) -> bool {
        text.as_deref().is_some_and(|text| self.has(text))
    }
}
