//! The section `tests`: events, and where the operator expects them to go. Only `check` runs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RouteConfig;
use crate::config::fault::suggest;
use crate::config::named::{Entry, Section, entries};
use crate::config::outline::Form;
use crate::config::reader::{Given, Place};
use crate::config::shape::{NoMapping, Text, Value, shape};
use crate::config::{SinkConfig, SinkName};
use crate::event::Stream;

/// One test of the routes.
#[derive(Clone, Debug)]
pub struct TestConfig {
    pub name: Arc<str>,
    /// Where its name stands; both counted from 1.
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
    pub stream: Stream,
    pub event: TestEvent,
    /// The sinks that must get the event, and no others; none: no route may want it.
    pub sinks: Vec<SinkName>,
    /// The routes that must match, and no others; `None`: whichever.
    pub routes: Option<Vec<Arc<str>>>,
}

/// A message as CSPR.cloud sends it.
#[derive(Clone, Debug)]
pub enum TestEvent {
    Inline(String),
    /// Read when the test is run: a relay at work needs no examples.
    File(PathBuf),
}

shape! {
    Test {
        event: NoMapping = Form::TEXT.required(),
        stream: NoMapping = Form::words(|| Stream::all().map(Stream::as_str).collect()),
        sinks: NoMapping = Form::TEXT.list().required(),
        routes: NoMapping = Form::TEXT.list(),
    }
}

/// All tests that could be read. The sinks and routes that they name must exist.
pub(crate) fn read(
    section: Section<'_, Test>,
    sinks: &BTreeMap<SinkName, (Place<'_>, Option<SinkConfig>)>,
    routes: &[RouteConfig],
) -> Vec<TestConfig> {
    if section.iter().all(|(_, node)| node.is_none()) {
        return Vec::new();
    }
    let sinks: Vec<&str> = sinks.keys().map(|name| &*name.0).collect();
    let routes: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
    let entries = entries("tests", section, "there are no tests; remove the key, or write one");
    entries.into_iter().filter_map(|entry| test(entry, &sinks, &routes)).collect()
}

fn test(entry: Entry<'_, Test>, sinks: &[&str], routes: &[&str]) -> Option<TestConfig> {
    let (name, at) = (entry.name.clone(), entry.place.at);
    let (test, place) = entry.read();
    let stream = super::stream(&place, test.stream);
    let event = event(&place, test.event);
    if test.sinks.is_none() {
        place.fault_with("`sinks` is missing", Some("write sinks: [] if no route may want the event".to_owned()));
    }
    let sinks = names(&place, "sinks", test.sinks, sinks);
    let routes = names(&place, "routes", test.routes, routes);
    Some(TestConfig {
        name: name.into(),
        file: place.document.file.to_owned(),
        line: at.line as usize,
        column: at.column as usize,
        stream: stream?,
        event: event?,
        sinks: sinks?.into_iter().map(SinkName).collect(),
        routes,
    })
}

/// JSON in place, or the name of a file with it, beside the configuration.
fn event(place: &Place<'_>, node: Option<Text>) -> Option<TestEvent> {
    let hint = || Some("write the name of a file, or the message itself behind `event: |`".to_owned());
    let Some(node) = node else {
        place.fault_with("`event` is missing", hint());
        return None;
    };
    if matches!(node.value, Value::Map(_)) {
        place.key("event", node.at).fault_with("expected a text, found a mapping", hint());
        return None;
    }
    let Given { text, place } = place.text("event", Some(node))?;
    if text.trim_start().starts_with('{') {
        return Some(TestEvent::Inline(text));
    }
    Some(TestEvent::File(place.document.file.parent().unwrap_or(Path::new("")).join(text)))
}

/// Names of a list that may be empty; `None` if there is none, or a fault was noted.
fn names(place: &Place<'_>, key: &str, node: Option<Text>, known: &[&str]) -> Option<Vec<Arc<str>>> {
    let given = place.texts(key, node)?;
    let noun = key.trim_end_matches('s');
    let unknown = |given: &&Given<'_>| !known.contains(&given.text.as_str());
    for Given { text, place } in given.iter().filter(unknown) {
        place.fault_of_the_whole(format!("there is no {noun} `{text}`"), suggest(text, known.iter().copied()));
    }
    Some(given.into_iter().map(|given| given.text.into()).collect())
}
