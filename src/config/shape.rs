//! What stands in a file before anybody asks what it means: nodes with their places, and the keys a mapping may have.
//!
//! Reading a node never fails on what kind of thing it is: a list where a duration belongs is kept as a list, an
//! unknown key is kept with its place. So the whole file is read in one go, and the later steps can report all faults
//! at once. Only broken YAML, duplicate keys and the limits of the parser end the reading early.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use super::outline::Outline;

/// A line and a column, counted from 1; 0 if there is none. Small, since a large file has millions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl From<Location> for Spot {
    fn from(location: Location) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or_default();
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

/// A value and its place; a mapping in it is read as `M`.
pub(super) struct Node<M> {
    /// Where it is used; of an alias that is the alias.
    pub(super) at: Spot,
    /// The key before it; of a list item the item itself.
    pub(super) key: Spot,
    pub(super) value: Value<M>,
    /// The bytes of the file that spell it; of an alias those of its anchor.
    defined: Option<(u32, u32)>,
}

pub(super) enum Value<M> {
    Null,
    /// A plain scalar that YAML would take for a number or a truth value; only the file has its true spelling.
    Plain,
    Text(String),
    List(Vec<Node<M>>),
    Map(M),
}

/// A place where no mapping belongs.
pub(super) type Text = Node<NoMapping>;

impl<M> Node<M> {
    /// What this is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Plain | Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The bytes of the file that spell this value; of a list or a mapping, where it begins.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        let (start, end) = self.defined?;
        Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// The scalar as it is spelled in `file`, without quotes; `007` and `1e18` stay what they are.
    pub(super) fn spelling<'a>(&'a self, file: &'a str) -> Option<&'a str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Plain => file.get(self.span()?).map(str::trim),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(super) fn below(mut self, key: &Key) -> Self {
        self.key = key.at;
        self
    }
}

impl<'de, M: Mapping> Deserialize<'de> for Node<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, defined } = Spanned::deserialize(deserializer)?;
        let at = referenced.into();
        Ok(Self { at, key: at, value, defined: span(defined) })
    }
}

impl<'de, M: Mapping> Deserialize<'de> for Value<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor(PhantomData))
    }
}

struct ValueVisitor<M>(PhantomData<M>);

impl<'de, M: Mapping> Visitor<'de> for ValueVisitor<M> {
    type Value = Value<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<M>, E> {
        Ok(Value::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<M>, E> {
        Ok(Value::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value<M>, E> {
        Ok(Value::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<M>, E> {
        Ok(Value::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<M>, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value<M>, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<M>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<M>, A::Error> {
        M::read(map).map(Value::Map)
    }
}

fn span(location: Location) -> Option<(u32, u32)> {
    let span = location.span();
    let start = u32::try_from(span.byte_offset()?).ok()?;
    let length = u32::try_from(span.byte_len()?).ok()?;
    Some((start, start.checked_add(length)?))
}

/// A key as it was written.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) at: Spot,
    /// The byte of the file behind it.
    end: u32,
}

impl Key {
    pub(super) fn end(&self) -> usize {
        usize::try_from(self.end).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(deserializer)?;
        let (_, end) = span(referenced).unwrap_or_default();
        Ok(Self { name: value, at: referenced.into(), end })
    }
}

/// What a mapping of the file can be read as.
pub(super) trait Mapping: Default {
    /// The keys it may have, if they are fixed.
    const KEYS: &'static [&'static str];

    fn read<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;

    /// Keys that were found and do not belong there.
    fn unknown(&self) -> &[Key];

    /// What such a mapping may hold.
    fn outline() -> Outline;

    /// Notes for each key that may stand here or further below whether it does.
    #[cfg(test)]
    fn walk(&self, path: &str, seen: &mut std::collections::BTreeMap<String, bool>);
}

#[derive(Default)]
pub(super) struct NoMapping;

impl Mapping for NoMapping {
    const KEYS: &'static [&'static str] = &[];

    fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self)
    }

    fn unknown(&self) -> &[Key] {
        &[]
    }

    fn outline() -> Outline {
        Outline::Leaf
    }

    #[cfg(test)]
    fn walk(&self, _: &str, _: &mut std::collections::BTreeMap<String, bool>) {}
}

/// A mapping whose keys are names that the operator chose, in the order of the file.
pub(super) struct Named<M>(pub(super) Vec<(Key, Node<M>)>);

impl<M> Default for Named<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M: Mapping> Mapping for Named<M> {
    const KEYS: &'static [&'static str] = &[];

    fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            let node = map.next_value::<Node<M>>()?.below(&key);
            entries.push((key, node));
        }
        Ok(Self(entries))
    }

