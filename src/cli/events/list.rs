//! The events of a token: a table for people, lines of JSON for programs.

use std::io::{self, Write};

use super::show::{as_json, printable, word};
use crate::cli::listen::shown;
use crate::store::History;

const ACTION_CHARS: usize = 8;

/// Writes the events in the order given.
pub(super) fn run(histories: &[History], has_more: bool, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return histories.iter().try_for_each(|history| writeln!(out, "{}", printable(&as_json(history).to_string())));
    }
    if !histories.is_empty() {
        writeln!(
            out,
            "{:>8}  {:<20}  {:<17}  {:<ACTION_CHARS$}  deliveries",
            "sequence", "accepted", "stream", "action"
        )?;
    }
    histories.iter().try_for_each(|history| writeln!(out, "{}", row(history)))?;
    if has_more { writeln!(out, "… and older ones; --limit shows more of them") } else { Ok(()) }
}

fn row(history: &History) -> String {
    let accepted = history.accepted_at.to_string();
    let action = history.facts.as_ref().map_or("", |facts| &facts.action);
    format!(
        "{:>8}  {:<20}  {:<17}  {:<ACTION_CHARS$}  {}",
        history.sequence.number,
        format!("{}Z", accepted.get(..19).unwrap_or(&accepted)),
        history.stream.as_str(),
        shown(action, ACTION_CHARS - 1),
        summary(history),
    )
}

/// How many deliveries are in which state: `2 delivered, 1 dead`.
fn summary(history: &History) -> String {
    let mut counts = Vec::<(&str, usize)>::new();
    for state in history.deliveries.iter().map(|delivery| word(&delivery.state)) {
        match counts.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state, 1)),
        }
    }
    counts.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}
