//! The rows by which all others are understood: names, cursors, epochs, and what `meta` has.
//!
//! They are few and are looked at in SQL, so they are checked together, before anything is done by them: a damaged name
//! would park what its sink is owed, a damaged cursor would lose deliveries.

use rusqlite::Connection;

use super::format::name_sum;
use super::schema::{COUNTED, SUMMED};

/// The tables that are checked whole, with their structure; those of queues are read wholly at each start anyway.
const CHECKED: [&str; 6] = ["name", "cursor", "epoch", "meta", "waiting", "held"];

/// A row that is not what was written, or a table whose rows cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) table: &'static str,
    pub(super) what: String,
}

/// The faults of the rows' sums, and of what has to be there.
pub(super) fn faults(connection: &Connection) -> rusqlite::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for summed in SUMMED {
        faults.extend(sums(connection, summed)?);
    }
    faults.extend(names(connection)?);
    let absent = [
        ("meta", "SELECT 1 FROM meta WHERE key = 'keys_from'", "where the known ids begin"),
        ("epoch", "SELECT 1 FROM epoch WHERE first = 1", "the first epoch"),
    ];
    for (table, sql, what) in absent {
        if !connection.prepare(sql)?.exists([])? {
            faults.push(Fault { table, what: format!("{what} is missing") });
        }
    }
    Ok(faults)
}

/// The rows whose sums do not fit.
fn sums(
    connection: &Connection,
    (table, key, value, sum): (&'static str, &str, &str, &str),
) -> rusqlite::Result<Vec<Fault>> {
    let sql =
        format!("SELECT CAST({key} AS TEXT) FROM {table} WHERE sum IS NOT ({sum}) OR typeof({value}) IS NOT 'integer'");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0))?;
    let fault =
        |key_of: Option<String>| Fault { table, what: format!("the row of {key} {}", key_of.unwrap_or_default()) };
    rows.map(|row| row.map(fault)).collect()
}

/// Whether the counts of dead letters bear sums that do not fit, or are missing.
pub(super) fn counts_are_damaged(connection: &Connection) -> rusqlite::Result<bool> {
    for summed in COUNTED {
        if !sums(connection, summed)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(!connection.prepare("SELECT 1 FROM letter_size")?.exists([])?)
}

/// How the counts of dead letters differ from what there is.
pub(super) fn miscounts(connection: &Connection) -> rusqlite::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for summed in COUNTED {
        faults.extend(sums(connection, summed)?);
    }
    let counts = "SELECT sink FROM (SELECT sink, count(*) AS found FROM dead GROUP BY sink) LEFT JOIN letter_count
                  USING (sink) WHERE letters IS NOT found
                  UNION SELECT sink FROM letter_count WHERE letters <> 0 AND sink NOT IN (SELECT sink FROM dead)";
    for sink in connection.prepare(counts)?.query_map([], |row| row.get::<_, i64>(0))? {
        faults
            .push(Fault { table: "letter_count", what: format!("sink {} has another number of dead letters", sink?) });
    }
    let size = "SELECT 1 FROM letter_size WHERE bytes = (SELECT coalesce(sum(length(row)), 0) FROM dead_body)";
    if !connection.prepare(size)?.exists([])? {
        let what = "the messages of dead letters take another number of bytes".to_owned();
        faults.push(Fault { table: "letter_size", what });
    }
    Ok(faults)
}

/// What SQLite finds of the structure of these tables.
pub(super) fn structure(connection: &Connection) -> rusqlite::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for table in CHECKED {
        let mut statement = connection.prepare(&format!("PRAGMA quick_check({table})"))?;
        for row in statement.query_map([], |row| row.get::<_, String>(0))? {
            let what = row?;
            if what != "ok" {
                faults.push(Fault { table, what });
            }
        }
    }
    Ok(faults)
}

