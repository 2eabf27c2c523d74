//! Many letters: a table for people, lines of JSON for programs.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Value, json};
use terminal_size::{Width, terminal_size};

use crate::cli::listen::shown;
use crate::clock::Timestamp;
use crate::store::{DeadLetters, LetterFilter, Listed};

/// Where standard output is no terminal there is room for all of a reason.
const COLUMNS_DEFAULT: usize = 500;
const PACKAGE_CHARS: usize = 8;
const TOKEN_CHARS: usize = 16;
const SINK_CHARS: usize = 16;
const CAUSE_CHARS: usize = 9;

/// How the list is written.
pub(super) struct Form {
    pub(super) limit: usize,
    pub(super) is_json: bool,
}

/// Writes the letters that `filter` means, oldest first, and how many there are beyond the limit.
pub(super) fn run(
    letters: &DeadLetters,
    filter: &LetterFilter,
    now: Timestamp,
    form: &Form,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let columns = terminal_size().map_or(COLUMNS_DEFAULT, |(Width(columns), _)| columns.into());
    let (mut count, mut outcome) = (0_usize, Ok(()));
    letters
        .each(filter, now, |listed| {
            count += 1;
            if count <= form.limit {
                outcome = write(&listed, count == 1, form.is_json, columns, out);
            }
            outcome.is_ok()
        })
        .context("reading the dead letters")?;
    outcome?;
    if form.is_json {
        return Ok(());
    }
    match count.checked_sub(form.limit) {
        _ if count == 0 => writeln!(out, "There are no such dead letters.")?,
        Some(more @ 1..) => writeln!(out, "… and {more} more; --limit shows more of them")?,
        _ => {}
    }
    Ok(())
}

fn write(listed: &Listed, is_first: bool, is_json: bool, columns: usize, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", as_json(listed));
    }
    if is_first {
        writeln!(out, "{}", cut(&heading(), columns))?;
    }
    writeln!(out, "{}", cut(&row(listed), columns))
}

fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns).collect()
}

fn heading() -> String {
    format!(
        "{:>8}  {:<20}  {:<SINK_CHARS$}  {:<CAUSE_CHARS$}  {:>5}  {:<26}  reason",
        "sequence", "given up at", "sink", "cause", "tries", "package/token"
    )
}

fn row(listed: &Listed) -> String {
    let letter = &listed.letter;
    let died_at = letter.died_at.to_string();
    format!(
        "{:>8}  {:<20}  {:<SINK_CHARS$}  {:<CAUSE_CHARS$}  {:>5}  {:<26}  {}",
        letter.seq,
        format!("{}Z", died_at.get(..19).unwrap_or(&died_at)),
        shown(&listed.sink.0, SINK_CHARS - 1),
        shown(&letter.cause, CAUSE_CHARS),
        letter.attempts,
        token(listed),
        shown(&letter.reason, usize::MAX),
    )
}

fn token(listed: &Listed) -> String {
    let facts = listed.facts.as_ref();
    let package = facts.and_then(|facts| facts.contract_package.as_deref()).unwrap_or_default();
    let token = facts.and_then(|facts| facts.token_id.as_deref()).unwrap_or_default();
    format!("{}/{}", shown(package, PACKAGE_CHARS), shown(token, TOKEN_CHARS - 1))
}

/// What is known of a letter, without its attempts and its message.
pub(in crate::cli) fn as_json(listed: &Listed) -> Value {
    let (letter, facts) = (&listed.letter, listed.facts.as_ref());
    json!({
        "sequence": letter.seq,
        "id": letter.id.to_string(),
        "sink": &*listed.sink.0,
        "routes": listed.routes,
        "stream": letter.stream.as_str(),
        "action": facts.map(|facts| &*facts.action),
        "contract_package": facts.and_then(|facts| facts.contract_package.as_deref()),
        "token_id": facts.and_then(|facts| facts.token_id.as_deref()),
        "owner": facts.and_then(|facts| facts.owner.as_deref()),
        "deploy_hash": facts.and_then(|facts| facts.deploy_hash.as_deref()),
        "accepted_at": letter.accepted_at.to_string(),
        "died_at": letter.died_at.to_string(),
        "attempts": letter.attempts,
        "cause": letter.cause,
        "reason": letter.reason,
    })
}
