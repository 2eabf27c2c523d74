//! The section `routes`: names, streams and conditions. A new condition is a key here and a variant in the matcher.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{nearest, suggest};
use super::named::{Section, entries};
use super::outline::Form;
use super::reader::{Given, Place};
use super::shape::{Mapping, NoMapping, Node, Value, shape};
use super::{MatchConfig, MatchKeys, RouteConfig, SinkConfig, SinkName, hash};
use crate::event::Stream;

/// The actions that CSPR.cloud is known to send.
const ACTIONS: [&str; 3] = ["created", "updated", "emitted"];

/// Longer names would not fit where routes and sinks are listed: headers, metrics, tables.
const NAME_BYTES_MAX: usize = 64;

const HASH: &str = "^([A-Za-z-]+-)?[0-9A-Fa-f]{64}$";
const OWNER: &str = "^([A-Za-z-]+-)?[0-9A-Fa-f]{64}$|^01[0-9A-Fa-f]{64}$|^02[0-9A-Fa-f]{66}$";

shape! {
    Route {
        stream: NoMapping = Form::words(|| Stream::all().map(Stream::as_str).collect()),
        condition "match": Condition = Form::words(|| vec!["all"]).or_mapping().filled().required(),
        sinks: NoMapping = Form::TEXT.list().filled().required(),
    }
}

shape! {
    Condition {
        action: NoMapping = Form::TEXT.list().filled(),
        contract_package: NoMapping = Form::pattern(HASH).list().filled(),
        owner: NoMapping = Form::pattern(OWNER).list().filled(),
        token_id: NoMapping = Form::TEXT.list().filled(),
    }
}

/// All routes that could be read. Every sink must be used, every used sink must exist.
pub(super) fn routes<'a>(
    section: Section<'a, Route>,
    sinks: &BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)>,
) -> Vec<RouteConfig> {
    let mut read = Vec::new();
    let mut used = BTreeSet::new();
    for entry in entries("routes", section, "there are no routes: no event would go anywhere") {
        let name = entry.name.clone();
        let (route, place) = entry.read();
        let known = Known { sinks, used: &mut used };
        read.extend(self::route(&place, &name, route, known));
    }
    for (name, (place, _)) in sinks.iter().filter(|(name, _)| !used.contains(*name)) {
        let hint = "name it in the `sinks` of a route, or remove it".to_owned();
        place.fault_of_the_whole(format!("no route uses the sink `{name}`"), Some(hint));
    }
    read
}

/// The sinks there are, and those that were named so far.
struct Known<'k, 'a> {
    sinks: &'k BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)>,
    used: &'k mut BTreeSet<SinkName>,
}

fn route(place: &Place<'_>, name: &str, route: Route, known: Known<'_, '_>) -> Option<RouteConfig> {
    let stream = stream(place, route.stream);
    let matcher = condition(place, route.condition, stream);
    let sinks = sinks(place, route.sinks, known);
    Some(RouteConfig { name: name.into(), stream: stream?, matcher: matcher?, sinks })
}

fn stream(place: &Place<'_>, node: Option<Node<NoMapping>>) -> Option<Stream> {
    let Some(node) = node else { return Some(Stream::NftTokens) };
    let given = place.text("stream", Some(node))?;
    let stream = Stream::from_name(&given.text);
    if stream.is_none() {
        let hint = suggest(&given.text, Stream::all().map(Stream::as_str));
        given.place.fault_with(format!("there is no stream `{}`", given.text), hint);
    }
    stream
}

fn sinks(place: &Place<'_>, node: Option<Node<NoMapping>>, known: Known<'_, '_>) -> Vec<SinkName> {
    let given = place.texts("sinks", node).unwrap_or_default();
    if given.is_empty() {
        place.fault("a route needs `sinks`: where its events go");
    }
    let mut names: Vec<SinkName> = Vec::new();
    for Given { text, place } in given {
        let name = SinkName(text.into());
        if !known.sinks.contains_key(&name) {
            let hint = suggest(&name.0, known.sinks.keys().map(|name| &*name.0));
            place.fault_of_the_whole(format!("there is no sink `{name}`"), hint);
            // Else a slip of the pen would be told twice.
            let meant = nearest(&name.0, known.sinks.keys().map(|name| &*name.0));
            known.used.extend(meant.map(|name| SinkName(name.into())));
        } else if names.contains(&name) {
            place.fault(format!("the sink `{name}` is named twice"));
        }
        known.used.insert(name.clone());
        names.push(name);
    }
    names
}

