//! From a file, and those it includes, to a [`Config`] or to everything that is wrong with it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connections::Connection;
use super::document::{Document, Environment, Reading};
use super::fault::{Fault, Faults, Severity, suggest};
use super::named::NAME;
use super::outline::Form;
use super::parse::{self, parse};
use super::reader::Place;
use super::routes::{Route, cases, cases::Test};
use super::settings::{Admin, DeadLetters, Dedup, Egress, Ownership, Repair, Source, Store};
use super::shape::{Mapping, Named, NoMapping, Spot, Value, shape};
use super::sinks::Sink;
use super::{AdminConfig, Config, advice, connections, include, json_schema, routes, settings, sinks};

const PATH_VARIABLE: &str = "CSPR_RELAY_CONFIG";
const DEFAULT_PATH: &str = "./cspr-relay.yaml";

shape! {
    Whole {
        source: Source = Form::TEXT.required(),
        store: Store,
        dedup: Dedup,
        dead_letters: DeadLetters,
        ownership: Ownership,
        repair: Repair,
        egress: Egress,
        admin: Admin,
        connections: Named<Connection> = Form::TEXT.named(NAME),
        sinks: Named<Sink> = Form::TEXT.named(NAME),
        routes: Named<Route> = Form::TEXT.named(NAME),
        tests: Named<Test> = Form::TEXT.named(NAME),
        shutdown_timeout: NoMapping = Form::DURATION,
        include: NoMapping = Form::pattern(".").list(),
    }
}

shape! {
    /// What an included file may have.
    Part {
        sinks: Named<Sink> = Form::TEXT.named(NAME),
        routes: Named<Route> = Form::TEXT.named(NAME),
        tests: Named<Test> = Form::TEXT.named(NAME),
    }
}

/// A configuration that can be used, and what its author should think about.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Fault>,
    /// What it was read from: the files themselves, the files that their values name, and the directories in which
    /// patterns look. When one of them changes, loading again may give something else.
    pub files: BTreeSet<PathBuf>,
}

/// Where the configuration is: as said on the command line, else in `CSPR_RELAY_CONFIG`, else `./cspr-relay.yaml`.
pub fn locate(path: Option<PathBuf>) -> PathBuf {
    path.or_else(|| environment(PATH_VARIABLE).filter(|path| !path.is_empty()).map(Into::into))
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

/// Reads the file at `path` and expands references from the environment of the process.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_with(path, &environment)
}

/// As [`load`], and what was read, as in [`Loaded::files`], even if there are faults.
pub fn load_with_files(path: &Path) -> (Result<Loaded, Faults>, BTreeSet<PathBuf>) {
    let reading = Reading::new(&environment);
    let loaded = load_reading(path, &reading);
    (loaded, reading.files())
}

/// Where a relay is to be found.
#[derive(Clone, Debug)]
pub struct Contact {
    pub admin: AdminConfig,
    /// Its data directory.
    pub store: PathBuf,
}

/// Reads of a configuration only where its relay is, so that the relay can be asked while other parts have faults.
pub fn contact(path: &Path) -> Result<Contact, Faults> {
    let reading = Reading::new(&environment);
    let source = reading.text(path).map_err(|error| Faults(vec![unreadable(path, &error)]))?;
    let main = Document::new(path, &source, &reading);
    let Main { place, shape, is_broken } = whole(&main);
    let before = main.errors();
    let contact =
        Contact { admin: settings::admin(&place, shape.admin), store: settings::store(&place, shape.store).path };
    let is_usable = !is_broken && main.errors() == before;
    drop(place);
    if is_usable { Ok(contact) } else { Err(Faults(main.findings())) }
}

/// The JSON Schema of a main file.
pub fn schema() -> serde_json::Value {
    json_schema::schema("The configuration of cspr-relay", &Whole::outline())
}

/// The JSON Schema of an included file.
pub fn schema_of_included() -> serde_json::Value {
    json_schema::schema("An included file of a cspr-relay configuration", &Part::outline())
}

fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    std::env::var(name).ok()
}

pub(super) fn load_with(path: &Path, environment: Environment<'_>) -> Result<Loaded, Faults> {
    load_reading(path, &Reading::new(environment))
}

