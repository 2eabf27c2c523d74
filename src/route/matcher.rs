//! Whether an event meets the condition of a route.

use super::message::Message;
use crate::config::{Condition, Found, Key, MatchConfig, Pointer};
use crate::event::Facts;

/// An event as conditions see it.
pub(super) struct Subject<'e> {
    pub(super) facts: &'e Facts,
    message: Message<'e>,
}

impl<'e> Subject<'e> {
    /// The message is parsed only if a condition looks into it.
    pub(super) fn new(facts: &'e Facts, body: &'e [u8]) -> Self {
        Self { facts, message: Message::new(body) }
    }

    pub(super) fn find(&self, pointer: &Pointer) -> Option<Found<'_>> {
        self.message.find(pointer)
    }
}

/// Whether every condition holds.
pub(super) fn matches(matcher: &MatchConfig, subject: &Subject<'_>) -> bool {
    matcher.conditions.iter().all(|condition| holds(condition, subject))
}

pub(super) fn holds(condition: &Condition, subject: &Subject<'_>) -> bool {
    match condition {
        // What an event lacks is in no list.
        Condition::OneOf(key, texts) => values(*key, subject.facts).any(|text| texts.has(text)),
        Condition::Where(pointer, predicate) => predicate.accepts(subject.find(pointer).as_ref()),
        Condition::Any(parts) => parts.iter().any(|part| matches(part, subject)),
        Condition::All(parts) => parts.iter().all(|part| matches(part, subject)),
        Condition::Not(part) => !matches(part, subject),
    }
}

/// What an event has as its `key`. An owner is the present one, or either side of a transfer.
pub(super) fn values(key: Key, facts: &Facts) -> impl Iterator<Item = &str> {
    let one = |value| [value, None, None];
    let values = match key {
        Key::Action => one(Some(&*facts.action)),
        Key::ContractPackage => one(facts.contract_package.as_deref()),
        Key::TokenId => one(facts.token_id.as_deref()),
        Key::Owner => [facts.owner.as_deref(), facts.from.as_deref(), facts.to.as_deref()],
        Key::From => one(facts.from.as_deref()),
        Key::To => one(facts.to.as_deref()),
        Key::Kind => one(facts.kind.map(crate::event::ActionKind::as_str)),
        Key::Burned => one(facts.is_burned.map(|is_burned| if is_burned { "true" } else { "false" })),
        Key::OwnerType => one(facts.owner_type_name()),
        Key::Standard => one(facts.token_standard_name()),
    };
    values.into_iter().flatten()
}
