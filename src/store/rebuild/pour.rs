//! From the pages of the old database into the tables of the new one: every row that its checksum vouches for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, params, params_from_iter};

use super::cells::{Value, values};
use super::pages::Pages;
use crate::store::catalog::{SEALED, Sealed};
use crate::store::error::OpenError;
use crate::store::format::{Table, name_sum, open};
use crate::store::schema::{COUNTED, SUMMED};

/// Rows in one transaction of the new store.
const COMMIT_ROWS: u64 = 20_000;

/// What was found of the tables whose rows are understood as they are poured.
#[derive(Clone, Debug, Default)]
pub(super) struct Poured {
    /// Rows by table.
    pub(super) rows: BTreeMap<&'static str, u64>,
    pub(super) epochs: BTreeMap<u64, u64>,
    pub(super) cursors: BTreeMap<u32, u64>,
    pub(super) keys_from: Option<u64>,
    /// All numbers that any row has for an event.
    pub(super) newest: u64,
}

/// Pours all rows that can be read. The indexes are not: they are made anew.
pub(super) fn pour(from: &Path, to: &Connection) -> Result<Poured, OpenError> {
    let failed = |source| OpenError::Directory { path: from.to_owned(), source };
    let pages = Pages::open(from).map_err(failed)?;
    let (mut pouring, mut outcome) = (Pouring::new(to)?, Ok(()));
    to.execute_batch("BEGIN")?;
    let read = pages.each_row(|rowid, record| match pouring.row(rowid, record) {
        Ok(is_ours) => is_ours,
        Err(error) => {
            outcome = Err(error);
            true
        }
    });
    read.map_err(failed)?;
    outcome?;
    to.execute_batch("COMMIT")?;
    Ok(pouring.poured)
}

struct Pouring<'c> {
    to: &'c Connection,
    poured: Poured,
    sums: Sums<'c>,
    since_commit: u64,
}

