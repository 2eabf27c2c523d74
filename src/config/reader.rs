//! From nodes to values, noting every fault and going on.
//!
//! A reading function that meets a fault notes it and gives what would have been there without the key, so that the
//! rest of the file is looked at too. What comes out is used only if no fault was noted.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Document;
use super::expand::{self, Piece};
use super::fault::{Fault, Severity, suggest};
use super::quantity;
use super::secret::{self, FollowedFile, Part, Secret};
use super::shape::{Key, Mapping, Node, Spot, Text, Value};
use secrecy::SecretString;

/// A place in the document: everything read from here says where it stood.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) path: String,
    pub(super) at: Spot,
}

/// A text from the file, expanded, with its place.
pub(super) struct Given<'a> {
    pub(super) text: String,
    pub(super) place: Place<'a>,
}

impl<'a> Place<'a> {
    pub(super) fn root(document: &'a Document<'a>, at: Spot) -> Self {
        Self { document, path: String::new(), at }
    }

    pub(super) fn fault(&self, message: impl Into<String>) {
        self.fault_with(message, None);
    }

    pub(super) fn fault_with(&self, message: impl Into<String>, hint: Option<String>) {
        self.document.push(self.document.fault(self.at, &self.path, message.into(), hint));
    }

    /// That something is nowhere: no fault while a file is unread, for it may be there.
    pub(super) fn fault_of_the_whole(&self, message: impl Into<String>, hint: Option<String>) {
        if self.document.reading.is_whole() {
            self.fault_with(message, hint);
        }
    }

    pub(super) fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        let fault = self.document.fault(self.at, &self.path, message.into(), hint);
        self.document.push(Fault { severity: Severity::Warning, ..fault });
    }

    /// For a message about another place.
    pub(super) fn file_and_line(&self) -> String {
        format!("{}:{}", self.document.file.display(), self.at.line)
    }

    /// The path of a file that a value names, relative to the file it is written in. It is noted as one that the
    /// configuration depends on.
    pub(super) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        let directory = self.document.file.parent().unwrap_or(Path::new(""));
        let path = directory.join(path);
        self.document.reading.note(&path);
        path
    }

    /// The place of a key below this one.
    pub(super) fn key(&self, key: &str, at: Spot) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { document: self.document, path, at }
    }

    pub(super) fn item(&self, index: usize, at: Spot) -> Self {
        Self { document: self.document, path: format!("{}[{index}]", self.path), at }
    }

    /// A mapping, and the place of its key. One that is absent or empty has no keys.
    pub(super) fn map<M: Mapping>(&self, key: &str, node: Option<Node<M>>) -> (M, Self) {
        let Some(node) = node else { return (M::default(), self.key(key, self.at)) };
        let kind = node.kind();
        let place = self.key(key, node.key);
        match node.value {
            Value::Map(map) => {
                place.refuse_unknown(&map);
                (map, place)
            }
            Value::Null => (M::default(), place),
            value @ (Value::Plain | Value::Text(_) | Value::List(_)) => {
                let hint = match value {
                    Value::List(_) => Some("names are keys here: write them without `- `"),
                    Value::Text(text) if text.contains(':') => Some("a colon needs a space behind it"),
                    _ => None,
                };
                self.key(key, node.at).fault_with(format!("expected a mapping, found {kind}"), hint.map(str::to_owned));
                (M::default(), place)
            }
        }
    }

    /// Notes a fault for each key that `M` does not have. Its value is not shown: a misspelt key may hold a secret.
    pub(super) fn refuse_unknown<M: Mapping>(&self, map: &M) {
        for key in map.unknown() {
            self.refuse(key, "there is no such key", suggest(&key.name, M::KEYS.iter().copied()));
        }
    }

    pub(super) fn refuse(&self, key: &Key, message: &str, hint: Option<String>) {
        self.key(&key.name, key.at).fault_with(message, hint);
        self.hide_line_from(key.end());
    }

    pub(super) fn text(&self, key: &str, node: Option<Text>) -> Option<Given<'a>> {
        let node = node?;
        self.key(key, node.at).scalar(&node)
    }

    /// One value or a list of them, each with its place; none if the key is absent or was faulty.
    pub(super) fn texts(&self, key: &str, node: Option<Text>) -> Option<Vec<Given<'a>>> {
        let node = node?;
        Some(self.items(key, node).iter().filter_map(|(place, node)| place.scalar(node)).collect())
    }

    pub(super) fn items(&self, key: &str, node: Text) -> Vec<(Self, Text)> {
        let place = self.key(key, node.at);
        match node.value {
            Value::List(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(index, item)| (place.item(index, item.at), item)).collect()
            }
            _ => vec![(place, node)],
        }
    }

    pub(super) fn scalar(&self, node: &Text) -> Option<Given<'a>> {
        let spelling = self.spelling(node)?;
        let mut text = String::new();
        for piece in self.pieces(spelling)? {
            text.push_str(&match piece {
                Piece::Literal(text) => text,
                Piece::Variable { name, default } => self.variable(&name, default)?,
                Piece::File(path) => {
                    let path = self.beside(path);
                    self.readable(&path, secret::read(&path))?
                }
            });
        }
        Some(Given { text, place: self.clone() })
    }

    /// A text that does not print. If it must not be in the file itself, a warning says so.
    pub(super) fn secret(&self, node: &Text, is_literal_fine: bool) -> Option<Secret> {
        let is_reference = matches!(&node.value, Value::Text(text) if text.starts_with("${"));
        if !is_literal_fine && !is_reference {
            self.hide(node);
        }
        let pieces = self.pieces(self.spelling(node)?)?;
        if !is_literal_fine && is_in_the_file(&pieces) {
            self.hide(node);
            let hint = "take it from the environment with ${NAME}, or from a file with ${file:/path}";
            self.warn("a secret is written into the file", Some(hint.to_owned()));
        }
        let parts: Option<Vec<Part>> = pieces.into_iter().map(|piece| self.part(piece)).collect();
        parts.map(Secret::new)
    }

    /// Keeps a value out of every source line that is shown; of a list or a mapping at least the line it begins on.
    pub(super) fn hide(&self, node: &Text) {
        let Some(span) = node.span() else { return };
        match node.value {
            Value::Null | Value::Plain | Value::Text(_) => self.document.hide(span),
            Value::List(_) | Value::Map(_) => self.hide_line_from(span.start),
        }
    }

    fn hide_line_from(&self, start: usize) {
        let rest = self.document.source.get(start..).unwrap_or_default();
        let (start, rest) = rest.strip_prefix(':').map_or((start, rest), |rest| (start + 1, rest));
        let length = rest.find('\n').unwrap_or(rest.len());
        self.document.hide(start..start + length);
    }

    fn part(&self, piece: Piece) -> Option<Part> {
        match piece {
            Piece::Literal(text) => Some(Part::Text(SecretString::from(text))),
            Piece::Variable { name, default } => Some(Part::Text(self.variable(&name, default)?.into())),
            Piece::File(path) => {
                let path = self.beside(path);
                self.readable(&path, FollowedFile::open(path.clone())).map(Part::File)
            }
        }
    }

    fn spelling<'n>(&self, node: &'n Text) -> Option<&'n str>
    where
        'a: 'n,
    {
        let spelling = node.spelling(self.document.source);
        if spelling.is_none() {
            let hint = self.without_quotes(node).map(str::to_owned);
            self.fault_with(format!("expected a single value, found {}", node.kind()), hint);
        }
        spelling
    }

    /// What was probably meant by something else than a single value.
    fn without_quotes(&self, node: &Text) -> Option<&'static str> {
        let (before, from) = self.document.source.split_at_checked(node.span()?.start)?;
        let word = before.trim_end().rsplit([' ', '\n']).next().unwrap_or_default();
        match node.value {
            Value::Null if word.starts_with(['&', '!']) => Some("quote a text that begins with `&` or `!`"),
            Value::Null => Some("remove the key, or give it a value"),
            Value::Map(_) if from.starts_with("{{") => Some("quote a text with `{{ }}` in it: \"{{ action }}\""),
            _ => None,
        }
    }

    fn pieces(&self, text: &str) -> Option<Vec<Piece>> {
        expand::pieces(text).map_err(|reason| self.fault(reason)).ok()
    }

    fn variable(&self, name: &str, default: Option<String>) -> Option<String> {
        let value = (self.document.reading.environment)(name);
        let value = if default.is_some() { value.filter(|value| !value.is_empty()).or(default) } else { value };
        if value.is_none() {
            let hint = format!("set it, or give a default: ${{{name}:-…}}");
            self.fault_with(format!("the environment variable {name} is not set"), Some(hint));
        }
        value
    }

    fn readable<T>(&self, path: &Path, read: std::io::Result<T>) -> Option<T> {
        read.map_err(|error| self.fault(format!("cannot read {}: {error}", path.display()))).ok()
    }
}

