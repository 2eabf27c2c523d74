//! A file while it is being read: its text, what was found wrong with it, and what of it must not be shown.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Severity};
use super::shape::Spot;

/// All files of a configuration together may be this long; what goes beyond it is refused unread.
const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How the environment is looked up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the files of one configuration have in common while they are read.
pub(super) struct Reading<'a> {
    pub(super) environment: Environment<'a>,
    files: RefCell<BTreeSet<PathBuf>>,
    bytes_left: Cell<u64>,
    /// A file could not be understood, so nobody knows what it defines.
    is_partial: Cell<bool>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(environment: Environment<'a>) -> Self {
        let bytes_left = Cell::new(BYTES_MAX);
        Self { environment, files: RefCell::default(), bytes_left, is_partial: Cell::default() }
    }

    /// The text of a file of the configuration.
    pub(super) fn text(&self, path: &Path) -> io::Result<String> {
        self.note(path);
        let mut text = String::new();
        let length = File::open(path)?.take(self.bytes_left.get() + 1).read_to_string(&mut text)? as u64;
        let left = self.bytes_left.get().checked_sub(length);
        let too_long = || io::Error::other("the configuration is longer than 32 MiB, all its files together");
        self.bytes_left.set(left.ok_or_else(too_long)?);
        Ok(text)
    }

    /// Remembers that the configuration depends on what is at `path`.
    pub(super) fn note(&self, path: &Path) {
        self.files.borrow_mut().insert(path.to_owned());
    }

    pub(super) fn lose_a_file(&self) {
        self.is_partial.set(true);
    }

    /// Whether every file could be understood, so that what was not found is not there.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_partial.get()
    }

    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        self.files.borrow().clone()
    }
}

/// The file that is being read, and what was found wrong with it so far.
pub(super) struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) source: &'a str,
    pub(super) reading: &'a Reading<'a>,
    faults: RefCell<Vec<Fault>>,
    /// Of the faults, without the warnings.
    errors: Cell<usize>,
    /// What the YAML parser found: these have their source lines already.
    broken: RefCell<Vec<Fault>>,
    /// Bytes of the file that must not be shown.
    secrets: RefCell<Vec<Range<usize>>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, source: &'a str, reading: &'a Reading<'a>) -> Self {
        let (faults, errors, broken, secrets) = Default::default();
        Self { file, source, reading, faults, errors, broken, secrets }
    }

    pub(super) fn fault(&self, at: Spot, path: &str, message: String, hint: Option<String>) -> Fault {
        Fault {
            severity: Severity::Error,
            file: self.file.to_owned(),
            line: usize::try_from(at.line).unwrap_or_default(),
            column: usize::try_from(at.column).unwrap_or_default(),
            path: path.to_owned(),
            message,
            hint,
            excerpt: None,
        }
    }

    /// A fault of this file, or of one that a value in it names.
    pub(super) fn push(&self, fault: Fault) {
        self.errors.set(self.errors.get() + usize::from(fault.severity == Severity::Error));
        self.faults.borrow_mut().push(fault);
    }

    /// How many faults were noted so far: if it grows, what was read meanwhile is not to be relied on.
    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Notes a fault of a file that could not be parsed, where secrets are known by their look only.
    pub(super) fn push_broken(&self, mut fault: Fault) {
        let line = fault.line.checked_sub(1).and_then(|line| self.source.lines().nth(line));
        fault.excerpt = line.and_then(|line| excerpt(Some(line), 0, &probably_secret(line)));
        self.broken.borrow_mut().push(fault);
        self.reading.lose_a_file();
    }

    /// Keeps these bytes out of every source line that is shown.
    pub(super) fn hide(&self, span: Range<usize>) {
        self.secrets.borrow_mut().push(span);
    }

    /// Everything that was found, in the order of the file, with source lines. Secrets are known only now.
    pub(super) fn findings(self) -> Vec<Fault> {
        let secrets = self.secrets.into_inner();
        let starts: Vec<usize> =
            std::iter::once(0).chain(self.source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut list = self.faults.into_inner();
        // A fault of a file that is no document, such as a list, brings its own line.
        for fault in list.iter_mut().filter(|fault| fault.file == self.file) {
            let start = fault.line.checked_sub(1).and_then(|line| starts.get(line).copied());
            let line = start.and_then(|start| self.source.get(start..)?.lines().next());
            fault.excerpt = excerpt(line, start.unwrap_or_default(), &secrets);
        }
        list.append(&mut self.broken.into_inner());
        list.sort_by_key(|fault| (fault.file != self.file, fault.line, fault.column));
        list
    }
}

/// A longer line is not shown: a caret below it helps nobody.
const EXCERPT_BYTES_MAX: usize = 400;

/// A line that begins at the byte `start`, with every character that lies in one of the `secrets` replaced.
fn excerpt(line: Option<&str>, start: usize, secrets: &[Range<usize>]) -> Option<String> {
    let text = line.filter(|text| text.len() <= EXCERPT_BYTES_MAX)?;
    let end = start + text.len();
    let near: Vec<_> = secrets.iter().filter(|range| range.start < end && start < range.end).collect();
    let masked = text.char_indices().map(|(index, c)| {
        let is_secret = near.iter().any(|range| range.contains(&(start + index)));
        if is_secret && !c.is_whitespace() { '*' } else { c }
    });
    Some(masked.collect())
}

/// Before the file could be understood, only its look tells what must not be shown: of a line that speaks of secrets
/// everything behind the first key, but brackets, `${…}` and `{{…}}`.
fn probably_secret(line: &str) -> Vec<Range<usize>> {
    let lower = line.to_lowercase();
    let speaks_of_secrets = ["key", "secret", "whsec_", "token", "password", "auth"].iter().any(|w| lower.contains(w));
    if !speaks_of_secrets {
        return Vec::new();
    }
    let mut secrets = Vec::new();
    let mut start = line.find(':').map_or(0, |colon| colon + 1);
    while let Some(rest) = line.get(start..).filter(|rest| !rest.is_empty()) {
        let (hidden, shown) = until_reference(rest);
        secrets.push(start..start + hidden);
        start += hidden + shown;
    }
    secrets
}

/// The bytes before the first thing that can be shown, and those of that thing.
fn until_reference(text: &str) -> (usize, usize) {
    let Some(at) = text.find(['[', ']', '{', '}', ',', '$']) else { return (text.len(), 0) };
    let rest = text.get(at..).unwrap_or_default();
    let close = [("${", "}"), ("{{", "}}")].into_iter().find(|(open, _)| rest.starts_with(open));
    let shown = close.and_then(|(_, close)| rest.find(close).map(|end| end + close.len()));
    (at, shown.unwrap_or(1))
}