impl<'c> Pouring<'c> {
    fn new(to: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self { to, poured: Poured::default(), sums: Sums { connection: to }, since_commit: 0 })
    }

    /// Takes a row; false if it is none of ours.
    fn row(&mut self, rowid: Option<i64>, record: &[u8]) -> rusqlite::Result<bool> {
        let Some(values) = values(record) else { return Ok(false) };
        let rowid = rowid.and_then(|rowid| u64::try_from(rowid).ok());
        let key: Option<Vec<u64>> = match (rowid, values.as_slice()) {
            (Some(number), [Value::Null, Value::Blob(_)]) => Some(vec![number]),
            (None, [key @ .., Value::Blob(_)]) if !key.is_empty() => key.iter().map(positive).collect(),
            _ => None,
        };
        match (key, values.last()) {
            (Some(key), Some(Value::Blob(row))) => self.sealed(&key, row),
            _ => self.small(rowid, &values),
        }
    }

    fn sealed(&mut self, key: &[u64], row: &[u8]) -> rusqlite::Result<bool> {
        let fits = |sealed: &&Sealed| sealed.key.len() == key.len() && open(sealed.table, key, row).is_ok();
        let Some(sealed) = SEALED.iter().find(fits) else { return Ok(false) };
        if sealed.table == Table::Lookup {
            return Ok(true);
        }
        let places = (1..=key.len() + 1).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT OR IGNORE INTO {} VALUES ({places})", sealed.name);
        let key_values = key.iter().map(|part| rusqlite::types::Value::from(part.cast_signed()));
        let row_value = std::iter::once(rusqlite::types::Value::from(row.to_vec()));
        let added = self.to.prepare_cached(&sql)?.execute(params_from_iter(key_values.chain(row_value)))?;
        *self.poured.rows.entry(sealed.name).or_default() += added as u64;
        if let Some(seq) = sequence(sealed.table, key) {
            self.poured.newest = self.poured.newest.max(seq);
        }
        self.pace()?;
        Ok(true)
    }

    fn small(&mut self, rowid: Option<u64>, values: &[Value<'_>]) -> rusqlite::Result<bool> {
        match (rowid, values) {
            (Some(number), [Value::Null, Value::Integer(kind), Value::Text(text), Value::Integer(sum)]) => {
                self.name(number, *kind, text, *sum)
            }
            (Some(number), [Value::Null, Value::Integer(value), Value::Integer(sum)]) => {
                let Ok(value) = u64::try_from(*value) else { return Ok(false) };
                if self.sums.fit("epoch", number, value, *sum)? {
                    self.poured.epochs.insert(number, value);
                    return Ok(true);
                }
                let Ok(sink) = u32::try_from(number) else { return Ok(false) };
                let is_cursor = self.sums.fit("cursor", number, value, *sum)?;
                if is_cursor {
                    // Of two versions the lower one is safe.
                    let low = self.poured.cursors.entry(sink).or_insert(value);
                    *low = value.min(*low);
                }
                // Dead letters are counted anew as they are poured.
                let is_count = || -> rusqlite::Result<bool> {
                    Ok(self.sums.fit("letter_count", number, value, *sum)?
                        || self.sums.fit("letter_size", number, value, *sum)?)
                };
                Ok(is_cursor || is_count()?)
            }
            (None, [Value::Text(b"keys_from"), Value::Integer(value), Value::Integer(sum)]) => {
                let Ok(value) = u64::try_from(*value) else { return Ok(false) };
                let is_ours = self.sums.fit("meta", "keys_from".len() as u64, value, *sum)?;
                if is_ours {
                    self.poured.keys_from = Some(value);
                }
                Ok(is_ours)
            }
            _ => Ok(false),
        }
    }

    fn name(&mut self, number: u64, kind: i64, text: &[u8], sum: i64) -> rusqlite::Result<bool> {
        let (Ok(number), Ok(kind), Ok(text)) = (u32::try_from(number), u8::try_from(kind), std::str::from_utf8(text))
        else {
            return Ok(false);
        };
        let is_ours = i64::from(name_sum(number, kind, text)) == sum;
        if is_ours {
            let sql = "INSERT OR IGNORE INTO name (number, kind, text, sum) VALUES (?1, ?2, ?3, ?4)";
            let added = self.to.prepare_cached(sql)?.execute(params![number, kind, text, sum])?;
            *self.poured.rows.entry("name").or_default() += added as u64;
        }
        Ok(is_ours)
    }

    fn pace(&mut self) -> rusqlite::Result<()> {
        self.since_commit += 1;
        if self.since_commit >= COMMIT_ROWS {
            self.since_commit = 0;
            self.to.execute_batch("COMMIT; BEGIN")?;
        }
        Ok(())
    }
}

/// Compares the sums that SQL made.
struct Sums<'c> {
    connection: &'c Connection,
}

impl Sums<'_> {
    fn fit(&self, table: &str, key: u64, value: u64, sum: i64) -> rusqlite::Result<bool> {
        let Some((_, name, value_name, made)) = SUMMED.iter().chain(&COUNTED).find(|(known, ..)| *known == table)
        else {
            return Ok(false);
        };
        // The expression is over columns; that of `meta` over the length of its key.
        let made = made.replace(&format!("length({name})"), name);
        let sql = format!("SELECT {made} = ?3 FROM (SELECT ?1 AS {name}, ?2 AS {value_name})");
        self.connection.prepare_cached(&sql)?.query_row(params![key, value, sum], |row| row.get(0))
    }
}

fn positive(value: &Value<'_>) -> Option<u64> {
    if let Value::Integer(number) = value { u64::try_from(*number).ok() } else { None }
}

/// The number of the event that a row is about.
fn sequence(table: Table, key: &[u64]) -> Option<u64> {
    match table {
        Table::Event | Table::DeadBody => key.first().copied(),
        Table::Settled | Table::Waiting | Table::Held | Table::Dead => key.get(1).copied(),
        _ => None,
    }
}

/// The numbers of sinks that rows name, whether they have a name or not.
pub(super) fn sinks(connection: &Connection) -> rusqlite::Result<BTreeSet<u32>> {
    let sql = "SELECT sink FROM waiting UNION SELECT sink FROM held UNION SELECT sink FROM dead
               UNION SELECT sink FROM cursor UNION SELECT sink FROM pause";
    let mut statement = connection.prepare(sql)?;
    statement.query_map([], |row| row.get(0))?.collect()
}
