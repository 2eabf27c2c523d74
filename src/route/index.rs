//! Finds the routes that may match an event without walking over all of them.
//!
//! A route that can only match events of certain packages, tokens or owners is entered under these; of several such
//! keys under the one that it shares with the fewest other routes. So an event meets the routes that name what it
//! has, and those that name nothing, however many others there are.
//!
//! The maps are keyed by text from the chain, so their hash must resist chosen keys: the standard one does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::matcher::values;
use crate::config::{Key, MatchConfig, Texts};
use crate::event::Facts;

/// What a route can be entered under. An owner stands for either side of a transfer as well.
const KEYS: [Key; 3] = [Key::ContractPackage, Key::TokenId, Key::Owner];

/// The number of a route: its place in the list.
pub(super) type Number = u32;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// One map for each of [`KEYS`].
    named: [HashMap<Arc<str>, Numbers>; KEYS.len()],
    /// Routes that may match whatever an event names, in order.
    unnamed: Vec<Number>,
}

impl Index {
    pub(super) fn new<'r>(matchers: impl Iterator<Item = &'r MatchConfig>) -> Self {
        let implied: Vec<[Option<Texts>; KEYS.len()]> =
            matchers.map(|matcher| KEYS.map(|key| matcher.implied(key))).collect();
        let shared = Shared::count(&implied);
        let mut index = Self::default();
        for (number, lists) in (0..).zip(&implied) {
            let entry = index.named.iter_mut().zip(lists).zip(&shared.0);
            let entries = entry.filter_map(|((map, texts), counts)| Some((map, texts.as_ref()?, counts)));
            let fewest = entries.min_by_key(|(_, texts, counts)| most(texts, counts));
            let Some((map, texts, _)) = fewest else {
                index.unnamed.push(number);
                continue;
            };
            texts.iter().for_each(|text| enter(map, text, number));
        }
        index
    }

    /// All routes that may match, in order.
    pub(super) fn candidates(&self, facts: &Facts) -> Cow<'_, [Number]> {
        let mut found = Vec::new();
        for (key, map) in KEYS.into_iter().zip(&self.named).filter(|(_, map)| !map.is_empty()) {
            found.extend(values(key, facts).filter_map(|text| map.get(text)).flat_map(Numbers::as_slice));
        }
        if found.is_empty() {
            return Cow::Borrowed(&self.unnamed);
        }
        found.extend(&self.unnamed);
        found.sort_unstable();
        found.dedup();
        Cow::Owned(found)
    }
}

/// The routes under one text. Mostly it is one, which then needs no list to be fetched.
#[derive(Debug)]
enum Numbers {
    One(Number),
    Many(Vec<Number>),
}

impl Numbers {
    fn as_slice(&self) -> &[Number] {
        match self {
            Self::One(number) => std::slice::from_ref(number),
            Self::Many(numbers) => numbers,
        }
    }
}

fn enter(map: &mut HashMap<Arc<str>, Numbers>, text: &Arc<str>, number: Number) {
    match map.get_mut(text) {
        None => drop(map.insert(Arc::clone(text), Numbers::One(number))),
        Some(Numbers::Many(numbers)) => numbers.push(number),
        Some(one) => *one = Numbers::Many([one.as_slice(), &[number]].concat()),
    }
}

/// How many routes name a text, for each of [`KEYS`].
struct Shared<'r>([HashMap<&'r str, usize>; KEYS.len()]);

impl<'r> Shared<'r> {
    fn count(implied: &'r [[Option<Texts>; KEYS.len()]]) -> Self {
        let mut shared: [HashMap<&str, usize>; KEYS.len()] = Default::default();
        for lists in implied {
            for (counts, texts) in shared.iter_mut().zip(lists) {
                texts.iter().flat_map(Texts::iter).for_each(|text| *counts.entry(text).or_default() += 1);
            }
        }
        Self(shared)
    }
}

/// Of the texts of a list the one that most routes name, by their number.
fn most(texts: &Texts, counts: &HashMap<&str, usize>) -> usize {
    texts.iter().filter_map(|text| counts.get(&**text)).max().copied().unwrap_or_default()
}
