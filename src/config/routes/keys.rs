//! What may stand in a `match`. Kept as what is there, not as a place for each key: there may be 100,000 of them.

use serde::de::{IgnoredAny, MapAccess};

use super::condition::Key;
use super::fields::Words;
use super::list::Listed;
use crate::config::outline::{Form, KeyOutline, Outline};
use crate::config::shape::{Key as Word, Mapping, Named, Node};
use crate::event::{ActionKind, OWNER_TYPES, TOKEN_STANDARDS};

/// What values look like, as regular expressions.
const HASH: &str = "^([A-Za-z-]+-)?[0-9A-Fa-f]{64}$";
const OWNER: &str = "^([A-Za-z-]+-)?[0-9A-Fa-f]{64}$|^01[0-9A-Fa-f]{64}$|^02[0-9A-Fa-f]{66}$";
const POINTER: &str = "^(/([^~]|~[01])*)+$";

/// The keys of a `match`, and of each part of `any`, `all` and `not`.
#[derive(Default)]
pub(in crate::config) struct Keys {
    /// In the order of the file.
    pub(super) lists: Vec<(Key, Node<Listed>)>,
    pub(super) fields: Option<Box<Node<Named<Words>>>>,
    pub(super) all: Option<Box<Node<Keys>>>,
    pub(super) any: Option<Box<Node<Keys>>>,
    pub(super) not: Option<Box<Node<Keys>>>,
    unknown: Vec<Word>,
}

impl Mapping for Keys {
    const KEYS: &'static [&'static str] = &[
        "owner",
        "from",
        "to",
        "contract_package",
        "token_id",
        "action",
        "kind",
        "burned",
        "owner_type",
        "standard",
        "where",
        "all",
        "any",
        "not",
    ];

    fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut keys = Self::default();
        while let Some(word) = map.next_key::<Word>()? {
            if let Some(key) = Key::ALL.into_iter().find(|key| key.as_str() == word.name) {
                keys.lists.push((key, map.next_value::<Node<Listed>>()?.below(&word)));
                continue;
            }
            match word.name.as_str() {
                "where" => keys.fields = Some(Box::new(map.next_value::<Node<_>>()?.below(&word))),
                "all" => keys.all = Some(Box::new(map.next_value::<Node<_>>()?.below(&word))),
                "any" => keys.any = Some(Box::new(map.next_value::<Node<_>>()?.below(&word))),
                "not" => keys.not = Some(Box::new(map.next_value::<Node<_>>()?.below(&word))),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    keys.unknown.push(word);
                }
            }
        }
        Ok(keys)
    }

    fn unknown(&self) -> &[Word] {
        &self.unknown
    }

    fn outline() -> Outline {
        Outline::Keys(concat!(module_path!(), "::Match"), Self::KEYS.iter().map(|name| key_outline(name)).collect())
    }

    #[cfg(test)]
    fn walk(&self, path: &str, seen: &mut std::collections::BTreeMap<String, bool>) {
        use crate::config::shape::Value;

        for name in Self::KEYS {
            let is_listed = self.lists.iter().any(|(key, _)| key.as_str() == *name);
            let others = [("all", &self.all), ("any", &self.any), ("not", &self.not)];
            let is_other = others.iter().any(|(other, node)| other == name && node.is_some());
            let is_there = is_listed || is_other || *name == "where" && self.fields.is_some();
            *seen.entry(format!("{path}.{name}")).or_default() |= is_there;
        }
        for (key, node) in &self.lists {
            if let Value::Map(listed) = &node.value {
                listed.walk(&format!("{path}.{key}"), seen);
            }
        }
        if let Some(Value::Map(fields)) = self.fields.as_ref().map(|node| &node.value) {
            fields.walk(&format!("{path}.where"), seen);
        }
    }
}

fn key_outline(name: &'static str) -> KeyOutline {
    let of = |form, value| KeyOutline { name, form, value };
    let listed = |form: Form| of(form.list().filled().or_mapping(), Listed::outline);
    match name {
        "where" => of(Form::TEXT.list().filled().or_mapping().named(POINTER), Named::<Words>::outline),
        "all" | "any" => of(Form::TEXT.list().filled(), Keys::outline),
        "not" => of(Form::TEXT.filled(), Keys::outline),
        "owner" | "from" | "to" => listed(Form::pattern(OWNER)),
        "contract_package" => listed(Form::pattern(HASH)),
        "kind" => listed(Form::words(|| ActionKind::ALL.map(ActionKind::as_str).to_vec())),
        "burned" => listed(Form::BOOL),
        "owner_type" => listed(Form::words(|| OWNER_TYPES.to_vec())),
        "standard" => listed(Form::words(|| TOKEN_STANDARDS.to_vec())),
        _ => listed(Form::TEXT),
    }
}
