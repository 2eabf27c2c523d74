//! The sinks as a table that fits a terminal of 80 columns; below it a line for each with what does not fit: what it
//! is, whose, and what is wrong with it in words.

use std::io::{self, Write};

use super::size;
use crate::admin::sinks::{SinkStatus, Sinks};
use crate::cli::listen::shown;
use crate::cli::table::Table;

const SECONDS: [(f64, &str); 3] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m")];

pub(in crate::cli) fn write(sinks: &Sinks, out: &mut impl Write) -> io::Result<()> {
    let mut table =
        Table::new(["sink", "state", "pending", "waiting", "oldest", "bytes", "success", "dead", "expired"]);
    for sink in &sinks.sinks {
        table.row([
            sink.name.clone(),
            state(sink).to_owned(),
            sink.pending.to_string(),
            sink.waiting.to_string(),
            sink.oldest_pending_age_seconds.map_or_else(String::new, age),
            size(sink.pending_bytes),
            sink.success_rate.map_or_else(String::new, |rate| format!("{:.1}%", rate * 100.0)),
            sink.dead_letters.to_string(),
            sink.expired.to_string(),
        ]);
    }
    table.write(out)?;
    writeln!(out)?;
    for sink in &sinks.sinks {
        writeln!(out, "{}: {}", shown(&sink.name, usize::MAX), shown(&about(sink), usize::MAX))?;
    }
    for (name, pending) in &sinks.parked {
        let name = shown(name, usize::MAX);
        writeln!(
            out,
            "{name}: not configured any more, {pending} deliveries are kept until it is, or until `cspr-relay sinks \
             drop-parked {name} --yes`"
        )?;
    }
    Ok(())
}

fn state(sink: &SinkStatus) -> &'static str {
    match (&sink.pause, sink.breaker_open) {
        (Some(_), _) => "PAUSED",
        (None, true) => "OPEN",
        (None, false) if sink.waiting > 0 => "retries",
        (None, false) if fails(sink) => "fails",
        (None, false) => "ok",
    }
}

/// Whether the last attempt failed, and be it that each event is refused for good.
fn fails(sink: &SinkStatus) -> bool {
    // Times of one form compare as texts.
    sink.last_failure.as_ref().is_some_and(|failure| Some(&failure.at) > sink.last_delivered_at.as_ref())
}

/// What an operator should know, most pressing first.
fn about(sink: &SinkStatus) -> String {
    let failure = sink.last_failure.as_ref().map(|failure| format!("{}: {}", failure.cause, failure.detail));
    let next = sink.next_attempt_at.as_ref().map(|at| format!("next attempt {at}"));
    let trouble = match (&sink.pause, sink.breaker_open) {
        (Some(pause), _) => vec![Some(format!("PAUSED by {} since {}: {}", pause.by, pause.since, pause.reason))],
        (None, true) => {
            let since = sink.breaker_open_since.as_deref().unwrap_or_default();
            vec![Some(format!("BREAKER OPEN since {since}")), next, failure]
        }
        (None, false) if sink.waiting > 0 => vec![next, failure],
        (None, false) if fails(sink) => vec![failure],
        (None, false) => Vec::new(),
    };
    let labels: Vec<String> = sink.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let counts = [(sink.in_flight, "in flight"), (sink.held, "held behind others of their token")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let kind = Some(sink.kind.clone()).into_iter().chain(counts).collect::<Vec<_>>().join(", ");
    let labels = Some(labels.join(" ")).filter(|labels| !labels.is_empty());
    trouble.into_iter().flatten().chain(Some(kind)).chain(labels).collect::<Vec<_>>().join("; ")
}

/// A span in its largest unit.
fn age(seconds: f64) -> String {
    let unit = SECONDS.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds:.1}s"), |(length, name)| format!("{:.1}{name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sink(changes: serde_json::Value) -> SinkStatus {
        let mut fields = json!({
            "name": "marketplace", "kind": "webhook", "labels": { "team": "market" }, "pending": 1_234_567,
            "pending_bytes": 5_400_000, "backlog_max_bytes": 1, "waiting": 7, "held": 3, "in_flight": 2,
            "oldest_pending_age_seconds": 90.0, "dead_letters": 12, "breaker_open": true, "paused": false,
            "breaker_open_since": "2026-01-01T00:00:00.000Z", "next_attempt_at": "2026-01-01T00:01:00.000Z",
            "last_failure": { "at": "2026-01-01T00:00:00.000Z", "cause": "server", "detail": "answered 500" },
            "success_rate": 0.25, "accepted": 1, "delivered": 1, "failed_attempts": 1, "dead": 1, "expired": 0,
        });
        let fields_of = fields.as_object_mut().unwrap();
        fields_of.extend(changes.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn what_is_wrong_is_seen_on_eighty_columns() {
        let pause = json!({ "since": "2026-01-01T00:00:00.000Z", "by": "operator", "reason": "works\n" });
        let well = json!({
            "name": "search", "breaker_open": false, "waiting": 0, "held": 0, "in_flight": 0, "labels": {},
            "last_delivered_at": "2026-01-01T00:00:00.001Z",
        });
        let bad = json!({ "name": "mail", "breaker_open": false, "waiting": 0, "held": 0, "in_flight": 0 });
        let well = sink(well);
        let sinks = [sink(json!({})), sink(json!({ "name": "crm", "pause": pause })), sink(bad), well];
        let sinks = Sinks { sinks: sinks.into(), parked: [("old".to_owned(), 9)].into() };
        let mut out = Vec::new();
        write(&sinks, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "\
sink         state   pending  waiting  oldest    bytes  success  dead  expired
marketplace  OPEN    1234567        7    1.5m  5.1 MiB    25.0%    12        0
crm          PAUSED  1234567        7    1.5m  5.1 MiB    25.0%    12        0
mail         fails   1234567        0    1.5m  5.1 MiB    25.0%    12        0
search       ok      1234567        0    1.5m  5.1 MiB    25.0%    12        0

marketplace: BREAKER OPEN since 2026-01-01T00:00:00.000Z; next attempt 2026-01-01T00:01:00.000Z; server: answered 500; \
webhook, 2 in flight, 3 held behind others of their token; team=market
crm: PAUSED by operator since 2026-01-01T00:00:00.000Z: works\\n; webhook, 2 in flight, 3 held behind others of their \
token; team=market
mail: server: answered 500; webhook; team=market
search: webhook
old: not configured any more, 9 deliveries are kept until it is, or until `cspr-relay sinks drop-parked old --yes`
";
        assert_eq!(text, expected);
        let widest = text.lines().take(5).map(str::len).max().unwrap();
        assert!(widest <= 80, "{widest}");
    }
}
