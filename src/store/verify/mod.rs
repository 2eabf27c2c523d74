//! `store verify`: whether all that a stopped relay has on disk is what was written, and all of it.
//!
//! Every row is read and its checksum compared, SQLite's own structures are checked by SQLite, and the invariants of
//! the store are held against each other: a body for each pending delivery, a row or a cursor for each delivery, a name
//! for each number, an index that leads to each event. Changes no byte.

mod deliveries;
mod log;
mod rows;
mod snapshot;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::error::OpenError;
use super::{lookup, schema, small};
use deliveries::Deliveries;
pub(super) use rows::{Leader, Seen};
pub(super) use snapshot::{Snapshot, claim};

/// Findings that are listed; how many more there are is counted.
const FINDINGS_MAX: usize = 1000;
const STRUCTURE_FAULTS_MAX: u64 = 100;

/// What a look at a store found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// What is not as it was written, or not there.
    pub(crate) damage: Vec<Finding>,
    /// Beyond those listed.
    pub(crate) more_damage: u64,
    /// What nobody can tell to be whole, as it is after a crash.
    pub(crate) unvouched: Vec<String>,
    /// Rows read, by table.
    pub(crate) rows: Vec<(&'static str, u64)>,
    pub(crate) events: u64,
    pub(crate) pending: BTreeMap<String, u64>,
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) table: &'static str,
    /// The rows concerned, by key.
    pub(crate) keys: String,
    /// What is wrong with them and what is lost by it.
    pub(crate) what: String,
}

impl Report {
    pub(crate) fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether all rows of deliveries that failed or wait for others are there.
    pub(super) fn has_whole_queues(&self) -> bool {
        let counts = ["(database)", "(header)", "(log)", "(names, cursors, epochs)", "waiting", "held"];
        self.more_damage == 0 && !self.damage.iter().any(|finding| counts.contains(&finding.table))
    }

    fn damage(&mut self, table: &'static str, keys: impl Into<String>, what: impl Into<String>) {
        if self.damage.len() < FINDINGS_MAX {
            self.damage.push(Finding { table, keys: keys.into(), what: what.into() });
        } else {
            self.more_damage += 1;
        }
    }
}

/// Looks at everything in a stopped relay's directory.
pub(crate) fn verify(directory: &Path) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let snapshot = match Snapshot::open(directory) {
        Ok(snapshot) => snapshot,
        Err(OpenError::Database(error)) => {
            report.damage("(database)", "all", format!("SQLite cannot open it: {error}"));
            return Ok(report);
        }
        Err(other) => return Err(other),
    };
    let newest = look(&snapshot.connection, &mut report);
    log::check(directory, newest, &mut report)?;
    Ok(report)
}

/// Checks the database and gives the number of its newest event.
fn look(connection: &Connection, report: &mut Report) -> u64 {
    // Each part is looked at whatever became of the one before.
    let told = [("(header)", schema::faults(connection)), ("(structure)", structure(connection))];
    for (place, faults) in told {
        match faults {
            Ok(faults) => faults.into_iter().for_each(|what| report.damage(place, "-", what)),
            Err(error) => report.damage(place, "-", format!("cannot be read: {error}")),
        }
    }
    match small::structure(connection).and_then(|faults| Ok((faults, small::faults(connection)?))) {
        Ok((structure, faults)) => {
            structure.into_iter().chain(faults).for_each(|fault| report.damage(fault.table, "-", fault.what))
        }
        Err(error) => report.damage("(names, cursors, epochs)", "-", format!("cannot be read: {error}")),
    }
    match small::miscounts(connection) {
        Ok(faults) => faults.into_iter().for_each(|fault| report.damage(fault.table, "-", fault.what)),
        Err(error) => report.damage("letter_count", "-", format!("cannot be compared with the dead letters: {error}")),
    }
    let seen = Seen::read(connection, report);
    let newest = match Deliveries::check(connection, &seen, report) {
        Ok(newest) => newest,
        Err(error) => {
            report.damage("batch", "-", format!("deliveries cannot be checked to the end: {error}"));
            0
        }
    };
    if let Err(error) = indexes(connection, report) {
        report.damage("lookup", "-", format!("cannot be compared with the events: {error}"));
    }
    newest
}

fn structure(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({STRUCTURE_FAULTS_MAX})"))?;
    let faults = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(faults.into_iter().filter(|fault| fault != "ok").collect())
}

/// Each complete index has to lead to every event of its range that is still known.
fn indexes(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    for first in lookup::indexed(connection)? {
        let missing = lookup::misses(connection, first)?;
        if missing > 0 {
            let what =
                format!("{missing} keys of the events from {first} on are missing: these are searched one by one");
            report.damage("lookup", format!("first {first}"), what);
        }
    }
    Ok(())
}
