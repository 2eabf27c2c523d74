//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in texts; `$${` stands for a literal `${`.

use std::path::PathBuf;

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    /// An environment variable, and what to take if it is unset or empty.
    Variable {
        name: String,
        default: Option<String>,
    },
    File(PathBuf),
}

/// Takes a text apart. The error says what is wrong with it.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${");
            rest = after;
            continue;
        }
        literal.push_str(before);
        let (reference, after) = after.split_once('}').ok_or("`${` has no `}`; write `$${` for a literal `${`")?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(piece(reference)?);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn piece(reference: &str) -> Result<Piece, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        return if path.is_empty() { Err("`${file:}` names no file".into()) } else { Ok(Piece::File(path.into())) };
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (reference, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name {
        return Ok(Piece::Variable { name: name.to_owned(), default });
    }
    Err(format!("`${{{reference}}}` is neither `${{NAME}}` nor `${{NAME:-default}}` nor `${{file:/path}}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.into())
    }

    fn variable(name: &str, default: Option<&str>) -> Piece {
        Piece::Variable { name: name.into(), default: default.map(Into::into) }
    }

    #[test]
    fn texts_are_taken_apart() {
        for (text, expected) in [
            ("", vec![literal("")]),
            ("plain $5 text}", vec![literal("plain $5 text}")]),
            ("${A}", vec![variable("A", None)]),
            ("a${B_1}c", vec![literal("a"), variable("B_1", None), literal("c")]),
            ("${A:-x:-y}", vec![variable("A", Some("x:-y"))]),
            ("${A:-}", vec![variable("A", Some(""))]),
            ("Bearer ${file:/a/b}", vec![literal("Bearer "), Piece::File("/a/b".into())]),
            ("$${A} ${B}", vec![literal("${A} "), variable("B", None)]),
        ] {
            assert_eq!(pieces(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn broken_references_are_refused() {
        for text in ["${A", "${}", "${1A}", "${A B}", "${file:}", "${A:x}"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }
}
