//! `include`: the files of the teams, found by patterns.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::reader::{Given, Place};
use super::shape::Text;

/// More would be a mistake in a pattern.
const FILES_MAX: usize = 1_000;

/// As in a shell: `*` does not cross directories, and hidden files have to be asked for. (A mounted `ConfigMap` keeps
/// its files a second time in a hidden directory.)
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The included files with their texts, sorted by path; each once, and the including file never.
pub(super) fn included(parent: &Place<'_>, node: Option<Text>) -> Vec<(PathBuf, String)> {
    let patterns = parent.texts("include", node).unwrap_or_default();
    let mut paths = BTreeSet::new();
    let mut texts = Vec::new();
    for pattern in &patterns {
        for path in matching(pattern) {
            let is_new = path != parent.document.file && paths.insert(path.clone());
            if is_new && paths.len() <= FILES_MAX {
                texts.extend(text(&pattern.place, &path).map(|text| (path, text)));
            }
        }
    }
    if let (true, Some(pattern)) = (paths.len() > FILES_MAX, patterns.first()) {
        let message = format!("includes {} files; {FILES_MAX} are the most", paths.len());
        pattern.place.fault_with(message, Some("narrow the pattern, or put files together".to_owned()));
        parent.document.reading.lose_a_file();
    }
    texts.sort();
    texts
}

fn matching(pattern: &Given<'_>) -> Vec<PathBuf> {
    let directory = pattern.place.document.file.parent().unwrap_or(Path::new(""));
    // A pattern that is absolute takes the place of the whole.
    let whole = Path::new(&Pattern::escape(&directory.to_string_lossy())).join(&pattern.text);
    note_directory(&pattern.place, &pattern.text);
    let found = match glob::glob_with(&whole.to_string_lossy(), OPTIONS) {
        Ok(found) => found.filter_map(Result::ok).filter(|path| !path.is_dir()).collect::<Vec<_>>(),
        Err(error) => {
            pattern.place.fault(format!("is no pattern for file names: {}", error.msg));
            return Vec::new();
        }
    };
    if found.is_empty() && is_plain(&pattern.text) {
        pattern.place.fault(format!("there is no file `{}`", pattern.text));
        pattern.place.document.reading.lose_a_file();
    } else if found.is_empty() {
        pattern.place.warn(format!("no file is called {}", pattern.text), None);
    }
    found
}

fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '['])
}

/// A new file in the directory may match.
fn note_directory(place: &Place<'_>, pattern: &str) {
    let plain = Path::new(pattern).iter().take_while(|part| part.to_str().is_some_and(is_plain));
    let directory: PathBuf = std::iter::once(".".as_ref()).chain(plain).collect();
    if !is_plain(pattern) {
        place.beside(directory);
    }
}

fn text(place: &Place<'_>, path: &Path) -> Option<String> {
    let reading = place.document.reading;
    let read = reading.text(path);
    read.map_err(|error| {
        place.fault(format!("cannot read {}: {error}", path.display()));
        reading.lose_a_file();
    })
    .ok()
}
