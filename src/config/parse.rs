//! From text to nodes: the YAML parser, its limits and its words.

use serde_yaml::options::DuplicateKeyPolicy;
use serde_yaml::{Location, NonFiniteFloatPolicy, Options, UserMessageFormatter};

use super::document::{Document, excerpt};
use super::fault::Faults;
use super::shape::{Mapping, Node};

/// How much aliases may repeat, so that a small file cannot become a huge one.
const ALIASED_NODES_MAX: usize = 100_000;

/// The text of the document as nodes.
pub(super) fn parse<M: Mapping>(document: &Document<'_>) -> Result<Node<M>, Faults> {
    yaml(document.source).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let mut fault = document.fault(at, "", message(error), None);
        fault.excerpt = excerpt(document.source, fault.line, &[]).filter(|line| !may_be_secret(line));
        Faults(vec![fault])
    })
}

pub(super) fn yaml<M: Mapping>(source: &str) -> Result<Node<M>, serde_yaml::Error> {
    serde_yaml::from_str_with_options(source, options())
}

/// Without the place at its end, which is told anyway.
fn message(error: &serde_yaml::Error) -> String {
    let message = error.render_with_formatter(&UserMessageFormatter);
    message.split_once(" at line ").map_or(message.as_str(), |(message, _)| message).to_owned()
}

fn options() -> Options {
    let mut options = Options::default();
    options.with_snippet = false;
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    options.alias_limits.max_total_replayed_events = ALIASED_NODES_MAX;
    options
}

/// Before the file could be understood, only its look tells what must not be shown.
fn may_be_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    ["key", "secret", "whsec_", "token", "password", "auth"].iter().any(|word| line.contains(word))
}