fn condition(parent: &Place<'_>, node: Option<Node<Condition>>, stream: Option<Stream>) -> Option<MatchConfig> {
    let hint = || Some("write `match: all` to take every event of the stream".to_owned());
    let Some(node) = node else {
        parent.fault_with("`match` is missing", hint());
        return None;
    };
    let place = parent.key("match", node.at);
    match &node.value {
        Value::Text(text) if text == "all" => {
            place.check_mandatory(None, stream?);
            Some(MatchConfig::All)
        }
        Value::Map(keys) if keys.is_empty() => {
            place.fault_with("an empty `match` could mean everything or nothing", hint());
            None
        }
        Value::Map(_) => keys(parent, node, stream).map(MatchConfig::Keys),
        Value::Null | Value::Plain | Value::Text(_) | Value::List(_) => {
            place.fault_with(format!("expected `all` or a mapping, found {}", node.kind()), hint());
            None
        }
    }
}

impl Condition {
    fn is_empty(&self) -> bool {
        let keys = [&self.action, &self.contract_package, &self.owner, &self.token_id];
        self.unknown().is_empty() && keys.iter().all(|key| key.is_none())
    }
}

fn keys(parent: &Place<'_>, node: Node<Condition>, stream: Option<Stream>) -> Option<MatchKeys> {
    let (keys, place) = parent.map("match", Some(node));
    let lacking = |has: fn(Stream) -> bool| stream.filter(|stream| !has(*stream));
    let contract_package = place.list("contract_package", keys.contract_package, lacking(Stream::has_contract_package));
    let matcher = MatchKeys {
        action: place.list("action", keys.action, None).map(|list| list.iter().filter_map(action).collect()),
        contract_package: contract_package.map(|list| parsed(&list, hash::hash)),
        owner: place.list("owner", keys.owner, lacking(Stream::has_owner)).map(|list| parsed(&list, hash::owner)),
        token_id: place.list("token_id", keys.token_id, lacking(Stream::has_token_id)).map(|l| parsed(&l, not_empty)),
    };
    place.check_mandatory(matcher.contract_package.as_ref(), stream?);
    Some(matcher)
}

fn parsed(list: &[Given<'_>], parse: fn(&str) -> Result<String, String>) -> Vec<String> {
    list.iter().filter_map(|given| given.parse(parse)).collect()
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn action(given: &Given<'_>) -> Option<String> {
    if !ACTIONS.contains(&given.text.as_str()) {
        let message = format!("no action `{}` is known; the route waits for it anyway", given.text);
        given.place.warn(message, suggest(&given.text, ACTIONS));
    }
    given.parse(not_empty)
}

impl<'a> Place<'a> {
    /// The values of a condition; `lacking` is the stream if it has no such field.
    fn list(&self, key: &str, node: Option<Node<NoMapping>>, lacking: Option<Stream>) -> Option<Vec<Given<'a>>> {
        let node = node?;
        let place = self.key(key, node.key);
        if let Some(stream) = lacking {
            place.fault(format!("the stream {stream} has no such field, so nothing would match"));
        }
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            place.fault("an empty list matches nothing");
        }
        self.texts(key, Some(node))
    }

    /// CSPR.cloud refuses some streams without a filter, so a route cannot ask for all of them.
    fn check_mandatory(&self, packages: Option<&Vec<String>>, stream: Stream) {
        if stream.needs_contract_package() && packages.is_none() {
            self.fault(format!("CSPR.cloud gives {stream} by package only: name at least one `contract_package`"));
        }
    }

    /// Names go into headers, metrics and tables, so they are plain.
    pub(super) fn check_name(&self, name: &str) {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
            self.fault("a name has ASCII letters, digits, `-`, `_` and `.`, 64 characters at most");
        }
    }
}
