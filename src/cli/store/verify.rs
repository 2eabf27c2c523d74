//! What a look at a whole store found: sentences for people, one object for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::store::Report;

pub(super) fn write(report: &Report, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", as_json(report));
    }
    let rows: u64 = report.rows.iter().map(|(_, count)| count).sum();
    let pending: u64 = report.pending.values().sum();
    writeln!(out, "{rows} rows read: {} events, {pending} deliveries pending", report.events)?;
    write_findings(report, out)?;
    if report.is_whole() {
        return writeln!(out, "Nothing is damaged.");
    }
    writeln!(
        out,
        "The store is damaged. Keep a copy; `cspr-relay store rebuild --to DIR` makes a whole one of what can be read."
    )
}

pub(super) fn write_findings(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for finding in &report.damage {
        writeln!(out, "damaged: {} {}: {}", finding.table, finding.keys, finding.what)?;
    }
    if report.more_damage > 0 {
        writeln!(out, "… and {} more", report.more_damage)?;
    }
    report.unvouched.iter().try_for_each(|what| writeln!(out, "not vouched for: {what}"))
}

pub(super) fn as_json(report: &Report) -> Value {
    let damage = report
        .damage
        .iter()
        .map(|finding| json!({ "table": finding.table, "keys": finding.keys, "what": finding.what }));
    json!({
        "is_whole": report.is_whole(),
        "events": report.events,
        "pending": report.pending,
        "rows": report.rows.iter().map(|(table, count)| ((*table).to_owned(), (*count).into())).collect::<serde_json::Map<_, _>>(),
        "damage": damage.collect::<Vec<_>>(),
        "more_damage": report.more_damage,
        "unvouched": report.unvouched,
    })
}
