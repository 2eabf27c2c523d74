//! `cspr-relay status`: a running relay at a glance.

pub(super) mod sinks;

use std::io::{self, Write};

use super::USAGE;
use super::listen::shown;
use super::relay::Place;
use crate::admin::status::{
    ConnectionStatus, EventCounts, GapStatus, OwnershipStatus, ReloadStatus, RestStatus, Status, StoreStatus,
};

/// Show a running relay at a glance: source, store, configuration, sinks
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// As one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Asks, writes and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.place.running(errors)? else { return Ok(USAGE) };
    let status: Status = relay.get(&["status"]).await?;
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&status)?)?,
        false => write(&status, out)?,
    }
    out.flush()?;
    Ok(0)
}

fn write(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let stopping = if status.stopping { ", stopping" } else { "" };
    writeln!(out, "cspr-relay {}{stopping}, {}", status.version, status.at)?;
    status.source.connections.iter().try_for_each(|connection| write_connection(connection, out))?;
    write_gaps(&status.gaps, out)?;
    write_rest(&status.rest, out)?;
    let EventCounts { accepted, duplicates, variants, recurred, unmatched, quarantined } = status.events;
    writeln!(
        out,
        "events  {accepted} accepted, {duplicates} duplicates, {unmatched} unmatched, {variants} variants, {recurred} \
         recurred, {quarantined} quarantined"
    )?;
    write_store(&status.store, out)?;
    write_ownership(&status.ownership, out)?;
    write_reload(&status.reload, out)?;
    writeln!(out)?;
    sinks::write(&status.sinks, out)
}

fn write_connection(connection: &ConnectionStatus, out: &mut impl Write) -> io::Result<()> {
    let state = if connection.is_up { "up" } else { "DOWN" };
    let time = |at: &Option<String>| at.clone().unwrap_or_else(|| "never".to_owned());
    write!(out, "source  {} {state} since {}", shown(&connection.stream, usize::MAX), time(&connection.since))?;
    write!(out, ", last event {}", time(&connection.last_event_at))?;
    write!(out, ", last ping {}", time(&connection.last_ping_at))?;
    write!(out, ", {} connection(s) made", connection.connects)?;
    match &connection.trouble {
        Some(trouble) if !connection.is_up => writeln!(out, "\n        {}", shown(trouble, usize::MAX)),
        _ => writeln!(out),
    }
}

/// Nothing if there are none.
fn write_gaps(gaps: &GapStatus, out: &mut impl Write) -> io::Result<()> {
    let Some(oldest) = &gaps.oldest_at else { return Ok(()) };
    writeln!(out, "gaps    {} OPEN, the oldest since {oldest}: see `cspr-relay gaps list`", gaps.open)
}

/// Nothing if no package is watched.
fn write_ownership(ownership: &OwnershipStatus, out: &mut impl Write) -> io::Result<()> {
    let OwnershipStatus { packages, due, looks, walks, last_walk_at, changes, trouble, .. } = ownership;
    if *packages == 0 {
        return Ok(());
    }
    let walked_at = last_walk_at.as_deref().unwrap_or("never");
    write!(out, "owners  {packages} package(s) watched, {due} due, {looks} looked at, {changes} changed, ")?;
    writeln!(out, "{walks} walk(s), the last {walked_at}")?;
    trouble.iter().try_for_each(|trouble| writeln!(out, "        {}", shown(trouble, usize::MAX)))
}

/// Nothing as long as nothing was asked.
fn write_rest(rest: &RestStatus, out: &mut impl Write) -> io::Result<()> {
    if rest.day_requests == 0 {
        return Ok(());
    }
    write!(out, "rest    {} of {} requests in 24 hours", rest.day_requests, rest.day_requests_max)?;
    match &rest.waiting_until {
        Some(until) => writeln!(out, ", {} waiting until {until}", rest.waiting)?,
        None => writeln!(out)?,
    }
    rest.trouble.iter().try_for_each(|trouble| writeln!(out, "        {}", shown(trouble, usize::MAX)))
}

fn write_store(store: &StoreStatus, out: &mut impl Write) -> io::Result<()> {
    let commit = store.commit_seconds_mean.map_or_else(String::new, |mean| format!(", {:.1} ms a commit", mean * 1e3));
    let oldest = store.oldest_event_at.as_deref().unwrap_or("none");
    writeln!(
        out,
        "store   {} of {} used, oldest event {oldest}, {} in quarantine{commit}",
        size(store.used_bytes),
        size(store.max_bytes),
        store.quarantined
    )?;
    if store.intake_waiting {
        let why = store.intake_waits_for.as_deref().unwrap_or_default();
        writeln!(out, "        NO ROOM, so no events are taken: {}", shown(why, usize::MAX))?;
    }
    if store.damaged_rows > 0 {
        writeln!(out, "        DAMAGED: {} rows could not be read", store.damaged_rows)?;
    }
    Ok(())
}

fn write_reload(reload: &ReloadStatus, out: &mut impl Write) -> io::Result<()> {
    let Some(why) = &reload.refused_because else { return Ok(()) };
    let at = reload.last_at.as_deref().unwrap_or_default();
    writeln!(out, "config  REFUSED {at}, an older one is at work:")?;
    why.lines().try_for_each(|line| {
        writeln!(out, "        {}", if line.is_empty() { String::new() } else { shown(line, usize::MAX) })
    })
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut whole, mut tenths, mut unit) = (bytes, 0, 0);
    while whole >= 1024 && unit + 1 < units.len() {
        (whole, tenths) = (whole / 1024, whole % 1024 * 10 / 1024);
        unit += 1;
    }
    let unit = units.get(unit).copied().unwrap_or_default();
    if tenths > 0 { format!("{whole}.{tenths} {unit}") } else { format!("{whole} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10 << 30, "10 GiB"), (u64::MAX, "16777215.9 TiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