fn load_reading(path: &Path, reading: &Reading<'_>) -> Result<Loaded, Faults> {
    let source = reading.text(path).map_err(|error| Faults(vec![unreadable(path, &error)]))?;
    let main = Document::new(path, &source, reading);
    let mut whole = whole(&main);
    let texts = include::included(&whole.place, whole.shape.include.take());
    let documents: Vec<Document<'_>> = texts.iter().map(|(path, text)| Document::new(path, text, reading)).collect();
    let parts = documents.iter().filter_map(part).collect();
    let config = read(whole, parts);
    let findings: Vec<Fault> = std::iter::once(main).chain(documents).flat_map(Document::findings).collect();
    match config {
        Some(config) if findings.iter().all(|fault| fault.severity == Severity::Warning) => {
            Ok(Loaded { config, warnings: findings, files: reading.files() })
        }
        _ => Err(Faults(findings)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let is_absent = error.kind() == io::ErrorKind::NotFound;
    let message = if is_absent { "there is no such file".to_owned() } else { format!("cannot be read: {error}") };
    let hint =
        format!("name the configuration with --config or {PATH_VARIABLE}; config.example.yaml is one to start from");
    Fault {
        severity: Severity::Error,
        file: path.to_owned(),
        line: 0,
        column: 0,
        path: String::new(),
        message,
        hint: is_absent.then_some(hint),
        excerpt: None,
    }
}

/// The main file, or as much of it as could be had.
struct Main<'a> {
    place: Place<'a>,
    shape: Whole,
    is_broken: bool,
}

fn whole<'a>(document: &'a Document<'a>) -> Main<'a> {
    let Some(node) = parse::<Whole>(document) else {
        let shape = Whole { include: parse::salvage(document, "include"), ..Whole::default() };
        return Main { place: Place::root(document, Spot::default()), shape, is_broken: true };
    };
    let place = Place::root(document, node.at);
    let kind = node.kind();
    if let Value::Map(shape) = node.value {
        place.refuse_unknown(&shape);
        return Main { place, shape, is_broken: false };
    }
    place.fault(format!("expected a mapping with `source`, `sinks` and `routes`, found {kind}"));
    document.reading.lose_a_file();
    Main { place, shape: Whole::default(), is_broken: true }
}

/// An included file; none if it was not understood.
fn part<'a>(document: &'a Document<'a>) -> Option<(Place<'a>, Part)> {
    let node = parse::<Part>(document)?;
    let place = Place::root(document, node.at);
    let kind = node.kind();
    match node.value {
        Value::Map(part) => {
            refuse_foreign(&place, &part);
            Some((place, part))
        }
        Value::Null => None,
        Value::Plain | Value::Text(_) | Value::List(_) => {
            place.fault(format!("expected a mapping with {}, found {kind}", Part::KEYS.join(", ")));
            document.reading.lose_a_file();
            None
        }
    }
}

fn refuse_foreign(place: &Place<'_>, part: &Part) {
    for key in part.unknown() {
        if Whole::KEYS.contains(&key.name.as_str()) {
            let hint = format!("an included file may have: {}", Part::KEYS.join(", "));
            place.refuse(key, "belongs into the main file", Some(hint));
        } else {
            place.refuse(key, "there is no such key", suggest(&key.name, Part::KEYS.iter().copied()));
        }
    }
}

/// None only if a fault was noted.
fn read<'a>(main: Main<'a>, parts: Vec<(Place<'a>, Part)>) -> Option<Config> {
    let Main { place: root, shape: whole, is_broken } = main;
    let (mut sinks, mut routes) = (vec![(root.clone(), whole.sinks)], vec![(root.clone(), whole.routes)]);
    let mut tests = vec![(root.clone(), whole.tests)];
    for (place, part) in parts {
        sinks.push((place.clone(), part.sinks));
        routes.push((place.clone(), part.routes));
        tests.push((place, part.tests));
    }
    let connections = connections::connections(&root, whole.connections);
    let named = sinks::sinks(sinks, &connections);
    connections.warn_of_unused();
    let routes = routes::routes(routes, &named);
    advice::on_mixed_streams(&named, &routes);
    let tests = cases::read(tests, &named, &routes);
    if is_broken {
        return None;
    }
    let source = settings::source(&root, whole.source);
    let sinks = named.into_iter().map(|(name, (_, sink))| Some((name, sink?))).collect::<Option<_>>();
    Some(Config {
        store: settings::store(&root, whole.store),
        dedup: settings::dedup(&root, whole.dedup),
        dead_letters: settings::dead_letters(&root, whole.dead_letters),
        ownership: settings::ownership(&root, whole.ownership),
        repair: settings::repair(&root, whole.repair),
        egress: settings::egress(&root, whole.egress),
        admin: settings::admin(&root, whole.admin),
        shutdown_timeout: root.duration("shutdown_timeout", whole.shutdown_timeout, Duration::from_secs(25)),
        source: source?,
        sinks: sinks?,
        routes,
        tests,
    })
}

/// Every key that a file may have, with `*` for names, and whether `source` shows it.
#[cfg(test)]
pub(super) fn all_keys(source: &str) -> std::collections::BTreeMap<String, bool> {
    let node = parse::yaml::<Whole>(source, serde_yaml::options::DuplicateKeyPolicy::Error).expect("valid YAML");
    let mut seen = std::collections::BTreeMap::new();
    if let Value::Map(whole) = node.value {
        Mapping::walk(&whole, "", &mut seen);
    }
    seen
}
