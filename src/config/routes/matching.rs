//! Reads a `match`. A new key is a line in `keys.rs`, a variant of [`Key`], its values in `list.rs`, and an arm in the
//! matcher.

use super::condition::{Condition, Key, MatchConfig};
use super::fields;
use super::keys::Keys;
use super::list::{Kind, Listed, Lists};
use super::scope::Scope;
use crate::config::reader::Place;
use crate::config::shape::{Mapping, Node, Value};
use crate::event::Stream;

/// `any`, `all` and `not` inside each other.
const DEPTH_MAX: usize = 8;

/// The condition of a route of `stream`; `None` if a fault was noted.
pub(super) fn read(
    parent: &Place<'_>,
    node: Option<Node<Keys>>,
    stream: Option<Stream>,
    lists: &Lists,
) -> Option<MatchConfig> {
    let hint = || Some("write `match: all` to take every event of the stream".to_owned());
    let Some(node) = node else {
        parent.fault_with("`match` is missing", hint());
        return None;
    };
    let (place, kind) = (parent.key("match", node.at), node.kind());
    let faults_before = place.document.errors();
    let matcher = match node.value {
        Value::Text(text) if text == "all" => MatchConfig::default(),
        Value::Map(keys) => Reading { lists, depth: 0 }.keys(&place, keys, &mut Scope::new(stream)),
        Value::Null | Value::Plain | Value::Text(_) | Value::List(_) => {
            place.fault_with(format!("expected `all` or a mapping, found {kind}"), hint());
            return None;
        }
    };
    let stream = stream?;
    let is_faulty = place.document.errors() > faults_before;
    // Some streams are not to be had whole, so a route cannot ask for all of them.
    if !is_faulty && stream.needs_contract_package() && matcher.implied(Key::ContractPackage).is_none() {
        let message = if stream.is_our_own() {
            format!(
                "{stream} is made by asking CSPR.cloud about each owner of a collection, which cannot be done for all: \
                 name at least one `contract_package`"
            )
        } else {
            format!("CSPR.cloud gives {stream} by package only: name at least one `contract_package`")
        };
        place.fault(message);
    }
    Some(matcher)
}

/// How far inside a `match` we are.
#[derive(Clone, Copy)]
struct Reading<'r> {
    lists: &'r Lists,
    depth: usize,
}

impl Reading<'_> {
    /// Conditions that must all hold, together with what holds further out.
    fn keys(self, place: &Place<'_>, keys: Keys, scope: &mut Scope) -> MatchConfig {
        let has_unknown = !keys.unknown().is_empty();
        place.refuse_unknown(&keys);
        let faults_before = place.document.errors();
        let mut conditions = Vec::new();
        for (key, node) in keys.lists {
            let at = place.key(key.as_str(), node.key);
            let condition = self.one_of(place, key, node, scope);
            condition.iter().for_each(|condition| scope.add(&at, condition));
            conditions.extend(condition);
        }
        conditions.extend(fields::read(place, keys.fields.map(|node| *node), self.lists, scope));
        conditions.extend(self.all(place, keys.all, scope));
        conditions.extend(self.any(place, keys.any, scope));
        conditions.extend(self.not(place, keys.not, scope));
        let is_silent = place.document.errors() == faults_before;
        if conditions.is_empty() && !has_unknown && is_silent {
            let hint = (self.depth == 0).then(|| "write `match: all` to take every event of the stream".to_owned());
            let name = place.path.rsplit('.').next().unwrap_or_default();
            place.fault_with(format!("an empty `{name}` could mean everything or nothing"), hint);
        }
        MatchConfig { conditions }
    }

    fn one_of(self, place: &Place<'_>, key: Key, node: Node<Listed>, scope: &Scope) -> Option<Condition> {
        if let Some(stream) = scope.stream().filter(|stream| !key.is_in(*stream)) {
            let has_it: Vec<&str> = Stream::all().filter(|other| key.is_in(*other)).map(Stream::as_str).collect();
            let message = format!("the stream {stream} has no such field, so nothing would match");
            place.key(key.as_str(), node.key).fault_with(message, Some(format!("it is in: {}", has_it.join(", "))));
        }
        let kind = if key == Key::Action { Kind::Action(scope.stream()) } else { Kind::Key(key) };
        let values = self.lists.values(place, key.as_str(), node, kind)?;
        Some(Condition::OneOf(key, values.into_iter().collect()))
    }

    /// Each in the same scope as the keys beside `all`.
    fn all(self, parent: &Place<'_>, node: Option<Box<Node<Keys>>>, scope: &mut Scope) -> Option<Condition> {
        let parts = self.parts(parent, "all", *node?)?;
        let read = parts.into_iter().map(|(place, keys)| self.deeper().keys(&place, keys, scope));
        Some(Condition::All(read.collect()))
    }

    fn any(self, parent: &Place<'_>, node: Option<Box<Node<Keys>>>, scope: &Scope) -> Option<Condition> {
        let parts = self.parts(parent, "any", *node?)?;
        let read = parts.into_iter().map(|(place, keys)| self.deeper().keys(&place, keys, &mut scope.clone()));
        Some(Condition::Any(read.collect()))
    }

    fn not(self, parent: &Place<'_>, node: Option<Box<Node<Keys>>>, scope: &Scope) -> Option<Condition> {
        let node = node?;
        let (place, kind) = (parent.key("not", node.key), node.kind());
        let Value::Map(keys) = node.value else {
            let hint = "for several, write not: { any: [ … ] }".to_owned();
            place.fault_with(format!("expected a mapping, found {kind}"), Some(hint));
            return None;
        };
        self.check_depth(&place)?;
        Some(Condition::Not(self.deeper().keys(&place, keys, &mut scope.negated())))
    }

    /// The mappings of a list; none if a fault was noted.
    fn parts<'a>(self, parent: &Place<'a>, name: &str, node: Node<Keys>) -> Option<Vec<(Place<'a>, Keys)>> {
        let (place, kind) = (parent.key(name, node.key), node.kind());
        let Value::List(items) = node.value else {
            let hint = format!("write {name}: [ {{ … }}, {{ … }} ]");
            place.fault_with(format!("expected a list of mappings, found {kind}"), Some(hint));
            return None;
        };
        if items.is_empty() {
            place.fault(format!("an empty `{name}` could mean everything or nothing"));
            return None;
        }
        self.check_depth(&place)?;
        let mut parts = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let (place, kind) = (place.item(index, item.at), item.kind());
            match item.value {
                Value::Map(keys) => parts.push((place, keys)),
                _ => place.fault(format!("expected a mapping, found {kind}")),
            }
        }
        Some(parts)
    }

    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn check_depth(self, place: &Place<'_>) -> Option<()> {
        if self.depth < DEPTH_MAX {
            return Some(());
        }
        place.fault(format!("`any`, `all` and `not` may stand inside each other {DEPTH_MAX} deep at most"));
        None
    }
}
