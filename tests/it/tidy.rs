//! The project's own rules, checked over the source text: what neither the compiler nor clippy can see.
//!
//! Each rule is a function from a path and a text to faults, so that it can be tried on a bad example: a rule that
//! finds nothing anywhere proves nothing.

use std::fs;
use std::path::Path;

/// Components that know nothing of ours but each other.
const LEAVES: &[&str] =
    &["event", "config", "backoff", "budget", "clock", "metrics", "lifecycle", "notices", "signature"];

/// Who may import whom, beside the leaves, which everybody may. What is not listed here does not exist: a new
/// component gets its line first. `intake` knows `source` only for the shape of a message, `cli` only for the REST
/// client.
const IMPORTS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &["app", "route", "emulator", "store", "sink", "admin", "source"]),
    ("app", &["source", "intake", "route", "store", "delivery", "sink", "ownership", "repair", "admin", "operator"]),
    ("intake", &["source", "route", "store"]),
    ("delivery", &["store", "sink"]),
    ("ownership", &["source", "intake", "store"]),
    ("repair", &["source", "intake", "store"]),
    ("admin", &["store", "operator"]),
    ("operator", &["source", "delivery", "intake", "repair", "store"]),
    ("source", &[]),
    ("route", &[]),
    ("store", &[]),
    ("sink", &[]),
    ("emulator", &[]),
];

/// One door each: what may be named only in these components.
const DOORS: &[(&str, &[&str])] = &[
    ("rusqlite::", &["store"]),
    ("serde_yaml::", &["config"]),
    ("tokio_tungstenite::", &["source", "emulator"]),
    ("println!", &["cli"]),
    ("print!", &["cli"]),
];

const SOURCE_LINES_MAX: usize = 400;

/// Written in two halves, so that this file does not contain them.
const FORBIDDEN: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("unimple", "mented!"),
    concat!("to", "do!("),
    concat!("#[ig", "nore"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

type Rule = fn(&str, &str) -> Vec<String>;

#[test]
fn sources_import_only_what_the_table_allows() {
    check(imports);
}

#[test]
fn every_outside_thing_has_one_door() {
    check(doors);
}

#[test]
fn sources_are_short() {
    check(length);
}

#[test]
fn every_file_begins_with_its_doc() {
    check(module_doc);
}

#[test]
fn nothing_is_left_half_done_or_bound_to_a_machine() {
    check(forbidden_words);
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("CHANGELOG.md").exists());
    check(changelog);
}

#[test]
fn the_architecture_names_every_component() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(architecture) = fs::read_to_string(root.join("ARCHITECTURE.md")) else { return };
    let sources = texts().into_iter().filter_map(|(path, _)| component(&path).map(str::to_owned));
    let unnamed: Vec<String> = sources.filter(|name| !names_component(&architecture, name)).collect();
    assert!(unnamed.is_empty(), "ARCHITECTURE.md does not name {unnamed:?}");
}

#[test]
fn each_rule_finds_its_fault() {
    let two_lines_too_many = format!("//! Doc.\n{}", "x\n".repeat(SOURCE_LINES_MAX + 1));
    let half_done = format!("//! Doc.\n// {}: later\n", FORBIDDEN[0]);
    let local_path = format!("see {}me/x", FORBIDDEN[8]);
    #[rustfmt::skip]
    let cases: &[(Rule, &str, &str, usize)] = &[
        (imports, "src/source/mod.rs", "use crate::store::Store;", 1),
        (imports, "src/source/frame.rs", "use crate::{event::Event, sink, route::{A, B}};", 2),
        (imports, "src/sink/http.rs", "fn f(x: &crate::delivery::Worker) {}", 1),
        (imports, "src/config/mod.rs", "use crate::sink::Sink;", 1),
        (imports, "src/main.rs", "fn main() { cspr_relay::app::run() }", 1),
        (imports, "src/store/mod.rs", "use super::sink::Sink;", 1),
        (imports, "src/store/disk/log.rs", "use super::super::super::sink::Sink;", 1),
        (imports, "src/novelty.rs", "use crate::event::Event;", 1),
        (imports, "src/sink/http.rs", "use crate::event::Event; // crate::store\npub(super) fn f() {}", 0),
        (imports, "src/sink/http.rs", "use super::Outcome;\nuse crate::sink::Failure;", 0),
        (imports, "src/source/mod.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::emulator::Emulator;\n}", 0),
        (imports, "src/source/tests.rs", "use crate::emulator::Emulator;", 0),
        (doors, "src/delivery/mod.rs", "use rusqlite::Connection;", 1),
        (doors, "src/store/mod.rs", "use rusqlite::Connection;", 0),
        (doors, "src/app.rs", "println!();", 1),
        (doors, "src/app.rs", "eprint!();", 1),
        (doors, "tests/it/main.rs", "println!();", 0),
        (length, "src/app.rs", &two_lines_too_many, 1),
        (length, "src/app.rs", "//! Doc.", 0),
        (module_doc, "src/app.rs", "use std::fmt;\n//! Doc.", 1),
        (module_doc, "tests/it/x.rs", "//! Doc.", 0),
        (forbidden_words, "src/app.rs", &half_done, 1),
        (forbidden_words, "README.md", &local_path, 1),
        (changelog, "CHANGELOG.md", "# Changelog\n\n## [0.1.0]\n", 1),
        (changelog, "CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n", 0),
    ];
    for (rule, path, text, faults) in cases {
        let found = rule(path, text);
        assert_eq!(found.len(), *faults, "{path}: {text}\n{found:?}");
    }
}

