//! One letter: all that is known of it, and its message.

use std::io::{self, Write};

use serde_json::Value;

use crate::admin::dead_letters::LetterDetails;
use crate::cli::events::write_attempt;
use crate::cli::listen::{escaped_in_json, shown};

pub(super) fn run(details: &LetterDetails, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    let mut fields = serde_json::to_value(&details.letter)?;
    if is_json {
        if let Value::Object(fields) = &mut fields {
            fields.insert("history".to_owned(), serde_json::to_value(&details.history)?);
            fields.insert("message".to_owned(), details.message.clone().into());
        }
        return writeln!(out, "{}", escaped_in_json(&fields.to_string()));
    }
    // What the JSON form has, one a line.
    for (name, value) in fields.as_object().into_iter().flatten() {
        writeln!(out, "{name:<17} {}", text(value))?;
    }
    writeln!(out, "\nattempts")?;
    details.history.iter().try_for_each(|attempt| write_attempt(attempt, out))?;
    match &details.message {
        Some(message) => {
            writeln!(out, "\nmessage, {} bytes", message.len())?;
            writeln!(out, "{}\n", escaped_in_json(message))
        }
        None => writeln!(out, "\nThe message is damaged or missing.\n"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text, usize::MAX),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
