//! What is in a store: lines for people, one object for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::admin::{JobView, PauseView};
use crate::cli::jobs;
use crate::cli::listen::shown;
use crate::store::{Inspection, Known};

pub(super) fn write(found: &Inspection, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", as_json(found));
    }
    writeln!(out, "format       {}", found.format)?;
    for epoch in &found.epochs {
        writeln!(out, "epoch        {epoch}, from event {}", epoch.number)?;
    }
    for (name, known) in [("oldest", found.oldest), ("newest", found.newest)] {
        let known =
            known.map_or_else(|| "-".to_owned(), |known| format!("{}, accepted {}", known.seq, known.accepted_at));
        writeln!(out, "{name} event {known}")?;
    }
    let bodies = found.bodies.map_or_else(|| "-".to_owned(), |(first, last)| format!("of events {first} to {last}"));
    writeln!(out, "messages     {bodies}")?;
    writeln!(out, "known ids    {}", found.known_ids)?;
    writeln!(out, "quarantined  {}", found.quarantined)?;
    writeln!(out, "file         {} bytes, {} of them free", found.file_bytes, found.free_bytes)?;
    writeln!(out, "log          {} bytes", found.log_bytes)?;
    for (name, bytes) in &found.table_bytes {
        writeln!(out, "  {name:<22} {bytes:>14} bytes")?;
    }
    if !found.sinks.is_empty() {
        writeln!(
            out,
            "\n{:<20} {:>10} {:>10} {:>9} {:>9} {:>9}",
            "sink", "cursor", "ahead", "waiting", "held", "dead"
        )?;
    }
    for sink in &found.sinks {
        let name = shown(&sink.name.0, 20);
        let (low, ahead, waiting, held, dead) = (sink.low, sink.ahead, sink.waiting, sink.held, sink.dead);
        writeln!(out, "{name:<20} {low:>10} {ahead:>10} {waiting:>9} {held:>9} {dead:>9}")?;
    }
    for (sink, paused) in &found.pauses {
        let PauseView { since, by, reason } = paused.clone().into();
        writeln!(out, "\npaused       {}, by {by} since {since}: {}", shown(&sink.0, 20), shown(&reason, usize::MAX))?;
    }
    if !found.jobs.is_empty() {
        let jobs: Vec<JobView> = found.jobs.iter().rev().cloned().map(JobView::from).collect();
        writeln!(out)?;
        jobs::write(&jobs, out)?;
    }
    Ok(())
}

fn as_json(found: &Inspection) -> Value {
    let known = |known: Option<Known>| {
        known.map(|known| json!({ "sequence": known.seq, "accepted_at": known.accepted_at.to_string() }))
    };
    let epochs = found.epochs.iter().map(|epoch| json!({ "first": epoch.number, "epoch": epoch.epoch }));
    let sinks = found.sinks.iter().map(|sink| {
        json!({
            "sink": &*sink.name.0,
            "cursor": sink.low,
            "ahead": sink.ahead,
            "waiting": sink.waiting,
            "held": sink.held,
            "dead_letters": sink.dead,
        })
    });
    let pauses = found.pauses.iter().map(|(sink, paused)| {
        let PauseView { since, by, reason } = paused.clone().into();
        json!({ "sink": &*sink.0, "since": since, "by": by, "reason": reason })
    });
    let jobs = found.jobs.iter().rev().cloned().map(|job| json!(JobView::from(job)));
    let tables = found.table_bytes.iter().map(|(name, bytes)| (name.clone(), (*bytes).into()));
    json!({
        "format": found.format,
        "epochs": epochs.collect::<Vec<_>>(),
        "oldest": known(found.oldest),
        "newest": known(found.newest),
        "messages": found.bodies.map(|(first, last)| [first, last]),
        "known_ids": found.known_ids,
        "quarantined": found.quarantined,
        "newest_noted": found.vouched,
        "bytes": { "file": found.file_bytes, "free": found.free_bytes, "log": found.log_bytes },
        "tables": tables.collect::<serde_json::Map<_, _>>(),
        "sinks": sinks.collect::<Vec<_>>(),
        "pauses": pauses.collect::<Vec<_>>(),
        "jobs": jobs.collect::<Vec<_>>(),
    })
}
