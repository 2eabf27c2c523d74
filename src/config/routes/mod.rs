//! The section `routes`: names, streams, conditions and sinks.

pub(super) mod cases;
mod condition;
mod decimal;
mod fields;
mod keys;
mod list;
mod matching;
mod pointer;
mod predicate;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fault::{nearest, suggest};
use super::named::{Section, entries};
use super::outline::Form;
use super::reader::{Given, Place};
use super::shape::{NoMapping, Node, shape};
use super::{SinkConfig, SinkName, Template};
use crate::event::Stream;

pub use cases::{TestConfig, TestEvent};
pub use condition::{Condition, Key, MatchConfig, Texts};
pub use pointer::Pointer;
pub(crate) use predicate::Found;
pub use predicate::Predicate;

use keys::Keys;
use list::Lists;

#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    pub name: Arc<str>,
    pub stream: Stream,
    pub matcher: MatchConfig,
    pub sinks: Vec<SinkName>,
}

/// Longer names would not fit where routes and sinks are listed: headers, metrics, tables.
const NAME_BYTES_MAX: usize = 64;

shape! {
    Route {
        stream: NoMapping = Form::words(|| Stream::all().map(Stream::as_str).collect()),
        condition "match": Keys = Form::words(|| vec!["all"]).or_mapping().filled().required(),
        sinks: NoMapping = Form::TEXT.list().filled().required(),
    }
}

/// All routes that could be read. Every sink must be used, every used sink must exist.
pub(super) fn routes<'a>(
    section: Section<'a, Route>,
    sinks: &BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)>,
) -> Vec<RouteConfig> {
    let mut read = Vec::new();
    let mut used = BTreeSet::new();
    let lists = Lists::default();
    for entry in entries("routes", section, "there are no routes: no event would go anywhere") {
        let name = entry.name.clone();
        let (route, place) = entry.read();
        let known = Known { sinks, used: &mut used, lists: &lists };
        read.extend(self::route(&place, &name, route, known));
    }
    for (name, (place, _)) in sinks.iter().filter(|(name, _)| !used.contains(*name)) {
        let hint = "name it in the `sinks` of a route, or remove it".to_owned();
        place.fault_of_the_whole(format!("no route uses the sink `{name}`"), Some(hint));
    }
    read
}

/// The sinks there are, those that were named so far, and the lists that were read.
struct Known<'k, 'a> {
    sinks: &'k BTreeMap<SinkName, (Place<'a>, Option<SinkConfig>)>,
    used: &'k mut BTreeSet<SinkName>,
    lists: &'k Lists,
}

fn route(place: &Place<'_>, name: &str, route: Route, known: Known<'_, '_>) -> Option<RouteConfig> {
    let stream = stream(place, route.stream);
    let matcher = matching::read(place, route.condition, stream, known.lists);
    let sinks = sinks(place, route.sinks, stream, known);
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

fn sinks(
    place: &Place<'_>,
    node: Option<Node<NoMapping>>,
    stream: Option<Stream>,
    known: Known<'_, '_>,
) -> Vec<SinkName> {
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
        if let (Some(stream), Some((_, Some(sink)))) = (stream, known.sinks.get(&name)) {
            check_templates(&place, sink, stream);
        }
        known.used.insert(name.clone());
        names.push(name);
    }
    names
}

/// A template cannot be filled in with what a stream never says.
fn check_templates(place: &Place<'_>, sink: &SinkConfig, stream: Stream) {
    let mut fields = sink.templates().flat_map(Template::fields);
    if let Some(field) = fields.find(|field| !field.is_told_by(stream)) {
        let field = field.as_str();
        let message = format!("the stream {stream} has no `{field}`, which a template of this sink names");
        let hint = "each of its events would be a dead letter: name another field, or give the stream another sink";
        place.fault_with(message, Some(hint.to_owned()));
    }
}

impl Place<'_> {
    /// Names go into headers, metrics and tables, so they are plain.
    pub(super) fn check_name(&self, name: &str) {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
            self.fault("a name has ASCII letters, digits, `-`, `_` and `.`, 64 characters at most");
        }
    }
}