/// Damaged names, names that their index does not find, and numbers in use that have no name.
fn names(connection: &Connection) -> rusqlite::Result<Vec<Fault>> {
    let fault = |what: String| Fault { table: "name", what };
    let mut faults = Vec::new();
    let sql =
        "SELECT number, kind, text, sum, (SELECT other.number FROM name AS other INDEXED BY sqlite_autoindex_name_1
               WHERE other.kind = name.kind AND other.text = name.text) FROM name NOT INDEXED";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: u32 = row.get(0)?;
        let (kind, text, sum) = (row.get::<_, u8>(1), row.get::<_, String>(2), row.get::<_, u32>(3));
        let is_whole =
            matches!((kind, text, sum), (Ok(kind), Ok(text), Ok(sum)) if name_sum(number, kind, &text) == sum);
        if !is_whole {
            faults.push(fault(format!("the row of number {number}")));
        } else if row.get::<_, Option<u32>>(4)? != Some(number) {
            faults.push(fault(format!("the index does not lead to number {number}")));
        }
    }
    let nameless = "SELECT sink FROM cursor WHERE NOT EXISTS (SELECT 1 FROM name WHERE number = sink AND kind = 1)";
    let mut statement = connection.prepare(nameless)?;
    for number in statement.query_map([], |row| row.get::<_, u32>(0))? {
        faults.push(fault(format!("sink {} has no name", number?)));
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::super::transaction::{NameKind, number_of};
    use super::*;

    #[test]
    fn every_change_of_a_small_row_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(directory.path(), 1_700_000_000_000).unwrap();
        let crm = number_of(&connection, NameKind::Sink, "crm").unwrap();
        connection.execute("INSERT INTO cursor VALUES (?1, 1000)", [crm]).unwrap();
        connection.execute("UPDATE cursor SET low = low + 1", []).unwrap();
        assert_eq!((faults(&connection).unwrap(), structure(&connection).unwrap()), (vec![], vec![]));
        // A column made of others follows them, so the damage is done behind SQL's back.
        let path = directory.path().join(schema::FILE);
        connection.close().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for needle in [&b"crm"[..], &1001_u16.to_be_bytes(), &1_700_000_000_000_u64.to_be_bytes()[2..]] {
            let places = whole.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
            let mut found = 0;
            for (place, _) in places {
                let mut flipped = whole.clone();
                flipped[place] ^= 1;
                std::fs::write(&path, &flipped).unwrap();
                let connection = schema::open(directory.path(), 0).unwrap();
                found += usize::from(!faults(&connection).unwrap().is_empty());
            }
            assert!(found > 0, "{needle:?}");
        }
    }

    #[test]
    fn a_damaged_count_is_counted_anew() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(directory.path(), 1).unwrap();
        connection
            .execute_batch("INSERT INTO dead VALUES (7, 1, 'x'), (7, 2, 'y'); INSERT INTO dead_body VALUES (1, 'abc')")
            .unwrap();
        let size = |connection: &Connection| -> (u64, u64) {
            let sql = "SELECT letters, bytes FROM letter_count, letter_size";
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!((size(&connection), miscounts(&connection).unwrap()), ((2, 3), vec![]));
        connection.close().unwrap();
        let path = directory.path().join(schema::FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        // A row of `letter_count`: the length of the record, its key, the header, then two letters.
        let row = [7_u8, 4, 0];
        let places: Vec<usize> =
            bytes.windows(3).enumerate().filter(|(_, three)| *three == row).map(|(at, _)| at).collect();
        let [at] = places.as_slice() else { panic!("{places:?}") };
        let value = at + 1 + usize::from(bytes[at + 1]);
        assert_eq!(bytes[value], 2);
        bytes[value] = 200;
        std::fs::write(&path, bytes).unwrap();
        let connection = schema::open(directory.path(), 1).unwrap();
        assert_eq!((size(&connection), counts_are_damaged(&connection).unwrap()), ((2, 3), false));
    }

    #[test]
    fn what_has_to_be_there_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(directory.path(), 7).unwrap();
        connection.execute_batch("DELETE FROM meta; DELETE FROM epoch; INSERT INTO cursor VALUES (9, 1)").unwrap();
        let found: Vec<_> = faults(&connection).unwrap().into_iter().map(|fault| fault.table).collect();
        assert_eq!(found, ["name", "meta", "epoch"]);
    }
}
