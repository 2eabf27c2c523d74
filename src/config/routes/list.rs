//! The values of a key: one, a list of them, or a file with one a line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::condition::Key;
use crate::config::fault::{Fault, Severity, suggest};
use crate::config::hash;
use crate::config::outline::Form;
use crate::config::reader::{Given, Place};
use crate::config::shape::{Mapping, NoMapping, Node, Value, shape};
use crate::event::{ActionKind, OWNER_TYPES, Stream, TOKEN_STANDARDS};

/// A file that is something else altogether is not told line by line.
const FAULTS_PER_FILE_MAX: usize = 10;

shape! {
    /// What may stand for a list: the name of a file.
    Listed {
        file: NoMapping = Form::TEXT.required(),
    }
}

/// What is wrong with a value, and what may have been meant.
pub(super) struct Wrong {
    message: String,
    hint: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// What the values of a list have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Key(Key),
    /// An action of the stream, if that is known.
    Action(Option<Stream>),
    /// Anything.
    Operand,
}

impl Kind {
    fn parse(self, text: &str) -> Result<String, Wrong> {
        let word = |words: &[&str]| match words.iter().find(|word| **word == text) {
            Some(word) => Ok((*word).to_owned()),
            None => {
                let message = format!("`{text}` is none of the possible values");
                Err(Wrong { message, hint: suggest(text, words.iter().copied()) })
            }
        };
        match self {
            Self::Operand => Ok(text.to_owned()),
            Self::Action(_) | Self::Key(Key::Action | Key::TokenId) if text.is_empty() => {
                Err("must not be empty".to_owned().into())
            }
            Self::Action(_) | Self::Key(Key::Action | Key::TokenId) => Ok(text.to_owned()),
            Self::Key(Key::ContractPackage) => Ok(hash::hash(text)?),
            Self::Key(Key::Owner | Key::From | Key::To) => Ok(hash::owner(text)?),
            Self::Key(Key::Kind) => word(&ActionKind::ALL.map(ActionKind::as_str)),
            Self::Key(Key::Burned) => word(&["true", "false"]),
            Self::Key(Key::OwnerType) => word(&OWNER_TYPES),
            Self::Key(Key::Standard) => word(&TOKEN_STANDARDS),
        }
    }
}

/// The values of a file; none if it was faulty.
type Lines = Option<Arc<[Arc<str>]>>;

/// The lists that were read from files: what several routes name is read and kept once.
#[derive(Default)]
pub(super) struct Lists {
    files: RefCell<HashMap<(PathBuf, Kind), Lines>>,
}

impl Lists {
    /// The values of the key `name`; `None` if a fault was noted.
    pub(super) fn values(
        &self,
        parent: &Place<'_>,
        name: &str,
        node: Node<Listed>,
        kind: Kind,
    ) -> Option<Vec<Arc<str>>> {
        let place = parent.key(name, node.at);
        let items = match node.value {
            Value::List(items) if items.is_empty() => {
                parent.key(name, node.key).fault("an empty list matches nothing");
                return None;
            }
            Value::List(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(index, item)| (place.item(index, item.at), item)).collect()
            }
            _ => vec![(place, node)],
        };
        let mut values = Vec::with_capacity(items.len());
        let mut is_whole = true;
        for (place, item) in items {
            is_whole &= self.add(&place, item, kind, &mut values).is_some();
        }
        is_whole.then_some(values)
    }

    /// Adds one value, or those of a file; `None` if a fault was noted.
    fn add(&self, place: &Place<'_>, item: Node<Listed>, kind: Kind, values: &mut Vec<Arc<str>>) -> Option<()> {
        match item.value {
            Value::Map(listed) => values.extend(self.file(place, listed, kind)?.iter().cloned()),
            _ => values.push(one(place, item, kind)?),
        }
        Some(())
    }

    fn file(&self, place: &Place<'_>, listed: Listed, kind: Kind) -> Lines {
        place.refuse_unknown(&listed);
        let is_empty = listed.unknown().is_empty() && listed.file.is_none();
        let Some(Given { text, place }) = place.text("file", listed.file) else {
            if is_empty {
                place.fault_with("expected a value", Some("a list from a file is { file: list.txt }".to_owned()));
            }
            return None;
        };
        let path = place.beside(text);
        if let Some(known) = self.files.borrow().get(&(path.clone(), kind)) {
            return known.clone();
        }
        let read = place
            .document
            .reading
            .text(&path)
            .map_err(|error| place.fault(format!("cannot read {}: {error}", path.display())));
        let lines = read.ok().and_then(|text| lines(&place, &path, &text, kind));
        self.files.borrow_mut().insert((path, kind), lines.clone());
        lines
    }
}

fn one(place: &Place<'_>, node: Node<Listed>, kind: Kind) -> Option<Arc<str>> {
    let Given { text, place } = place.scalar(&node.without_mapping::<NoMapping>())?;
    if let Kind::Action(Some(stream)) = kind
        && !stream.actions().contains(&text.as_str())
    {
        let hint = suggest(&text, stream.actions().iter().copied());
        place.warn(format!("no action `{text}` of {stream} is known; the route waits for it anyway"), hint);
    }
    let value = kind.parse(&text).map_err(|Wrong { message, hint }| place.fault_with(message, hint));
    value.ok().map(Arc::from)
}

/// The values of a file; a comment begins at the line's start or behind white space, as in YAML.
fn lines(place: &Place<'_>, path: &Path, text: &str, kind: Kind) -> Lines {
    let (mut values, mut wrong) = (Vec::new(), 0);
    for (number, line) in (1..).zip(text.lines()) {
        let value = without_comment(line).trim();
        if value.is_empty() {
            continue;
        }
        match kind.parse(value) {
            Ok(value) => values.push(Arc::from(value)),
            Err(reason) if wrong < FAULTS_PER_FILE_MAX => {
                wrong += 1;
                let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
                note(place, path, (number, column), reason);
            }
            Err(_) => wrong += 1,
        }
    }
    if wrong > FAULTS_PER_FILE_MAX {
        place.fault(format!("{wrong} lines of {} are wrong; the first {FAULTS_PER_FILE_MAX} are told", path.display()));
    } else if wrong == 0 && values.is_empty() {
        place.fault(format!("there is nothing in {}: an empty list matches nothing", path.display()));
    }
    (wrong == 0 && !values.is_empty()).then(|| values.into())
}

/// Without the line itself: what was named as a list by mistake may hold anything.
fn note(place: &Place<'_>, file: &Path, (line, column): (usize, usize), Wrong { message, hint }: Wrong) {
    let (file, path) = (file.to_owned(), place.path.clone());
    let severity = Severity::Error;
    place.document.push(Fault { severity, file, line, column, path, message, hint, excerpt: None });
}

fn without_comment(line: &str) -> &str {
    let is_comment =
        |at: usize| line.get(..at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']));
    let start = line.match_indices('#').map(|(at, _)| at).find(|at| is_comment(*at));
    start.and_then(|at| line.get(..at)).unwrap_or(line)
}
