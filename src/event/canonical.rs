//! JSON in one form: sorted keys, no white space, texts with one spelling, numbers as written.
//!
//! Works on the text itself, since most of it is copied as it stands; building a tree of values first costs three
//! times as much, and this is done for every message.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Deeper nesting is malformed. Each level reads its part of the text once more, so this bounds the work too.
const DEPTH_MAX: usize = 64;
/// Of an object; more cost another allocation.
const MEMBERS_EXPECTED: usize = 16;

/// Appends the canonical form of `raw` to `out`.
pub(super) fn write(raw: &RawValue, out: &mut Vec<u8>) -> Result<(), String> {
    write_value(raw, out, DEPTH_MAX)
}

/// Appends the canonical form of a text.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(out, text).map_err(|error| error.to_string())
}

/// The members of an object in the order of the text; none if it is not an object.
pub(crate) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let Entries(entries) = parse(text).ok()?;
    Some(entries.into_iter().map(|(Key(name), raw)| (name, raw)).collect())
}

fn write_value(raw: &RawValue, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    let text = raw.get();
    let Some(depth) = depth.checked_sub(1) else { return Err(format!("nested deeper than {DEPTH_MAX} levels")) };
    match text.as_bytes().first() {
        Some(b'{') => write_object(text, out, depth),
        Some(b'[') => write_array(text, out, depth),
        Some(b'"') if text.contains('\\') => {
            let unescaped: Cow<'_, str> = parse(text)?;
            write_text(&unescaped, out)
        }
        // Without escapes a text has one spelling; numbers and literals are kept as written.
        _ => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

fn write_object(text: &str, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    let Entries(mut entries) = parse(text)?;
    // Stable, so of equal keys the last one in the text is the last one here.
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    out.push(b'{');
    let mut is_first = true;
    for (place, (key, value)) in entries.iter().enumerate() {
        if entries.get(place + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        write_text(key, out)?;
        out.push(b':');
        write_value(value, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_array(text: &str, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    let items: Vec<&RawValue> = parse(text)?;
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_value(item, out, depth)?;
    }
    out.push(b']');
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The members of an object in the order of the text.
struct Entries<'a>(Vec<(Key<'a>, &'a RawValue)>);

/// A key, borrowed where it has no escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Key<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(MEMBERS_EXPECTED));
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn canonical(text: &str) -> Result<String, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        write(raw, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_form_for_every_spelling() {
        let cases = [
            (r#"{"b": 1e400, "a": {"d": 2, "c": [1.0, 1]}}"#, r#"{"a":{"c":[1.0,1],"d":2},"b":1e400}"#),
            (r#" [ true , null , "x" ] "#, r#"[true,null,"x"]"#),
            (r#""\u0041\/\n""#, r#""A/\n""#),
            (r#"{"\u0061": 1}"#, r#"{"a":1}"#),
            (r#"{"a": 1, "b": 2, "a": 3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"n": 123456789012345678901234567890}"#, r#"{"n":123456789012345678901234567890}"#),
            ("{}", "{}"),
            ("[]", "[]"),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(canonical(&nested(DEPTH_MAX - 1)).is_ok());
        assert!(canonical(&nested(DEPTH_MAX)).unwrap_err().contains("nested deeper"));
        assert!(canonical(&nested(100_000)).unwrap_err().contains("nested deeper"));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_a_sorted_tree_prints(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(canonical(&pretty).unwrap(), value.to_string());
        }
    }
}
