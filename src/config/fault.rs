//! What is wrong with a file, told so that its author can put it right: place, source line, caret, suggestion.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, or questionable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub severity: Severity,
    pub file: PathBuf,
    /// Counted from 1; 0 if the fault has no place in the file.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The dotted path of the key; empty for the file itself.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
    /// The line of the file, with every secret in it masked; none if it cannot be shown.
    pub excerpt: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but its author should think about it.
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if self.severity == Severity::Warning {
            f.write_str(": warning")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        let margin = self.line.to_string().len();
        if let Some(excerpt) = &self.excerpt {
            let indent: String = excerpt
                .chars()
                .take(self.column.saturating_sub(1))
                .map(|char| if char == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n{:margin$} |\n{} | {excerpt}\n{:margin$} | {indent}^", "", self.line, "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{:margin$} = {hint}", "")?;
        }
        Ok(())
    }
}

/// What was found in a configuration that cannot be used, warnings included: file by file, in the order of the file.
/// At least one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Which of the `known` words was probably meant by `given`.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&given, &word.to_lowercase());
    let (distance, word) = known.into_iter().map(|word| (distance(word), word)).min()?;
    (distance <= (word.chars().count() / 3).max(1)).then_some(word)
}

/// The nearest of the `known` words as a hint; else what there is to choose from.
pub(super) fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    if let Some(word) = nearest(given, known.iter().copied()) {
        return Some(format!("did you mean `{word}`?"));
    }
    known.sort_unstable();
    (!known.is_empty()).then(|| format!("there is: {}", known.join(", ")))
}