fn check(rule: Rule) {
    let faults: Vec<String> = texts().iter().flat_map(|(path, text)| rule(path, text)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Every text file of the tree, with its path below the root.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let is_ours = !matches!(entry.file_name().to_str(), Some(".git" | "target" | "node_modules" | "data"));
            if is_ours && entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if is_ours && let Ok(text) = fs::read_to_string(&path) {
                found.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.iter().any(|(path, _)| path == "src/lib.rs"), "the walk over the tree found no source");
    found
}

/// The component that a source file belongs to: `src/store/log.rs` and `src/store.rs` are both `store`.
fn component(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    inside.split('/').next()
}

/// The code without comments and tests: tests may use any neighbour as a tool.
fn code(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let without_comment = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    production.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

fn imports(path: &str, text: &str) -> Vec<String> {
    let Some(me) = component(path) else { return Vec::new() };
    let Some(allowed) = allowed_for(me) else {
        return vec![format!("{path}: {me} has no line in the import table of tests/it/tidy.rs")];
    };
    let code = code(path, text);
    let is_fine = |name: &String| name == me || allowed.contains(&name.as_str()) || LEAVES.contains(&name.as_str());
    let mut faults: Vec<String> = imported(&code)
        .into_iter()
        .filter(|name| !is_fine(name))
        .map(|name| format!("{path}: {me} must not know {name}"))
        .collect();
    if code.contains(&"super::".repeat(depth(path))) {
        faults.push(format!("{path}: leaves its component through `super`: write `crate::`"));
    }
    faults
}

fn allowed_for(component: &str) -> Option<&'static [&'static str]> {
    let listed = IMPORTS.iter().find(|(name, _)| *name == component).map(|(_, allowed)| *allowed);
    listed.or_else(|| LEAVES.contains(&component).then_some(&[]))
}

/// How many `super::` lead from a file to the root of the crate.
fn depth(path: &str) -> usize {
    path.matches('/').count() - usize::from(path.ends_with("/mod.rs"))
}

/// The first names after each `crate::`, those of a braced list included.
fn imported(code: &str) -> Vec<String> {
    let starts = ["crate::", "cspr_relay::"];
    let rests = starts.iter().flat_map(|start| code.match_indices(start).map(|(at, _)| &code[at + start.len()..]));
    rests.flat_map(|rest| rest.strip_prefix('{').map_or_else(|| vec![first_name(rest)], names_in_braces)).collect()
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each entry of a use list, whose opening brace has been taken.
fn names_in_braces(list: &str) -> Vec<String> {
    let mut depth = 1;
    let mut names = vec![first_name(list)];
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(first_name(&list[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn doors(path: &str, text: &str) -> Vec<String> {
    let Some(me) = component(path) else { return Vec::new() };
    let code = code(path, text);
    let broken = DOORS.iter().filter(|(thing, owners)| code.contains(thing) && !owners.contains(&me));
    broken.map(|(thing, owners)| format!("{path}: `{thing}` belongs to {owners:?}")).collect()
}

fn length(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let is_long = component(path).is_some() && lines > SOURCE_LINES_MAX;
    is_long.then(|| format!("{path}: {lines} lines, of at most {SOURCE_LINES_MAX}")).into_iter().collect()
}

fn module_doc(path: &str, text: &str) -> Vec<String> {
    let is_missing = path.ends_with(".rs") && !text.starts_with("//! ");
    is_missing.then(|| format!("{path}: does not begin with `//! ` and what it is for")).into_iter().collect()
}

fn forbidden_words(path: &str, text: &str) -> Vec<String> {
    let numbered = text.lines().zip(1..);
    let hits =
        numbered.flat_map(|(line, n)| FORBIDDEN.iter().filter(|word| line.contains(**word)).map(move |w| (w, n)));
    hits.map(|(word, n)| format!("{path}:{n}: {word}")).collect()
}

fn changelog(path: &str, text: &str) -> Vec<String> {
    if path != "CHANGELOG.md" {
        return Vec::new();
    }
    let first = text.lines().find(|line| line.starts_with("## "));
    let is_fine = first == Some("## [Unreleased]");
    (!is_fine).then(|| format!("{path}: the first section is not [Unreleased]")).into_iter().collect()
}

/// Whether a text speaks of a component: as `name`, `name/`, `name.rs` or `src/name`.
fn names_component(text: &str, name: &str) -> bool {
    let forms = [format!("`{name}`"), format!("{name}/"), format!("{name}.rs"), format!("src/{name}")];
    forms.iter().any(|form| text.contains(form.as_str()))
}
