//! The events of a token: a table for people, lines of JSON for programs.

use std::io::{self, Write};

use super::show::printable;
use crate::admin::events::EventView;
use crate::cli::listen::shown;
use crate::cli::table::whole_seconds;

const ACTION_CHARS: usize = 8;

/// Writes the events in the order given.
pub(super) fn run(events: &[EventView], has_more: bool, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return events.iter().try_for_each(|event| writeln!(out, "{}", printable(&serde_json::to_string(event)?)));
    }
    if !events.is_empty() {
        writeln!(
            out,
            "{:>8}  {:<20}  {:<17}  {:<ACTION_CHARS$}  deliveries",
            "sequence", "accepted", "stream", "action"
        )?;
    }
    events.iter().try_for_each(|event| writeln!(out, "{}", row(event)))?;
    if has_more { writeln!(out, "… and older ones; --limit shows more of them") } else { Ok(()) }
}

fn row(event: &EventView) -> String {
    let action = event.action.as_deref().unwrap_or_default();
    format!(
        "{:>8}  {:<20}  {:<17}  {:<ACTION_CHARS$}  {}",
        event.sequence,
        whole_seconds(&event.accepted_at),
        shown(&event.stream, usize::MAX),
        shown(action, ACTION_CHARS - 1),
        summary(event),
    )
}

/// How many deliveries are in which state: `2 delivered, 1 dead`.
fn summary(event: &EventView) -> String {
    let mut counts = Vec::<(&str, usize)>::new();
    for state in event.deliveries.iter().map(|delivery| delivery.state.as_str()) {
        match counts.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state, 1)),
        }
    }
    counts.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}
