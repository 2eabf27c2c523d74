//! What the database of a relay says, read as a stranger would: with SQL and the format's description.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

/// Bytes of the checksum before each row's content.
const CHECKSUM_BYTES: usize = 4;
const DELIVERED: u8 = 1;
const EXPIRED: u8 = 3;

/// The database in a data directory, whether its relay runs or not.
pub(crate) struct Database(Connection);

impl Database {
    pub(crate) fn open(directory: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        Self(Connection::open_with_flags(directory.join("relay.db"), flags).unwrap())
    }

    /// The number of the newest event: the last batch's first, and how many it holds; 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        let sql = "SELECT first, row FROM batch ORDER BY first DESC LIMIT 1";
        let found = self.0.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional().unwrap();
        let Some((first, row)): Option<(u64, Vec<u8>)> = found else { return 0 };
        let mut content = &row[CHECKSUM_BYTES..];
        let _accepted_at = number(&mut content);
        first + number(&mut content) - 1
    }

    /// Rows of `waiting` and `held` together.
    pub(crate) fn waiting(&self) -> u64 {
        let sql = "SELECT (SELECT count(*) FROM waiting) + (SELECT count(*) FROM held)";
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The numbers of a sink's dead letters.
    pub(crate) fn dead(&self, sink: &str) -> Vec<u64> {
        self.numbers("SELECT seq FROM dead WHERE sink = ?1 ORDER BY seq", sink)
    }

    /// Up to here a sink's deliveries are settled, waiting or held.
    pub(crate) fn low(&self, sink: &str) -> u64 {
        let sql = "SELECT low FROM cursor WHERE sink = ?1";
        self.0.query_row(sql, [self.sink(sink)], |row| row.get(0)).unwrap()
    }

    /// The numbers of what a sink has confirmed.
    pub(crate) fn delivered(&self, sink: &str) -> BTreeSet<u64> {
        self.settled(sink, DELIVERED).into_iter().collect()
    }

    /// Of how many streams it is noted when they were last heard.
    pub(crate) fn heard(&self) -> u64 {
        self.0.query_row("SELECT count(*) FROM heard", [], |row| row.get(0)).unwrap()
    }

    /// The numbers of a sink's expired deliveries.
    pub(crate) fn expired(&self, sink: &str) -> Vec<u64> {
        self.settled(sink, EXPIRED)
    }

    fn settled(&self, sink: &str, as_what: u8) -> Vec<u64> {
        let mut statement = self.0.prepare("SELECT seq, row FROM settled WHERE sink = ?1 ORDER BY seq").unwrap();
        let rows = statement.query_map([self.sink(sink)], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let rows = rows.map(|row: rusqlite::Result<(u64, Vec<u8>)>| row.unwrap());
        rows.filter(|(_, row)| outcome(row) == as_what).map(|(seq, _)| seq).collect()
    }

    /// The reasons for which messages are in quarantine, with how many there are of each.
    pub(crate) fn quarantined(&self) -> BTreeMap<String, usize> {
        let mut statement = self.0.prepare("SELECT row FROM quarantine").unwrap();
        let mut reasons = BTreeMap::new();
        for row in statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap() {
            *reasons.entry(reason(&row.unwrap())).or_default() += 1;
        }
        reasons
    }

    fn sink(&self, name: &str) -> u64 {
        let sql = "SELECT name.number FROM name JOIN cursor ON cursor.sink = name.number WHERE name.text = ?1";
        self.0.query_row(sql, [name], |row| row.get(0)).unwrap()
    }

    fn numbers(&self, sql: &str, sink: &str) -> Vec<u64> {
        let mut statement = self.0.prepare(sql).unwrap();
        statement.query_map([self.sink(sink)], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

/// The next number in LEB128.
fn number(content: &mut &[u8]) -> u64 {
    let length = content.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (bytes, rest) = content.split_at(length);
    *content = rest;
    bytes.iter().rev().fold(0, |sum, byte| (sum << 7) | u64::from(byte & 0x7f))
}

/// The outcome in a settled row: after when, and the number of attempts.
fn outcome(row: &[u8]) -> u8 {
    let mut content = &row[CHECKSUM_BYTES..];
    let (_when, _attempts) = (number(&mut content), number(&mut content));
    content[0]
}

/// The reason in a quarantine row: after when, and the stream's code.
fn reason(row: &[u8]) -> String {
    let mut content = &row[CHECKSUM_BYTES..];
    let _when = number(&mut content);
    content = &content[1..];
    let length = usize::try_from(number(&mut content)).unwrap();
    String::from_utf8(content[..length].to_vec()).unwrap()
}
