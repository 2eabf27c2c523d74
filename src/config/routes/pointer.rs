//! JSON Pointers (RFC 6901): where in a message a condition looks.

use std::fmt;
use std::sync::Arc;

/// A place in a message, `/data/onchain_metadata/price`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointer {
    text: Arc<str>,
    /// Unescaped; at least one.
    tokens: Arc<[Box<str>]>,
}

impl Pointer {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The names that lead to the place, from the outside in.
    pub(crate) fn tokens(&self) -> &[Box<str>] {
        &self.tokens
    }

    /// The error says what is wrong, and what was probably meant.
    pub(super) fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let Some(rest) = text.strip_prefix('/') else {
            let hint = meant(text).map(|meant| format!("did you mean `{meant}`?"));
            return Err((format!("`{text}` is not a JSON Pointer: it must begin with `/`"), hint));
        };
        let tokens: Option<Arc<[Box<str>]>> = rest.split('/').map(unescape).collect();
        let wrong = || {
            let hint = "write `~0` for `~` and `~1` for a `/` inside a name".to_owned();
            (format!("`{text}` is not a JSON Pointer: `~` must be followed by 0 or 1"), Some(hint))
        };
        Ok(Self { text: text.into(), tokens: tokens.ok_or_else(wrong)? })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unescape(token: &str) -> Option<Box<str>> {
    let is_valid = token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    is_valid.then(|| token.replace("~1", "/").replace("~0", "~").into())
}

/// What a path in another notation is as a pointer: `data.price`, `$.data.list[0]`, `data/price`.
fn meant(text: &str) -> Option<String> {
    let path = text.trim_start_matches(['$', '#', '.', '/']);
    let pointer = path.replace(['.', '['], "/").replace([']', '\'', '"'], "");
    (!pointer.is_empty()).then(|| format!("/{pointer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unescaped() {
        for (text, expected) in [
            ("/data", vec!["data"]),
            ("/data/a~1b/~01/0", vec!["data", "a/b", "~1", "0"]),
            ("/", vec![""]),
            ("/data//x", vec!["data", "", "x"]),
        ] {
            let tokens = Pointer::parse(text).unwrap().tokens;
            assert_eq!(tokens.iter().map(|token| &**token).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn other_notations_are_refused_with_the_right_one() {
        for (text, meant) in [
            ("data.onchain_metadata.price", "/data/onchain_metadata/price"),
            ("$.data.list[0].x", "/data/list/0/x"),
            ("#/data/x", "/data/x"),
            ("data/x", "/data/x"),
        ] {
            let (message, hint) = Pointer::parse(text).unwrap_err();
            assert!(message.contains("must begin with `/`"), "{message}");
            assert_eq!(hint, Some(format!("did you mean `{meant}`?")));
        }
        assert!(Pointer::parse("").is_err());
        assert!(Pointer::parse("/a~2").unwrap_err().0.contains('~'));
        assert!(Pointer::parse("/a~").is_err());
    }
}
