//! Which sinks an event goes to, and what to subscribe to so that no match is lost.
//!
//! Pure functions of the configuration and an event's facts and bytes: no state, no waiting, no errors.

mod explain;
mod index;
mod matcher;
mod message;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{MatchConfig, RouteConfig, SinkName};
use crate::event::{Facts, Stream};

use index::Index;
use matcher::{Subject, matches};

pub(crate) use explain::{Explained, Failure};
pub(crate) use subscription::{Plan, plans, subscriptions, watched};

/// All routes, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Router {
    by_stream: BTreeMap<Stream, Routes>,
    watched: BTreeSet<Arc<str>>,
}

#[derive(Debug, Default)]
struct Routes {
    /// In the order of the file.
    routes: Vec<Route>,
    index: Index,
}

#[derive(Debug)]
struct Route {
    name: Arc<str>,
    matcher: MatchConfig,
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
        let mut by_stream: BTreeMap<Stream, Routes> = BTreeMap::new();
        for RouteConfig { name, stream, matcher, sinks } in routes {
            let route = Route { name: Arc::clone(name), matcher: matcher.clone(), sinks: sinks.clone() };
            by_stream.entry(*stream).or_default().routes.push(route);
        }
        for routes in by_stream.values_mut() {
            routes.index = Index::new(routes.routes.iter().map(|route| &route.matcher));
        }
        Self { by_stream, watched: watched(routes) }
    }

    /// Whether actions on tokens of the package say whose ownership has to be looked at.
    pub(crate) fn watches(&self, contract_package: &str) -> bool {
        self.watched.contains(contract_package)
    }

    /// Where a message of `stream` goes that says these `facts`. Looks into `body` only if a condition does. The cost
    /// is that of the routes that name what the event has, or that name nothing; not of all routes.
    pub(crate) fn route(&self, stream: Stream, facts: &Facts, body: &[u8]) -> Matched {
        let mut matched = Matched::default();
        let Some(Routes { routes, index }) = self.by_stream.get(&stream) else { return matched };
        let subject = Subject::new(facts, body);
        let candidates = index.candidates(facts);
        let candidates = candidates.iter().filter_map(|number| routes.get(usize::try_from(*number).ok()?));
        for route in candidates.filter(|route| matches(&route.matcher, &subject)) {
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
