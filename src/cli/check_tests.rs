//! Runs the `tests` of a configuration: does each event go where its author says?

use std::fmt::Write;

use crate::config::{Config, Fault, Severity, TestConfig, TestEvent};
use crate::event::{Facts, Network, decode};
use crate::route::{Explained, Failure, Matched, Router};

/// What each failed test has to say, in the order of the files; empty: all is as expected.
pub(super) fn failures(config: &Config) -> Vec<Fault> {
    if config.tests.is_empty() {
        return Vec::new();
    }
    let router = Router::new(&config.routes);
    let failed = config.tests.iter().filter_map(|test| {
        let message = difference(test, &router, config.source.network)?;
        Some(Fault {
            severity: Severity::Error,
            file: test.file.clone(),
            line: test.line,
            column: test.column,
            path: format!("tests.{}", test.name),
            message,
            hint: None,
            excerpt: None,
        })
    });
    failed.collect()
}

fn difference(test: &TestConfig, router: &Router, network: Network) -> Option<String> {
    let read = match &test.event {
        TestEvent::Inline(text) => Ok(text.as_bytes().to_vec()),
        TestEvent::File(path) => {
            std::fs::read(path).map_err(|error| format!("the event cannot be read: {}: {error}", path.display()))
        }
    };
    let body = match read {
        Ok(body) => body,
        Err(told) => return Some(told),
    };
    match decode(network, test.stream, &body) {
        Ok(decoded) => compared(test, router, &decoded.facts, &body),
        Err(malformed) => Some(format!("the event is no message of {}: {malformed}", test.stream)),
    }
}

fn compared(test: &TestConfig, router: &Router, facts: &Facts, body: &[u8]) -> Option<String> {
    let Matched { sinks } = router.route(test.stream, facts, body);
    let explained = router.explain(test.stream, facts, body);
    let got: Vec<&str> = sinks.iter().map(|found| &*found.sink.0).collect();
    let expected: Vec<&str> = test.sinks.iter().map(|sink| &*sink.0).collect();
    let matched: Vec<&str> = explained.iter().filter(|one| one.failure.is_none()).map(|one| one.route).collect();
    let mut text = lines("sinks", &expected, &got);
    if let Some(routes) = &test.routes {
        let routes: Vec<&str> = routes.iter().map(|route| &**route).collect();
        text.push_str(&lines("routes", &routes, &matched));
    }
    if text.is_empty() {
        return None;
    }
    explained.iter().for_each(|explained| text.push_str(&told(explained)));
    Some(format!("the event goes elsewhere\n{}", text.trim_end()))
}

/// Two lines if the sets differ; else nothing.
fn lines(noun: &str, expected: &[&str], got: &[&str]) -> String {
    let sorted = |names: &[&str]| {
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let (expected, got) = (sorted(expected), sorted(got));
    if expected == got { String::new() } else { format!("  expected {noun}: {expected}\n  actual {noun}:   {got}\n") }
}

fn told(explained: &Explained<'_>) -> String {
    let mut text = format!("  route {}: ", explained.route);
    match &explained.failure {
        None => text.push_str("matches\n"),
        Some(failure) => write_failure(failure, 0, &mut text),
    }
    text
}

fn write_failure(Failure { path, expected, actual, alternatives }: &Failure, indent: usize, text: &mut String) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{:indent$}{path}: expected {expected}, found {actual}", "");
    alternatives.iter().for_each(|failure| write_failure(failure, indent.max(2) + 2, text));
}