    fn unknown(&self) -> &[Key] {
        &[]
    }

    fn outline() -> Outline {
        Outline::Named(M::outline)
    }

    #[cfg(test)]
    fn walk(&self, path: &str, seen: &mut std::collections::BTreeMap<String, bool>) {
        for (_, node) in &self.0 {
            if let Value::Map(map) = &node.value {
                map.walk(&format!("{path}.*"), seen);
            }
        }
    }
}

/// Declares a mapping with fixed keys: a struct with an optional [`Node`] for each. A key that is a word of Rust is
/// given as text behind its field's name. Behind `=` stands how its values are written, for the schema: a
/// [`Form`](super::outline::Form); without it, a text.
macro_rules! shape {
    ($(#[$meta:meta])* $name:ident { $($field:ident $($key:literal)?: $kind:ty $(= $form:expr)?,)* }) => {
        $(#[$meta])*
        #[derive(Default)]
        pub(in crate::config) struct $name {
            $(pub(in crate::config) $field: Option<$crate::config::shape::Node<$kind>>,)*
            unknown: Vec<$crate::config::shape::Key>,
        }

        impl $crate::config::shape::Mapping for $name {
            const KEYS: &'static [&'static str] = &[$($crate::config::shape::shape!(@key $field $($key)?)),*];

            fn read<'de, A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
                let mut shape = Self::default();
                while let Some(key) = map.next_key::<$crate::config::shape::Key>()? {
                    match key.name.as_str() {
                        $(name if name == $crate::config::shape::shape!(@key $field $($key)?) => {
                            let node: $crate::config::shape::Node<$kind> = map.next_value()?;
                            shape.$field = Some(node.below(&key));
                        })*
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                            shape.unknown.push(key);
                        }
                    }
                }
                Ok(shape)
            }

            fn unknown(&self) -> &[$crate::config::shape::Key] {
                &self.unknown
            }

            fn outline() -> $crate::config::outline::Outline {
                $crate::config::outline::Outline::Keys(
                    concat!(module_path!(), "::", stringify!($name)),
                    vec![$($crate::config::outline::KeyOutline {
                        name: $crate::config::shape::shape!(@key $field $($key)?),
                        form: $crate::config::shape::shape!(@form $($form)?),
                        value: <$kind as $crate::config::shape::Mapping>::outline,
                    }),*],
                )
            }

            #[cfg(test)]
            fn walk(&self, path: &str, seen: &mut std::collections::BTreeMap<String, bool>) {
                $({
                    let path = format!("{path}.{}", $crate::config::shape::shape!(@key $field $($key)?));
                    *seen.entry(path.clone()).or_default() |= self.$field.is_some();
                    if let Some($crate::config::shape::Node { value: $crate::config::shape::Value::Map(map), .. }) =
                        &self.$field
                    {
                        $crate::config::shape::Mapping::walk(map, &path, seen);
                    }
                })*
                let _ = (path, seen);
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@form) => { $crate::config::outline::Form::TEXT };
    (@form $form:expr) => { $form };
}
pub(super) use shape;

impl<M> Node<M> {
    /// The same, without what is in a mapping.
    pub(super) fn without_mapping<N: Mapping>(self) -> Node<N> {
        let value = match self.value {
            Value::Null => Value::Null,
            Value::Plain => Value::Plain,
            Value::Text(text) => Value::Text(text),
            Value::List(items) => Value::List(items.into_iter().map(Node::without_mapping).collect()),
            Value::Map(_) => Value::Map(N::default()),
        };
        Node { at: self.at, key: self.key, value, defined: self.defined }
    }
}
