//! From text to nodes: the YAML parser, its limits and its words.

use serde_yaml::options::DuplicateKeyPolicy;
use serde_yaml::{Budget, Error, Location, NonFiniteFloatPolicy, Options, UserMessageFormatter};

use super::document::Document;
use super::shape::{Mapping, Named, NoMapping, Node, Spot, Text, Value};

/// How many nodes all aliases together may repeat, so that a small file cannot become a huge one.
const ALIASED_NODES_MAX: usize = 1_000_000;

/// Values, lists and mappings in one file: room for 100,000 routes.
const NODES_MAX: usize = 2_000_000;

/// The text of the document as nodes; none if it is no YAML, which is noted. A key that stands twice is noted, and the
/// second one ignored.
pub(super) fn parse<M: Mapping>(document: &Document<'_>) -> Option<Node<M>> {
    let error = match yaml(document.source, DuplicateKeyPolicy::Error) {
        Ok(node) => return Some(node),
        Err(error) => error,
    };
    let at = Spot::from(error.location().unwrap_or(Location::UNKNOWN));
    if let Error::DuplicateMappingKey { key, .. } = &error {
        let message = format!("the key `{}` stands here a second time", key.as_deref().unwrap_or("?"));
        let hint = "remove one of the two, or put them together".to_owned();
        document.push(document.fault(at, "", message, Some(hint)));
        return yaml(document.source, DuplicateKeyPolicy::FirstWins).map_err(|error| broken(document, &error)).ok();
    }
    broken(document, &error);
    None
}

/// The value of one top-level key of a document that is broken elsewhere.
pub(super) fn salvage(document: &Document<'_>, key: &str) -> Option<Text> {
    let mut is_inside = false;
    let mut salvaged = String::new();
    for line in document.source.split_inclusive('\n') {
        let begins_a_key = !line.starts_with([' ', '-', '#', ']', '\n', '\r']);
        if begins_a_key {
            is_inside = line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
        }
        // What is left out keeps its bytes, so that places stay true.
        let blank = || line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
        if is_inside { salvaged.push_str(line) } else { salvaged.extend(blank()) }
    }
    match yaml::<Named<NoMapping>>(&salvaged, DuplicateKeyPolicy::Error).ok()?.value {
        Value::Map(mut entries) => entries.0.pop().map(|(_, node)| node),
        Value::Null | Value::Plain | Value::Text(_) | Value::List(_) => None,
    }
}

pub(super) fn yaml<M: Mapping>(source: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node<M>, Error> {
    let mut options = Options::default();
    options.with_snippet = false;
    options.duplicate_keys = duplicate_keys;
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    options.budget = Some(budget());
    options.alias_limits.max_total_replayed_events = ALIASED_NODES_MAX;
    options.alias_limits.max_alias_expansions_per_anchor = ALIASED_NODES_MAX;
    serde_yaml::from_str_with_options(source, options)
}

/// One anchor may serve every route; what aliases repeat in all is bounded above.
fn budget() -> Budget {
    let mut budget = Budget::default();
    budget.max_nodes = NODES_MAX;
    budget.max_events = 2 * NODES_MAX;
    budget.max_aliases = ALIASED_NODES_MAX;
    budget.max_merge_keys = ALIASED_NODES_MAX;
    budget.enforce_alias_anchor_ratio = false;
    budget
}

fn broken(document: &Document<'_>, error: &Error) {
    let at = Spot::from(error.location().unwrap_or(Location::UNKNOWN));
    let message = message(error);
    let line = usize::try_from(at.line).unwrap_or_default();
    let line = document.source.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let hint = hint(&message, line).map(str::to_owned);
    document.push_broken(document.fault(at, "", message, hint));
}

fn message(error: &Error) -> String {
    let told = error.render_with_formatter(&UserMessageFormatter);
    // Without the place at its end, which is told anyway.
    let told = told.split_once(" at line ").map_or(told.as_str(), |(told, _)| told);
    let is = |words: &[&str]| words.iter().any(|word| told.contains(word));
    if is(&["Depth", "recursion limit"]) {
        "the file is nested too deeply".to_owned()
    } else if is(&["replay", "Alias", "RecordedAnchor", "MergeKeys", "anchor_"]) {
        format!("the file becomes too large by what its aliases repeat: {ALIASED_NODES_MAX} values are the most")
    } else if is(&["string scalar"]) {
        "a key must be a single text".to_owned()
    } else if is(&["Nodes", "Events", "ScalarBytes"]) {
        format!("the file is too large: {NODES_MAX} values are the most")
    } else {
        told.to_owned()
    }
}

/// What people most often meant. The hint repeats nothing of the line, which may hold a secret.
fn hint(message: &str, line: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["too large", "nested too deeply"]) {
        None
    } else if says(&["tab"]) {
        Some("indent with spaces")
    } else if says(&["multiple found"]) {
        Some("a file holds one document: remove the line `---`")
    } else if says(&["unknown value"]) {
        Some("no such `&anchor` stands before it; quote a text that begins with `*`")
    } else if says(&["merge value"]) {
        Some("name an anchor: `<<: *anchor`")
    } else {
        quote(line).or_else(|| says(&["expected key", "mapping values", "indentation"]).then_some(LOOK_AROUND))
    }
}

const LOOK_AROUND: &str =
    "look at this line and those above: is each indented like its neighbours, are colons there and quotes closed?";

/// For a line that was not meant as YAML reads it.
fn quote(line: &str) -> Option<&'static str> {
    let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start_matches(['-', ' ']).trim_end();
    let goes_on_behind = |open, close: &[char]| value.starts_with(open) && !value.ends_with(close);
    if line.contains("{{") {
        Some("quote a text with `{{ }}` in it: \"{{ action }}\"")
    } else if line.contains("${") {
        Some("quote a reference inside `[ ]` or `{ }`, and one with a colon and a space: \"${NAME}\"")
    } else if value.starts_with(['@', '%', '`', '&', '!', '|', '>']) {
        Some("quote a text that begins with one of @ % ` & ! | >")
    } else if goes_on_behind('[', &['[', ']', ',']) || goes_on_behind('"', &['"', ',']) {
        Some("quote the whole text, with '…' if it has \" in it")
    } else if value.contains(": ") && !value.starts_with('{') {
        Some("quote a text with a colon and a space in it: \"a: b\"")
    } else {
        None
    }
}
