//! Reads a `where`: JSON Pointers, and what is asked of what stands there.

use std::sync::Arc;

use regex::RegexBuilder;

use super::condition::Condition;
use super::list::{Kind, Listed, Lists};
use super::pointer::Pointer;
use super::predicate::{Bound, Comparison, Operands, Predicate};
use super::scope::Scope;
use crate::config::fault::suggest;
use crate::config::outline::Form;
use crate::config::reader::Place;
use crate::config::shape::{Mapping, Named, NoMapping, Node, Text, Value, shape};

/// Of a compiled regular expression; one that needs more is refused.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// What numbers look like, as a regular expression.
const NUMBER: &str = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$";

/// What every message has at its top.
const ENVELOPE: [&str; 4] = ["data", "action", "extra", "timestamp"];

shape! {
    /// The conditions on one place of the message.
    Words {
        one_of "in": Listed = Form::TEXT.list().filled().or_mapping(),
        not_in: Listed = Form::TEXT.list().filled().or_mapping(),
        prefix: NoMapping = Form::pattern("."),
        regex: NoMapping,
        exists: NoMapping = Form::BOOL,
        gt: NoMapping = Form::pattern(NUMBER),
        gte: NoMapping = Form::pattern(NUMBER),
        lt: NoMapping = Form::pattern(NUMBER),
        lte: NoMapping = Form::pattern(NUMBER),
    }
}

/// The conditions of `where`; each must hold, together with what is in `scope`.
pub(super) fn read(
    parent: &Place<'_>,
    node: Option<Node<Named<Words>>>,
    lists: &Lists,
    scope: &mut Scope,
) -> Vec<Condition> {
    let is_given = node.as_ref().is_some_and(|node| matches!(node.value, Value::Map(_) | Value::Null));
    let (fields, place) = parent.map("where", node);
    if is_given && fields.0.is_empty() {
        let example = "write for instance where: { /data/onchain_metadata/price: { gte: 20 } }";
        place.fault_with("an empty `where` asks for nothing", Some(example.to_owned()));
    }
    let mut conditions = Vec::new();
    for (key, node) in fields.0 {
        let at = place.key(&key.name, key.at);
        let pointer = Pointer::parse(&key.name).map_err(|(message, hint)| at.fault_with(message, hint)).ok();
        for (place, predicate) in predicates(&place, &key.name, node, lists) {
            let Some(pointer) = pointer.clone() else { continue };
            let condition = Condition::Where(pointer, predicate);
            scope.add(&place, &condition);
            conditions.push(condition);
        }
        pointer.iter().for_each(|pointer| check_root(&at, pointer));
    }
    conditions
}

/// What is asked of one place of the message, each with its place in the file.
fn predicates<'a>(parent: &Place<'a>, name: &str, node: Node<Words>, lists: &Lists) -> Vec<(Place<'a>, Predicate)> {
    let place = parent.key(name, node.key);
    match node.value {
        Value::Map(words) => self::words(&place, words, lists),
        Value::Null => {
            let hint = "write a value, or for instance { exists: true }".to_owned();
            place.fault_with("expected a condition, found nothing", Some(hint));
            Vec::new()
        }
        Value::Plain | Value::Text(_) | Value::List(_) => {
            let values = lists.values(parent, name, node.without_mapping(), Kind::Operand);
            let operands = values.map(|values| Operands::new(values.into_iter().collect()));
            operands.map(|operands| (place, Predicate::Equal(operands))).into_iter().collect()
        }
    }
}

fn words<'a>(place: &Place<'a>, words: Words, lists: &Lists) -> Vec<(Place<'a>, Predicate)> {
    place.refuse_unknown(&words);
    let is_known = words.unknown().is_empty();
    let faults_before = place.document.errors();
    let operands = |name: &'static str, node: Option<Node<Listed>>| {
        let node = node?;
        let at = place.key(name, node.key);
        let values = lists.values(place, name, node, Kind::Operand)?;
        Some((at, Operands::new(values.into_iter().collect())))
    };
    let mut read = Vec::new();
    read.extend(operands("in", words.one_of).map(|(at, operands)| (at, Predicate::In(operands))));
    read.extend(operands("not_in", words.not_in).map(|(at, operands)| (at, Predicate::NotIn(operands))));
    read.extend(parsed(place, "prefix", words.prefix, prefix));
    read.extend(parsed(place, "regex", words.regex, regex));
    read.extend(parsed(place, "exists", words.exists, exists));
    for (comparison, node) in [
        (Comparison::Gt, words.gt),
        (Comparison::Gte, words.gte),
        (Comparison::Lt, words.lt),
        (Comparison::Lte, words.lte),
    ] {
        read.extend(parsed(place, comparison.as_str(), node, |text| compared(comparison, text)));
    }
    if read.is_empty() && is_known && place.document.errors() == faults_before {
        let hint = format!("there is: {}", Words::KEYS.join(", "));
        place.fault_with("expected a condition, found an empty mapping", Some(hint));
    }
    read
}

fn parsed<'a>(
    parent: &Place<'a>,
    name: &str,
    node: Option<Text>,
    parse: impl Fn(&str) -> Result<Predicate, String>,
) -> Option<(Place<'a>, Predicate)> {
    let given = parent.text(name, node)?;
    let predicate = given.parse(parse)?;
    Some((given.place, predicate))
}

fn prefix(text: &str) -> Result<Predicate, String> {
    if text.is_empty() {
        return Err("every text begins with nothing; write { exists: true } to take every value".to_owned());
    }
    Ok(Predicate::Prefix(text.into()))
}

fn regex(text: &str) -> Result<Predicate, String> {
    let compiled = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    compiled.map(|regex| Predicate::Regex(Arc::new(regex))).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
        // What the library draws below the expression stands in a line of its own here.
        error => {
            let told = error.to_string();
            let reason = told.rsplit_once("error: ").map_or(told.as_str(), |(_, reason)| reason);
            format!("`{text}` is not a regular expression: {}", reason.replace('\n', " "))
        }
    })
}

fn exists(text: &str) -> Result<Predicate, String> {
    match text {
        "true" => Ok(Predicate::Exists(true)),
        "false" => Ok(Predicate::Exists(false)),
        _ => Err(format!("expected true or false, found `{text}`")),
    }
}

fn compared(comparison: Comparison, text: &str) -> Result<Predicate, String> {
    let wrong = || format!("`{text}` is not a number: write digits, such as 20, -1.5 or 1e18");
    Ok(Predicate::Compared(comparison, Bound::parse(text).ok_or_else(wrong)?))
}

/// A pointer that begins with none of the names of the envelope finds nothing, ever.
fn check_root(place: &Place<'_>, pointer: &Pointer) {
    let Some(root) = pointer.tokens().first() else { return };
    if !ENVELOPE.contains(&&**root) {
        let hint = suggest(root, ENVELOPE).filter(|hint| hint.starts_with("did"));
        let data = || Some(format!("did you mean `/data{pointer}`?"));
        place.warn(format!("messages have {} at the top, and no `{root}`", ENVELOPE.join(", ")), hint.or_else(data));
    }
}