/// Values of single keys, with the default for an absent one.
impl Place<'_> {
    pub(super) fn parse<T>(
        &self,
        key: &str,
        node: Option<Text>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.text(key, node)?.parse(parse)
    }

    /// More than nothing.
    pub(super) fn duration(&self, key: &str, node: Option<Text>, default: Duration) -> Duration {
        self.parse(key, node, positive_duration).unwrap_or(default)
    }

    /// In bytes, more than nothing.
    pub(super) fn size(&self, key: &str, node: Option<Text>, default: u64) -> u64 {
        let positive = |text: &str| match quantity::size(text)? {
            0 => Err("must be more than 0".to_owned()),
            bytes => Ok(bytes),
        };
        self.parse(key, node, positive).unwrap_or(default)
    }

    pub(super) fn number(&self, key: &str, node: Option<Text>, range: RangeInclusive<usize>, default: usize) -> usize {
        self.parse(key, node, |text| number(text, &range)).unwrap_or(default)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, node: Option<Text>, words: &[(&str, T)]) -> Option<T> {
        let given = self.text(key, node)?;
        let found = words.iter().find(|(word, _)| *word == given.text);
        if found.is_none() {
            let hint = suggest(&given.text, words.iter().map(|(word, _)| *word));
            given.place.fault_with(format!("`{}` is none of the possible values", given.text), hint);
        }
        found.map(|(_, value)| *value)
    }
}

/// Whether the file itself holds the secret: nothing is referred to, or the reference has a default.
fn is_in_the_file(pieces: &[Piece]) -> bool {
    let has_default = |piece: &Piece| matches!(piece, Piece::Variable { default: Some(text), .. } if !text.is_empty());
    pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))) || pieces.iter().any(has_default)
}

impl Given<'_> {
    /// The value, unless `parse` says why there is none.
    pub(super) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        parse(&self.text).map_err(|reason| self.place.fault(reason)).ok()
    }
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match quantity::duration(text)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// `None` for `off`, which is a truth value for some who write YAML.
pub(super) fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "off" | "false" => Ok(None),
        text => positive_duration(text).map(Some).map_err(|reason| format!("{reason}; or `off`")),
    }
}

pub(super) fn number(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let bounds = || match (range.start(), range.end()) {
        (start, &usize::MAX) => format!("at least {start}"),
        (start, end) => format!("from {start} to {end}"),
    };
    number.ok_or_else(|| format!("expected a whole number {}, found `{text}`", bounds()))
}
