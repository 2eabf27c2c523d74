//! Why an event does or does not match, told by the code that decides it.
//!
//! [`holds`] says what holds; this only finds the first condition of which it says no, and words for it.

use super::matcher::{Subject, holds, matches, values};
use super::{Route, Router, Routes};
use crate::config::{Condition, Found, MatchConfig, SinkName};
use crate::event::{Facts, Stream};

/// What a route makes of an event.
#[derive(Clone, Debug)]
pub(crate) struct Explained<'r> {
    pub(crate) route: &'r str,
    pub(crate) sinks: &'r [SinkName],
    /// The first condition that does not hold; none: the route matches.
    pub(crate) failure: Option<Failure>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Below the route, as in the file: `match.where./data/onchain_metadata/price.gte`.
    pub(crate) path: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
    /// Of an `any`: why each of its alternatives does not hold.
    pub(crate) alternatives: Vec<Failure>,
}

impl Router {
    /// What every route of `stream` makes of an event, in the order of the file.
    pub(crate) fn explain(&self, stream: Stream, facts: &Facts, body: &[u8]) -> Vec<Explained<'_>> {
        let subject = Subject::new(facts, body);
        let Some(Routes { routes, .. }) = self.by_stream.get(&stream) else { return Vec::new() };
        let explain = |route| explained(route, &subject);
        routes.iter().map(explain).collect()
    }
}

fn explained<'r>(route: &'r Route, subject: &Subject<'_>) -> Explained<'r> {
    let failure = first_failure("match", &route.matcher, subject);
    Explained { route: &route.name, sinks: &route.sinks, failure }
}

fn first_failure(path: &str, matcher: &MatchConfig, subject: &Subject<'_>) -> Option<Failure> {
    let failed = matcher.conditions.iter().find(|condition| !holds(condition, subject))?;
    Some(failure(path, failed, subject))
}

/// In words, why a condition that does not hold does not.
fn failure(path: &str, condition: &Condition, subject: &Subject<'_>) -> Failure {
    let plain = |path, expected, actual| Failure { path, expected, actual, alternatives: Vec::new() };
    match condition {
        Condition::OneOf(key, texts) => {
            let actual: Vec<String> = values(*key, subject.facts).map(|text| format!("{text:?}")).collect();
            let actual = if actual.is_empty() { "nothing".to_owned() } else { actual.join(" and ") };
            plain(format!("{path}.{key}"), texts.to_string(), actual)
        }
        Condition::Where(pointer, predicate) => {
            let word = predicate.word().map(|word| format!(".{word}")).unwrap_or_default();
            let path = format!("{path}.where.{pointer}{word}");
            plain(path, predicate.to_string(), shown(subject.find(pointer)))
        }
        Condition::All(parts) => {
            let failed = parts.iter().enumerate().find(|(_, part)| !matches(part, subject));
            let within = failed.and_then(|(at, part)| first_failure(&format!("{path}.all[{at}]"), part, subject));
            within.unwrap_or_else(|| plain(format!("{path}.all"), "each".to_owned(), "not each".to_owned()))
        }
        Condition::Any(parts) => {
            let path = format!("{path}.any");
            let numbered = parts.iter().enumerate();
            let alternatives = numbered.filter_map(|(at, part)| first_failure(&format!("{path}[{at}]"), part, subject));
            let alternatives = alternatives.collect();
            let expected = format!("one of {} alternatives", parts.len());
            Failure { path, expected, actual: "none".to_owned(), alternatives }
        }
        Condition::Not(_) => plain(format!("{path}.not"), "what it says not to hold".to_owned(), "it holds".to_owned()),
    }
}

fn shown(found: Option<Found<'_>>) -> String {
    match found {
        Some(Found::Text(text)) => format!("{text:?}"),
        Some(Found::Number(number)) => number.into_owned(),
        Some(Found::Structure) => "an object or a list".to_owned(),
        None => "nothing".to_owned(),
    }
}
