//! Conditions that must hold together, and whether they can.
//!
//! Finds what is plainly impossible: lists without a common value, bounds that exclude each other, values that another
//! condition on the same place refuses. It does not solve puzzles: what it lets pass may still never happen.

use super::condition::{Condition, Key, Texts};
use super::predicate::{Bound, Comparison, Found, Operands, Predicate};
use crate::config::reader::Place;
use crate::event::Stream;

/// All that holds further out, and beside.
#[derive(Clone, Default)]
pub(super) struct Scope {
    stream: Option<Stream>,
    conditions: Vec<Condition>,
}

impl Scope {
    pub(super) fn new(stream: Option<Stream>) -> Self {
        Self { stream, conditions: Vec::new() }
    }

    pub(super) fn stream(&self) -> Option<Stream> {
        self.stream
    }

    /// What must hold inside a `not` has nothing to do with what must hold outside.
    pub(super) fn negated(&self) -> Self {
        Self::new(self.stream)
    }

    /// Adds a condition, and notes a fault if it cannot hold together with the others.
    pub(super) fn add(&mut self, place: &Place<'_>, condition: &Condition) {
        if let Some(reason) = self.contradiction(condition) {
            place.fault_with(reason, Some("an event would have to be both, so the route can never match".to_owned()));
        }
        self.conditions.push(condition.clone());
    }

    fn contradiction(&self, condition: &Condition) -> Option<String> {
        match condition {
            Condition::OneOf(key, texts) => self.disjoint(*key, texts),
            Condition::Where(pointer, predicate) => {
                let same = self.conditions.iter().filter_map(|other| match other {
                    Condition::Where(place, other) if place.as_str() == pointer.as_str() => Some(other),
                    _ => None,
                });
                let all: Vec<&Predicate> = same.chain([predicate]).collect();
                impossible(&all)
            }
            Condition::Any(_) | Condition::All(_) | Condition::Not(_) => None,
        }
    }

    fn disjoint(&self, key: Key, texts: &Texts) -> Option<String> {
        let is_plural = self.stream.is_none_or(|stream| key.is_plural(stream));
        let mut others = self.conditions.iter().filter_map(|other| match other {
            Condition::OneOf(own, other) if *own == key => Some(other),
            _ => None,
        });
        let other = others.find(|other| !is_plural && !other.meets(texts))?;
        Some(format!("can never hold: `{key}` must be {other} too"))
    }
}

/// Why no value passes all of these; the last one is new.
fn impossible(all: &[&Predicate]) -> Option<String> {
    let is_absence = |predicate: &&Predicate| matches!(predicate, Predicate::Exists(false));
    let absences = all.iter().filter(|predicate| is_absence(predicate)).count();
    if absences > 0 && absences < all.len() {
        return Some("can never hold: a value that must not exist passes no other condition".to_owned());
    }
    no_value_left(all).or_else(|| no_number_left(all)).or_else(|| no_prefix_left(all))
}

/// Of the values of a list each is refused by another condition.
fn no_value_left(all: &[&Predicate]) -> Option<String> {
    let lists = all.iter().filter_map(|predicate| match predicate {
        Predicate::Equal(operands) | Predicate::In(operands) => Some(operands),
        _ => None,
    });
    let fewest: &Operands = lists.min_by_key(|operands| operands.texts.len())?;
    let passes = |found: &Found<'_>| all.iter().all(|predicate| predicate.accepts(Some(found)));
    let is_possible = |text: &str| passes(&Found::Text(text.into())) || passes(&Found::Number(text.into()));
    if fewest.texts.iter().any(|text| is_possible(text)) {
        return None;
    }
    let refusing = all.iter().find(|predicate| {
        !fewest.texts.iter().any(|text| {
            predicate.accepts(Some(&Found::Text((&**text).into())))
                || predicate.accepts(Some(&Found::Number((&**text).into())))
        })
    });
    let reason =
        refusing.map_or_else(|| "what else is asked for".to_owned(), |refusing| format!("{refusing}, as is asked for"));
    Some(format!("can never hold: {} is not {reason}", fewest.texts))
}

fn no_number_left(all: &[&Predicate]) -> Option<String> {
    let bounds = || {
        all.iter().filter_map(|predicate| match predicate {
            Predicate::Compared(comparison, bound) => Some((*comparison, bound)),
            _ => None,
        })
    };
    let lower: Vec<_> = bounds().filter(|(comparison, _)| comparison.is_lower()).collect();
    for (upper, high) in bounds().filter(|(comparison, _)| !comparison.is_lower()) {
        let is_strict = |lower: Comparison| lower == Comparison::Gt || upper == Comparison::Lt;
        let excludes = |(lower, low): &&(Comparison, &Bound)| {
            low.number > high.number || low.number == high.number && is_strict(*lower)
        };
        if let Some((lower, low)) = lower.iter().find(excludes) {
            let (lower, upper) = (lower.as_str(), upper.as_str());
            return Some(format!("can never hold: no number is {lower} {low} and {upper} {high}"));
        }
    }
    None
}

fn no_prefix_left(all: &[&Predicate]) -> Option<String> {
    let prefixes: Vec<&str> = all
        .iter()
        .filter_map(|predicate| match predicate {
            Predicate::Prefix(prefix) => Some(&**prefix),
            _ => None,
        })
        .collect();
    let (new, others) = prefixes.split_last()?;
    let other = others.iter().find(|other| !other.starts_with(new) && !new.starts_with(**other))?;
    Some(format!("can never hold: no text begins with {new:?} and with {other:?}"))
}
