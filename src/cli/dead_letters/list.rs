//! Many letters: a table for people, lines of JSON for programs.

use std::io::{self, Write};
use std::path::Path;

use terminal_size::{Width, terminal_size};

use crate::admin::dead_letters::{self as letters, LetterList, LetterQuery, LetterView};
use crate::cli::listen::{escaped_in_json, shown};
use crate::cli::relay::Relay;
use crate::cli::table::whole_seconds;
use crate::clock::Clock;

/// Where standard output is no terminal there is room for all of a reason.
const COLUMNS_DEFAULT: usize = 500;
const PACKAGE_CHARS: usize = 8;
const TOKEN_CHARS: usize = 16;
const SINK_CHARS: usize = 16;
const CAUSE_CHARS: usize = 9;
/// The columns before the token.
const FIXED: usize = 8 + 2 + 20 + 2 + SINK_CHARS + 2 + CAUSE_CHARS + 2 + 5 + 2;
/// With fewer columns a letter takes two lines.
const WIDE: usize = 120;
const INDENT: usize = 10;
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
        let LetterList { dead_letters, next, is_sink_unknown } = page(relay, query.clone()).await?;
        if let (true, Some(sink)) = (is_sink_unknown, &query.sink) {
            anyhow::bail!("there is no sink `{sink}`, and never was");
        }
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
    let is_narrow = columns < WIDE;
    if is_first {
        writeln!(out, "{}{}package/token               reason", heading(), between(is_narrow))?;
    }
    let (token, reason) = (token(letter), shown(&letter.reason, usize::MAX));
    let rest = if is_narrow { format!("{token}  {reason}") } else { format!("{token:<26}  {reason}") };
    let rest = rest.chars().take(columns.saturating_sub(if is_narrow { INDENT } else { FIXED })).collect::<String>();
    writeln!(out, "{}{}{rest}", fixed(letter), between(is_narrow))
}

/// On a narrow terminal what a letter is about and why it died have a line of their own.
fn between(is_narrow: bool) -> String {
    if is_narrow { format!("\n{:INDENT$}", "") } else { "  ".to_owned() }
}

fn heading() -> String {
    format!(
        "{:>8}  {:<20}  {:<SINK_CHARS$}  {:<CAUSE_CHARS$}  {:>5}",
        "sequence", "given up at", "sink", "cause", "tries"
    )
}

fn fixed(letter: &LetterView) -> String {
    format!(
        "{:>8}  {:<20}  {:<SINK_CHARS$}  {:<CAUSE_CHARS$}  {:>5}",
        letter.sequence,
        whole_seconds(&letter.died_at),
        shown(&letter.sink, SINK_CHARS - 1),
        shown(&letter.cause, CAUSE_CHARS),
        letter.attempts,
    )
}

fn token(letter: &LetterView) -> String {
    let package = letter.contract_package.as_deref().unwrap_or_default();
    let token = letter.token_id.as_deref().unwrap_or_default();
    format!("{}/{}", shown(package, PACKAGE_CHARS), shown(token, TOKEN_CHARS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_shows_its_reason_whatever_the_width() {
        let letter: LetterView = serde_json::from_value(serde_json::json!({
            "sequence": 12, "id": "evt_x", "sink": "a-sink-with-a-long-name", "routes": [], "stream": "nft-tokens",
            "contract_package": "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508", "token_id": "11\t9",
            "accepted_at": "2026-01-01T00:00:00.000Z", "died_at": "2026-01-01T00:00:01.000Z", "attempts": 10,
            "cause": "refused", "reason": "answered 422 Unprocessable Entity: no such one",
        }))
        .unwrap();
        let shown = |columns| {
            let mut out = Vec::new();
            write(&letter, true, false, columns, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let narrow = shown(80);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(
            narrow.ends_with("\n          5341882b…/11\\t9  answered 422 Unprocessable Entity: no such one\n"),
            "{narrow}"
        );
        let wide = shown(500);
        assert_eq!(wide.lines().count(), 2, "{wide}");
        assert!(wide.contains("     10  5341882b…/11\\t9             answered 422"), "{wide}");
    }
}
