//! Many letters: a table for people, lines of JSON for programs.

use std::io::{self, Write};
use std::path::Path;

use terminal_size::{Width, terminal_size};

use crate::admin::dead_letters::{self as letters, LetterList, LetterQuery, LetterView};
use crate::cli::listen::{escaped_in_json, shown};
use crate::cli::relay::Relay;
use crate::clock::Clock;

/// Where standard output is no terminal there is room for all of a reason.
const COLUMNS_DEFAULT: usize = 500;
const PACKAGE_CHARS: usize = 8;
const TOKEN_CHARS: usize = 16;
const SINK_CHARS: usize = 16;
const CAUSE_CHARS: usize = 9;
/// Letters asked for at once.
const PAGE: usize = 500;

/// Writes the letters that are meant, oldest first, and whether there are more than `limit`.
pub(super) async fn run(
    relay: &Relay,
    mut query: LetterQuery,
    limit: usize,
    is_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let columns = terminal_size().map_or(COLUMNS_DEFAULT, |(Width(columns), _)| columns.into());
    let mut count = 0;
    while count <= limit {
        query.limit = u16::try_from((limit + 1 - count).min(PAGE)).ok();
        let LetterList { dead_letters, next } = page(relay, query.clone()).await?;
        // One more than is shown says whether there are more.
        let has_more = count + dead_letters.len() > limit;
        for letter in dead_letters.iter().take(limit - count) {
            write(letter, count == 0, is_json, columns, out)?;
            count += 1;
        }
        if has_more && !is_json {
            writeln!(out, "… and more; --limit shows more of them")?;
        }
        let Some(next) = next.filter(|_| !has_more) else { break };
        query.cursor = Some(next);
    }
    if count == 0 && !is_json {
        writeln!(out, "There are no such dead letters.")?;
    }
    Ok(())
}

async fn page(relay: &Relay, query: LetterQuery) -> anyhow::Result<LetterList> {
    let asked = query.clone();
    let read = move |directory: &Path| {
        let wanted = query.read().map_err(anyhow::Error::msg)?;
        letters::page(directory, &wanted, Clock::default().now()).map(Some)
    };
    let found = relay.ask(&["dead-letters"], &asked, read).await?;
    found.ok_or_else(|| anyhow::anyhow!("the relay does not know of dead letters: is it of another version?"))
}

fn write(letter: &LetterView, is_first: bool, is_json: bool, columns: usize, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", escaped_in_json(&serde_json::to_string(letter)?));
    }
    if is_first {
        writeln!(out, "{}", cut(&heading(), columns))?;
    }
    writeln!(out, "{}", cut(&row(letter), columns))
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

fn row(letter: &LetterView) -> String {
    format!(
        "{:>8}  {:<20}  {:<SINK_CHARS$}  {:<CAUSE_CHARS$}  {:>5}  {:<26}  {}",
        letter.sequence,
        format!("{}Z", letter.died_at.get(..19).unwrap_or(&letter.died_at)),
        shown(&letter.sink, SINK_CHARS - 1),
        shown(&letter.cause, CAUSE_CHARS),
        letter.attempts,
        token(letter),
        shown(&letter.reason, usize::MAX),
    )
}

fn token(letter: &LetterView) -> String {
    let package = letter.contract_package.as_deref().unwrap_or_default();
    let token = letter.token_id.as_deref().unwrap_or_default();
    format!("{}/{}", shown(package, PACKAGE_CHARS), shown(token, TOKEN_CHARS - 1))
}
