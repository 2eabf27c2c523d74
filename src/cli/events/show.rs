//! One event: all that is known of it, its deliveries, and its message.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::Value;

use crate::admin::events::{AttemptView, DeliveryView, EventView};
use crate::cli::listen::shown;

pub(super) fn run(event: &EventView, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    let fields = serde_json::to_value(event)?;
    if is_json {
        return writeln!(out, "{}", printable(&fields.to_string()));
    }
    // What the JSON form has, one a line; the rest follows in sentences.
    let is_plain = |(name, _): &(&String, &Value)| !["deliveries", "message", "is_damaged"].contains(&name.as_str());
    for (name, value) in fields.as_object().into_iter().flatten().filter(is_plain) {
        writeln!(out, "{name:<17} {}", text(value))?;
    }
    event.deliveries.iter().try_for_each(|delivery| write_delivery(delivery, out))?;
    match (&event.message, event.is_damaged) {
        (Some(message), _) => writeln!(out, "\nmessage, {} bytes\n{}", message.len(), printable(message)),
        (None, true) => writeln!(out, "\nThe message is damaged."),
        (None, false) => writeln!(out, "\nThe message is no longer kept: store.retention is over."),
    }
}

fn write_delivery(delivery: &DeliveryView, out: &mut impl Write) -> io::Result<()> {
    let routes: Vec<String> = delivery.routes.iter().map(|route| shown(route, usize::MAX)).collect();
    let by = if routes.is_empty() { "by a replay".to_owned() } else { format!("by route {}", routes.join(", ")) };
    writeln!(out, "\nsink {}, {by}", shown(&delivery.sink, usize::MAX))?;
    writeln!(out, "  {}", sentence(delivery))?;
    if let Some(at) = &delivery.delivered_before {
        writeln!(out, "  delivered before that, {at}")?;
    }
    delivery.failed_attempts.iter().try_for_each(|attempt| write_attempt(attempt, out))
}

pub(in crate::cli) fn write_attempt(attempt: &AttemptView, out: &mut impl Write) -> io::Result<()> {
    let status = attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let (cause, detail) = (shown(&attempt.cause, usize::MAX), shown(&attempt.detail, usize::MAX));
    writeln!(out, "  {:>3}  {}  {cause:<9}  {status:>3}  {detail}", attempt.number, attempt.at)
}

fn sentence(delivery: &DeliveryView) -> String {
    let tried = attempts(delivery.attempts.unwrap_or_default());
    let ended_at = delivery.ended_at.as_deref().unwrap_or_default();
    match delivery.state.as_str() {
        "pending" => "pending: not attempted yet".to_owned(),
        "waiting" => {
            let replay = if delivery.is_replay == Some(true) { ", a replay" } else { "" };
            format!("waiting until {}, after {tried}{replay}", delivery.due_at.as_deref().unwrap_or_default())
        }
        "held" => "held: an earlier event of its lane has to go first".to_owned(),
        "delivered" => {
            let status = delivery.status.map_or_else(String::new, |status| format!(", status {status}"));
            format!("delivered {ended_at}, {tried}{status}")
        }
        "dead" => {
            let letter = delivery.cause.as_ref().zip(delivery.reason.as_ref());
            let reason = letter.map_or_else(
                || "its dead letter is no longer kept".to_owned(),
                |(cause, reason)| format!("{}: {}", shown(cause, usize::MAX), shown(reason, usize::MAX)),
            );
            format!("given up {ended_at}, {tried}; {reason}")
        }
        "expired" => format!("expired {ended_at} by the sink's backlog policy, {tried}"),
        "over" => "over; how it ended is no longer kept".to_owned(),
        "damaged" => "unknown: the row that says it is damaged".to_owned(),
        other => shown(other, usize::MAX),
    }
}

fn attempts(count: u32) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text, usize::MAX),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// JSON in which nothing can steer a terminal. Such characters can stand inside strings only, so it is the same JSON.
pub(in crate::cli) fn printable(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for character in json.chars() {
        match u32::from(character) {
            code @ (0..=0x08
            | 0x0b..=0x1f
            | 0x7f..=0x9f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x2069
            | 0xfeff) => {
                // Writing to a String cannot fail.
                let _written = write!(printable, "\\u{code:04x}");
            }
            _ => printable.push(character),
        }
    }
    printable
}
