//! What the keys of a file may hold, told by the same declarations that the reader reads with.

/// What a mapping can be.
pub(super) enum Outline {
    /// None: a single value, or a list of them, stands here.
    Leaf,
    /// Any names, each with one of these. A function, since a mapping may hold itself.
    Named(fn() -> Outline),
    /// These keys, under the name of their declaration.
    Keys(&'static str, Vec<KeyOutline>),
}

pub(super) struct KeyOutline {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) value: fn() -> Outline,
}

/// How the value of a key is written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) values: Values,
    /// One value or a list of them.
    pub(super) is_list: bool,
    pub(super) is_required: bool,
    /// A list or a mapping must have something in it.
    pub(super) is_filled: bool,
    /// What each name of a mapping of names must look like.
    pub(super) names: Option<&'static str>,
    /// Of a key that has a mapping: a value may stand there instead.
    pub(super) is_also_single: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Values {
    Text,
    /// A text that this regular expression finds something in.
    Pattern(&'static str),
    Duration,
    /// A duration, or `off`.
    DurationOrOff,
    Size,
    /// A whole number in this range.
    Number(usize, usize),
    /// From 0 to 1.
    Share,
    Words(fn() -> Vec<&'static str>),
}

impl Form {
    pub(super) const TEXT: Self = Self::of(Values::Text);
    pub(super) const DURATION: Self = Self::of(Values::Duration);
    pub(super) const DURATION_OR_OFF: Self = Self::of(Values::DurationOrOff);
    pub(super) const SIZE: Self = Self::of(Values::Size);
    pub(super) const SHARE: Self = Self::of(Values::Share);
    pub(super) const BOOL: Self = Self::of(Values::Words(|| vec!["true", "false"]));

    const fn of(values: Values) -> Self {
        Self { values, is_list: false, is_required: false, is_filled: false, names: None, is_also_single: false }
    }

    pub(super) const fn pattern(pattern: &'static str) -> Self {
        Self::of(Values::Pattern(pattern))
    }

    pub(super) const fn number(min: usize, max: usize) -> Self {
        Self::of(Values::Number(min, max))
    }

    pub(super) const fn words(words: fn() -> Vec<&'static str>) -> Self {
        Self::of(Values::Words(words))
    }

    pub(super) const fn list(self) -> Self {
        Self { is_list: true, ..self }
    }

    pub(super) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    pub(super) const fn filled(self) -> Self {
        Self { is_filled: true, ..self }
    }

    pub(super) const fn named(self, pattern: &'static str) -> Self {
        Self { names: Some(pattern), ..self }
    }

    pub(super) const fn or_mapping(self) -> Self {
        Self { is_also_single: true, ..self }
    }
}

/// The words of a table that a choice is made from.
pub(super) fn words_of<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}
