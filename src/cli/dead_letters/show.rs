//! One letter: all that is known of it, and its message.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Value, json};

use super::list::as_json;
use crate::cli::listen::{escaped_in_json, shown};
use crate::clock::Timestamp;
use crate::store::{DeadLetters, LetterFilter, Listed, PastAttempt};

/// Writes every letter that `filter` means (one event can have one per sink); false if there is none.
pub(super) fn run(
    letters: &DeadLetters,
    filter: &LetterFilter,
    now: Timestamp,
    is_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut found = Vec::new();
    letters
        .each(filter, now, |listed| {
            found.push(listed);
            true
        })
        .context("reading the dead letters")?;
    for listed in &found {
        let attempts = letters.attempts(&listed.letter).context("reading the attempts")?;
        if is_json {
            writeln!(out, "{}", escaped_in_json(&with_attempts(listed, &attempts).to_string()))?;
        } else {
            write(listed, &attempts, out)?;
        }
    }
    Ok(!found.is_empty())
}

fn write(listed: &Listed, attempts: &[PastAttempt], out: &mut impl Write) -> io::Result<()> {
    // What the JSON form has, one a line.
    let fields = as_json(listed);
    for (name, value) in fields.as_object().into_iter().flatten() {
        writeln!(out, "{name:<17} {}", text(value))?;
    }
    writeln!(out, "\nattempts")?;
    for attempt in attempts {
        let status = attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let (cause, detail) = (shown(&attempt.cause, usize::MAX), shown(&attempt.detail, usize::MAX));
        writeln!(out, "  {:>3}  {}  {cause:<9}  {status:>3}  {detail}", attempt.number, attempt.at)?;
    }
    match &listed.body {
        Some(body) => {
            writeln!(out, "\nmessage, {} bytes", body.len())?;
            writeln!(out, "{}\n", escaped_in_json(&String::from_utf8_lossy(body)))
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

fn with_attempts(listed: &Listed, attempts: &[PastAttempt]) -> Value {
    let mut fields = as_json(listed);
    let attempt = |attempt: &PastAttempt| {
        json!({
            "number": attempt.number,
            "at": attempt.at.to_string(),
            "cause": attempt.cause,
            "status": attempt.status,
            "detail": attempt.detail,
        })
    };
    if let Value::Object(fields) = &mut fields {
        fields.insert("history".to_owned(), attempts.iter().map(attempt).collect());
        let message = listed.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        fields.insert("message".to_owned(), message.into());
    }
    fields
}
