//! The sinks as a table, each with what is wrong with it in words.

use std::io::{self, Write};

use super::size;
use crate::admin::sinks::{SinkStatus, Sinks};
use crate::cli::listen::shown;
use crate::cli::table::Table;

const SECONDS: [(f64, &str); 3] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m")];

pub(in crate::cli) fn write(sinks: &Sinks, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new([
        "sink",
        "kind",
        "pending",
        "waiting",
        "held",
        "in flight",
        "oldest",
        "bytes",
        "success",
        "dead",
        "expired",
        "state",
    ]);
    for sink in &sinks.sinks {
        table.row([
            sink.name.clone(),
            sink.kind.clone(),
            sink.pending.to_string(),
            sink.waiting.to_string(),
            sink.held.to_string(),
            sink.in_flight.to_string(),
            sink.oldest_pending_age_seconds.map_or_else(String::new, age),
            size(sink.pending_bytes),
            sink.success_rate.map_or_else(String::new, |rate| format!("{:.1}%", rate * 100.0)),
            sink.dead_letters.to_string(),
            sink.expired.to_string(),
            state(sink),
        ]);
    }
    table.write(out)?;
    for (name, pending) in &sinks.parked {
        writeln!(out, "parked: {} has {pending} deliveries, and is not configured", shown(name, usize::MAX))?;
    }
    Ok(())
}

/// What an operator should know, most pressing first.
fn state(sink: &SinkStatus) -> String {
    let labels: Vec<String> = sink.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let failure = sink.last_failure.as_ref().map(|failure| format!("{}: {}", failure.cause, failure.detail));
    let next = sink.next_attempt_at.as_ref().map(|at| format!("next attempt {at}"));
    let said = match (&sink.pause, sink.breaker_open) {
        (Some(pause), _) => vec![Some(format!("PAUSED by {} since {}: {}", pause.by, pause.since, pause.reason))],
        (None, true) => {
            let since = sink.breaker_open_since.as_deref().unwrap_or_default();
            vec![Some(format!("BREAKER OPEN since {since}")), next, failure]
        }
        (None, false) if sink.waiting > 0 => vec![next, failure],
        (None, false) => vec![Some("ok".to_owned())],
    };
    said.into_iter()
        .flatten()
        .chain(Some(labels.join(" ")).filter(|labels| !labels.is_empty()))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A span in its largest unit.
fn age(seconds: f64) -> String {
    let unit = SECONDS.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds:.1}s"), |(length, name)| format!("{:.1}{name}", seconds / length))
}
