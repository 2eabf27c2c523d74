//! One event: all that is known of it, its deliveries, and its message.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::listen::shown;
use crate::store::{Body, History, PastAttempt, PastDelivery, State};

pub(super) fn run(history: &History, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    let fields = as_json(history);
    if is_json {
        return writeln!(out, "{}", printable(&fields.to_string()));
    }
    // What the JSON form has, one a line; the rest follows in sentences.
    let is_plain = |(name, _): &(&String, &Value)| !["deliveries", "message"].contains(&name.as_str());
    for (name, value) in fields.as_object().into_iter().flatten().filter(is_plain) {
        writeln!(out, "{name:<17} {}", text(value))?;
    }
    for delivery in &history.deliveries {
        write_delivery(delivery, out)?;
    }
    match &history.body {
        Body::Kept(body) => {
            writeln!(out, "\nmessage, {} bytes\n{}", body.len(), printable(&String::from_utf8_lossy(body)))
        }
        Body::Gone => writeln!(out, "\nThe message is no longer kept: store.retention is over."),
        Body::Damaged => writeln!(out, "\nThe message is damaged."),
    }
}

fn write_delivery(delivery: &PastDelivery, out: &mut impl Write) -> io::Result<()> {
    let routes: Vec<String> = delivery.routes.iter().map(|route| shown(route, usize::MAX)).collect();
    writeln!(out, "\nsink {}, by route {}", shown(&delivery.sink.0, usize::MAX), routes.join(", "))?;
    writeln!(out, "  {}", sentence(&delivery.state))?;
    for attempt in &delivery.failed {
        let status = attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let (cause, detail) = (shown(&attempt.cause, usize::MAX), shown(&attempt.detail, usize::MAX));
        writeln!(out, "  {:>3}  {}  {cause:<9}  {status:>3}  {detail}", attempt.number, attempt.at)?;
    }
    Ok(())
}

fn sentence(state: &State) -> String {
    match state {
        State::Pending => "pending: not attempted yet".to_owned(),
        State::Waiting(waiting) => {
            let replay = if waiting.is_replay { ", a replay" } else { "" };
            format!("waiting until {}, after {}{replay}", waiting.due_at, attempts(waiting.attempts))
        }
        State::Held => "held: an earlier event of its lane has to go first".to_owned(),
        State::Delivered { at, attempts: count, status } => {
            let status = status.map_or_else(String::new, |status| format!(", status {status}"));
            format!("delivered {at}, {}{status}", attempts(*count))
        }
        State::Dead { at, attempts: count, letter } => {
            let reason = letter.as_ref().map_or_else(
                || "its dead letter is no longer kept".to_owned(),
                |(cause, reason)| format!("{}: {}", shown(cause, usize::MAX), shown(reason, usize::MAX)),
            );
            format!("given up {at}, {}; {reason}", attempts(*count))
        }
        State::Expired { at, attempts: count } => {
            format!("expired {at} by the sink's backlog policy, {}", attempts(*count))
        }
        State::Over => "over; how it ended is no longer kept".to_owned(),
        State::Damaged => "unknown: the row that says it is damaged".to_owned(),
    }
}

fn attempts(count: u32) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

/// A state in one word.
pub(super) fn word(state: &State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Waiting(_) => "waiting",
        State::Held => "held",
        State::Delivered { .. } => "delivered",
        State::Dead { .. } => "dead",
        State::Expired { .. } => "expired",
        State::Over => "over",
        State::Damaged => "damaged",
    }
}

pub(in crate::cli) fn as_json(history: &History) -> Value {
    let facts = history.facts.as_ref();
    let message = if let Body::Kept(body) = &history.body { Some(String::from_utf8_lossy(body)) } else { None };
    json!({
        "id": history.id.to_string(),
        "sequence": history.sequence.number,
        "wire_sequence": history.sequence.to_string(),
        "stream": history.stream.as_str(),
        "origin": history.origin.as_str(),
        "accepted_at": history.accepted_at.to_string(),
        "action": facts.map(|facts| &*facts.action),
        "contract_package": facts.and_then(|facts| facts.contract_package.as_deref()),
        "token_id": facts.and_then(|facts| facts.token_id.as_deref()),
        "owner": facts.and_then(|facts| facts.owner.as_deref()),
        "deploy_hash": facts.and_then(|facts| facts.deploy_hash.as_deref()),
        "deliveries": history.deliveries.iter().map(delivery_as_json).collect::<Vec<_>>(),
        "message": message,
    })
}

fn delivery_as_json(delivery: &PastDelivery) -> Value {
    let (mut at, mut attempts, mut status, mut letter) = (None, None, None, None);
    let (mut due_at, mut is_replay) = (None, None);
    match &delivery.state {
        State::Delivered { at: when, attempts: count, status: answer } => {
            (at, attempts, status) = (Some(when), Some(count), *answer);
        }
        State::Dead { at: when, attempts: count, letter: kept } => {
            (at, attempts, letter) = (Some(when), Some(count), kept.as_ref());
        }
        State::Expired { at: when, attempts: count } => (at, attempts) = (Some(when), Some(count)),
        State::Waiting(waiting) => {
            (due_at, attempts, is_replay) = (Some(waiting.due_at), Some(&waiting.attempts), Some(waiting.is_replay));
        }
        State::Pending | State::Held | State::Over | State::Damaged => {}
    }
    json!({
        "sink": &*delivery.sink.0,
        "routes": delivery.routes,
        "state": word(&delivery.state),
        "ended_at": at.map(ToString::to_string),
        "due_at": due_at.map(|at| at.to_string()),
        "is_replay": is_replay,
        "attempts": attempts,
        "status": status,
        "cause": letter.map(|(cause, _)| cause),
        "reason": letter.map(|(_, reason)| reason),
        "failed_attempts": delivery.failed.iter().map(attempt_as_json).collect::<Vec<_>>(),
    })
}

fn attempt_as_json(attempt: &PastAttempt) -> Value {
    json!({
        "number": attempt.number,
        "at": attempt.at.to_string(),
        "cause": attempt.cause,
        "status": attempt.status,
        "detail": attempt.detail,
    })
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
