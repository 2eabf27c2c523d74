//! Which sinks an event goes to, and what to subscribe to so that no match is lost.
//!
//! Pure functions of the configuration and an event's facts: no state, no waiting, no errors.

mod matcher;
mod subscription;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{RouteConfig, SinkName};
use crate::event::{Facts, Stream};

use matcher::Matcher;

pub(crate) use subscription::subscriptions;

/// All routes, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// In the order of the file.
    by_stream: BTreeMap<Stream, Vec<Route>>,
}

#[derive(Debug)]
struct Route {
    name: Arc<str>,
    matcher: Matcher,
    sinks: Vec<SinkName>,
}

/// The sinks that want an event, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    pub(crate) sinks: Vec<SinkMatch>,
}

/// A sink, and the routes that led to it in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkMatch {
    pub(crate) sink: SinkName,
    pub(crate) routes: Vec<Arc<str>>,
}

impl Router {
    pub(crate) fn new(routes: &[RouteConfig]) -> Self {
        let mut by_stream: BTreeMap<Stream, Vec<Route>> = BTreeMap::new();
        for route in routes {
            let matcher = Matcher::new(&route.matcher);
            let compiled = Route { name: Arc::clone(&route.name), matcher, sinks: route.sinks.clone() };
            by_stream.entry(route.stream).or_default().push(compiled);
        }
        Self { by_stream }
    }

    /// Allocates only if something matches.
    pub(crate) fn route(&self, stream: Stream, facts: &Facts) -> Matched {
        let mut matched = Matched::default();
        let routes = self.by_stream.get(&stream).map(Vec::as_slice).unwrap_or_default();
        for route in routes.iter().filter(|route| route.matcher.matches(facts)) {
            for sink in &route.sinks {
                matched.add(sink, &route.name);
            }
        }
        matched
    }
}

impl Matched {
    fn add(&mut self, sink: &SinkName, route: &Arc<str>) {
        match self.sinks.iter_mut().find(|entry| entry.sink == *sink) {
            Some(entry) => entry.routes.push(Arc::clone(route)),
            None => self.sinks.push(SinkMatch { sink: sink.clone(), routes: vec![Arc::clone(route)] }),
        }
    }
}

#[cfg(test)]
mod tests;
