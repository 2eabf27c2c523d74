//! From a file to a [`Config`], or to everything that is wrong with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{Document, Environment};
use super::fault::{Fault, Faults};
use super::parse::parse;
use super::reader::Place;
use super::routes::Route;
use super::settings::{DeadLetters, Dedup, Egress, Source, Store};
use super::shape::{Named, NoMapping, Node, Value, shape};
use super::sinks::Sink;
use super::{Config, routes, settings, sinks};

const PATH_VARIABLE: &str = "CSPR_RELAY_CONFIG";
const DEFAULT_PATH: &str = "./cspr-relay.yaml";

/// A longer file is refused unread.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

shape! {
    Whole {
        source: Source,
        store: Store,
        dedup: Dedup,
        dead_letters: DeadLetters,
        egress: Egress,
        sinks: Named<Sink>,
        routes: Named<Route>,
        shutdown_timeout: NoMapping,
    }
}

/// A configuration that can be used, and what its author should think about.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Fault>,
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

fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    std::env::var(name).ok()
}

pub(super) fn load_with(path: &Path, environment: Environment<'_>) -> Result<Loaded, Faults> {
    let source = text(path).map_err(|error| Faults(vec![unreadable(path, &error)]))?;
    let document = Document::new(path, &source, environment);
    let root = parse(&document)?;
    let config = read(&document, root);
    let (faults, warnings) = document.findings();
    match config {
        Some(config) if faults.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(Faults(faults)),
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("the file is longer than 4 MiB"));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let is_absent = error.kind() == io::ErrorKind::NotFound;
    let message = if is_absent { "there is no such file".to_owned() } else { format!("cannot be read: {error}") };
    let hint =
        format!("name the configuration with --config or {PATH_VARIABLE}; config.example.yaml is one to start from");
    Fault {
        file: path.to_owned(),
        line: 0,
        column: 0,
        path: String::new(),
        message,
        hint: is_absent.then_some(hint),
        excerpt: None,
    }
}

/// None only if a fault was noted.
fn read(document: &Document<'_>, node: Node<Whole>) -> Option<Config> {
    let root = &Place::root(document, node.at);
    let Value::Map(whole) = node.value else {
        root.fault(format!("expected a mapping with `source`, `sinks` and `routes`, found {}", node.kind()));
        return None;
    };
    root.refuse_unknown(&whole);
    let source = settings::source(root, whole.source);
    let named = sinks::sinks(root, whole.sinks);
    let routes = routes::routes(root, whole.routes, &named);
    let sinks = named.into_iter().map(|(name, (_, sink))| Some((name, sink?))).collect::<Option<_>>();
    Some(Config {
        store: settings::store(root, whole.store),
        dedup: settings::dedup(root, whole.dedup),
        dead_letters: settings::dead_letters(root, whole.dead_letters),
        egress: settings::egress(root, whole.egress),
        shutdown_timeout: root.duration("shutdown_timeout", whole.shutdown_timeout, Duration::from_secs(25)),
        source: source?,
        sinks: sinks?,
        routes,
    })
}

/// Every key that a file may have, with `*` for names, and whether `source` shows it.
#[cfg(test)]
pub(super) fn all_keys(source: &str) -> std::collections::BTreeMap<String, bool> {
    let node: Node<Whole> = super::parse::yaml(source).expect("valid YAML");
    let mut seen = std::collections::BTreeMap::new();
    if let Value::Map(whole) = node.value {
        super::shape::Mapping::walk(&whole, "", &mut seen);
    }
    seen
}
