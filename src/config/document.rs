//! A file while it is being read: its text, what was found wrong with it, and what of it must not be shown.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use serde_yaml::Location;

use super::fault::Fault;

/// How the environment is looked up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The file that is being read, and what was found wrong with it so far.
pub(super) struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) source: &'a str,
    pub(super) environment: Environment<'a>,
    pub(super) faults: RefCell<Vec<Fault>>,
    pub(super) warnings: RefCell<Vec<Fault>>,
    /// Bytes of the file that must not be shown.
    secrets: RefCell<Vec<Range<usize>>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, source: &'a str, environment: Environment<'a>) -> Self {
        Self {
            file,
            source,
            environment,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    pub(super) fn fault(&self, at: Location, path: &str, message: String, hint: Option<String>) -> Fault {
        Fault {
            file: self.file.to_owned(),
            line: usize::try_from(at.line()).unwrap_or_default(),
            column: usize::try_from(at.column()).unwrap_or_default(),
            path: path.to_owned(),
            message,
            hint,
            excerpt: None,
        }
    }

    /// Keeps these bytes out of every source line that is shown.
    pub(super) fn hide(&self, span: Range<usize>) {
        self.secrets.borrow_mut().push(span);
    }

    /// Faults and warnings in the order of the file, with their source lines. Secrets are known only now.
    pub(super) fn findings(self) -> (Vec<Fault>, Vec<Fault>) {
        let secrets = self.secrets.into_inner();
        let finish = |mut list: Vec<Fault>| {
            list.sort_by_key(|fault| (fault.line, fault.column));
            for fault in &mut list {
                fault.excerpt = excerpt(self.source, fault.line, &secrets);
            }
            list
        };
        (finish(self.faults.into_inner()), finish(self.warnings.into_inner()))
    }
}

/// A longer line is not shown: a caret below it helps nobody.
const EXCERPT_BYTES_MAX: usize = 400;

/// A line of the source, counted from 1, with every character that lies in one of the `secrets` replaced.
pub(super) fn excerpt(source: &str, line: usize, secrets: &[Range<usize>]) -> Option<String> {
    let text = source.lines().nth(line.checked_sub(1)?).filter(|text| text.len() <= EXCERPT_BYTES_MAX)?;
    let start = text.as_ptr() as usize - source.as_ptr() as usize;
    let masked = text.char_indices().map(|(index, c)| {
        let is_secret = secrets.iter().any(|range| range.contains(&(start + index)));
        if is_secret && !c.is_whitespace() { '*' } else { c }
    });
    Some(masked.collect())
}
