//! The tables whose rows are sealed, for whoever goes through all of them.

use super::format::Table;

/// A table of sealed rows: the columns of its key, all integers, and then the row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub(super) table: Table,
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
}

pub(super) const SEALED: [Sealed; 19] = [
    Sealed { table: Table::Batch, name: "batch", key: &["first"] },
    Sealed { table: Table::Event, name: "event", key: &["seq"] },
    Sealed { table: Table::Settled, name: "settled", key: &["sink", "seq"] },
    Sealed { table: Table::Waiting, name: "waiting", key: &["sink", "seq"] },
    Sealed { table: Table::Held, name: "held", key: &["sink", "seq"] },
    Sealed { table: Table::Attempt, name: "attempt", key: &["sink", "seq", "number"] },
    Sealed { table: Table::Dead, name: "dead", key: &["sink", "seq"] },
    Sealed { table: Table::DeadBody, name: "dead_body", key: &["seq"] },
    Sealed { table: Table::Quarantine, name: "quarantine", key: &["number"] },
    Sealed { table: Table::Pause, name: "pause", key: &["sink"] },
    Sealed { table: Table::Job, name: "job", key: &["number"] },
    Sealed { table: Table::Spent, name: "spent", key: &["key"] },
    Sealed { table: Table::Gap, name: "gap", key: &["number"] },
    Sealed { table: Table::Heard, name: "heard", key: &["stream"] },
    Sealed { table: Table::Audited, name: "audited", key: &["stream"] },
    Sealed { table: Table::Holding, name: "holding", key: &["package", "owner"] },
    Sealed { table: Table::Due, name: "due", key: &["package", "owner"] },
    Sealed { table: Table::Collection, name: "collection", key: &["package"] },
    Sealed { table: Table::Lookup, name: "lookup", key: &["kind", "first", "bucket"] },
];

impl Sealed {
    /// All rows in the order of their keys: the columns of the key, then the row.
    pub(super) fn select(&self) -> String {
        let key = self.key.join(", ");
        format!("SELECT {key}, row FROM {} ORDER BY {key}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema;
    use super::*;

    #[test]
    fn every_table_that_holds_sealed_rows_is_listed() {
        let directory = tempfile::tempdir().unwrap();
        let connection: Connection = schema::open(directory.path(), 1).unwrap();
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%row BLOB%' ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        let there: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut listed: Vec<&str> = SEALED.iter().map(|sealed| sealed.name).collect();
        listed.sort_unstable();
        assert_eq!(there, listed);
        for sealed in SEALED {
            connection.prepare(&sealed.select()).unwrap();
        }
    }
}
