//! The database file: opening it, its tables, its version.

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::OpenError;
use super::small;

pub(super) const FILE: &str = "relay.db";
pub(super) const WAL_FILE: &str = "relay.db-wal";

/// Raised with every change that an older relay could not read.
const FORMAT: i64 = 2;
/// "CSPR" in ASCII, in the file's header, so that tools and we ourselves can tell whose file it is.
const APPLICATION: i64 = 0x4353_5052;

/// 1,500-byte events fill pages of 8 KiB better than the default of 4 KiB: five to a page instead of two.
pub(super) const PAGE_BYTES: usize = 8192;
const CACHE_KIB: i64 = 24 * 1024;
const READER_CACHE_KIB: i64 = 8 * 1024;
/// The WAL is folded into the file when it has grown to about 16 MiB.
const WAL_PAGES: c_int = 2000;

/// The checksum of a row of two small numbers, in SQL, so that SQLite itself keeps it with every write: a column made of
/// the others. Linear over a prime, so no change of a single number goes unseen.
macro_rules! sum {
    ($key:literal, $value:literal, $table:literal) => {
        concat!(
            "((",
            $key,
            ") % 2147483647 * 1103515 + ",
            $value,
            " % 2147483647 * 1664525 + ",
            $table,
            ") % 2147483647"
        )
    };
}

const META_SUM: &str = sum!("length(key)", "value", "13");
const EPOCH_SUM: &str = sum!("first", "value", "14");
const CURSOR_SUM: &str = sum!("sink", "low", "15");
const COUNT_SUM: &str = sum!("sink", "letters", "16");
const SIZE_SUM: &str = sum!("number", "bytes", "17");

/// The tables whose rows bear a sum made by SQL, with their keys, their values and the sums.
pub(super) const SUMMED: [(&str, &str, &str, &str); 3] =
    [("meta", "key", "value", META_SUM), ("epoch", "first", "value", EPOCH_SUM), ("cursor", "sink", "low", CURSOR_SUM)];

const TABLES: &str = "
    CREATE TABLE name (number INTEGER PRIMARY KEY, kind INTEGER NOT NULL, text TEXT NOT NULL, sum INTEGER NOT NULL,
                       UNIQUE (kind, text));
    CREATE TABLE batch (first INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE event (seq INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE settled (sink INTEGER, seq INTEGER, row BLOB NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID;
    CREATE TABLE waiting (sink INTEGER, seq INTEGER, row BLOB NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID;
    CREATE TABLE held (sink INTEGER, seq INTEGER, row BLOB NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID;
    CREATE TABLE attempt (sink INTEGER, seq INTEGER, number INTEGER, row BLOB NOT NULL,
                          PRIMARY KEY (sink, seq, number)) WITHOUT ROWID;
    CREATE TABLE dead (sink INTEGER, seq INTEGER, row BLOB NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID;
    CREATE TABLE dead_body (seq INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE quarantine (number INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE lookup (kind INTEGER, first INTEGER, bucket INTEGER, row BLOB NOT NULL,
                         PRIMARY KEY (kind, first, bucket)) WITHOUT ROWID;
";

/// The same of those tables that can be counted anew.
pub(super) const COUNTED: [(&str, &str, &str, &str); 2] =
    [("letter_count", "sink", "letters", COUNT_SUM), ("letter_size", "number", "bytes", SIZE_SUM)];

/// Tables that stores made by an earlier relay lack; one that lacks them reads as if they were empty.
const LATER_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS pause (sink INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS job (number INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS holding (package INTEGER, owner INTEGER, row BLOB NOT NULL,
                                        PRIMARY KEY (package, owner)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS due (package INTEGER, owner INTEGER, row BLOB NOT NULL,
                                    PRIMARY KEY (package, owner)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS collection (package INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS spent (key INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS gap (number INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS heard (stream INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS audited (stream INTEGER PRIMARY KEY, row BLOB NOT NULL);
";

/// How many dead letters each sink has, and what their messages take, kept by the database itself, whoever writes:
/// counting a million takes a second.
const LETTER_TRIGGERS: &str = "
    CREATE TRIGGER letter_body_added AFTER INSERT ON dead_body BEGIN
        UPDATE letter_size SET bytes = bytes + length(NEW.row);
    END;
    CREATE TRIGGER letter_body_removed AFTER DELETE ON dead_body BEGIN
        UPDATE letter_size SET bytes = bytes - length(OLD.row);
    END;
    CREATE TRIGGER letter_added AFTER INSERT ON dead BEGIN
        INSERT INTO letter_count VALUES (NEW.sink, 1) ON CONFLICT DO UPDATE SET letters = letters + 1;
    END;
    CREATE TRIGGER letter_removed AFTER DELETE ON dead BEGIN
        UPDATE letter_count SET letters = letters - 1 WHERE sink = OLD.sink;
    END;
";

const COUNT_LETTERS: &str = "
    DELETE FROM letter_count;
    INSERT INTO letter_count SELECT sink, count(*) FROM dead GROUP BY sink;
    DELETE FROM letter_size;
    INSERT INTO letter_size SELECT 1, coalesce(sum(length(row)), 0) FROM dead_body;
";

/// Opens the writing connection, making the file if there is none. `born` becomes the first epoch of a new store.
pub(super) fn open(directory: &Path, born: u64) -> Result<Connection, OpenError> {
    let path = directory.join(FILE);
    // SQLite gives the files beside it the same permissions.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.map_err(|source| OpenError::Directory { path: path.clone(), source })?;
    let mut connection = Connection::open(&path)?;
    // Before anything is set, so that what is not ours stays as it is.
    let is_new = check(&connection, &path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.wal_hook(Some(fold_log))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    plan_once(&connection)?;
    connection.set_prepared_statement_cache_capacity(64);
    if is_new {
        create(&connection, born)?;
    }
    connection.execute_batch(LATER_TABLES)?;
    count_letters(&connection)?;
    Ok(connection)
}

/// Has statements keep their plan whatever their parameters are: SQLite would parse some of them anew at each use.
fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Folds the log into the file when it is long: what SQLite does by itself, but for an error of the disk, which it
/// passes over in silence and which here fails the commit that met it. That one is durable, as it was before.
fn fold_log(log: &mut Wal, pages: c_int) -> rusqlite::Result<()> {
    if pages < WAL_PAGES {
        return Ok(());
    }
    match log.checkpoint() {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
            // SQLite turns it into an error of the commit that says less.
            tracing::error!(%error, "the write-ahead log cannot be folded into the database");
            Err(error)
        }
        // No space, or somebody who reads: there will be another commit.
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Whether the database is empty; an error if it is not ours to use.
fn check(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let has_tables: bool = connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))?;
    let path = path.to_owned();
    match (application, format) {
        (0, 0) if !has_tables => Ok(true),
        (APPLICATION, FORMAT) => Ok(false),
        (APPLICATION, found) => Err(OpenError::Format { path, found, expected: FORMAT }),
        _ => Err(OpenError::Foreign { path }),
    }
}

/// What is not as it was made: whose file it is, of which format, and how its tables are laid out.
pub(super) fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut faults = Vec::new();
    for (name, expected) in
        [("application_id", APPLICATION), ("user_version", FORMAT), ("page_size", PAGE_BYTES as i64)]
    {
        let found: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
        if found != expected {
            faults.push(format!("{name} is {found} instead of {expected}"));
        }
    }
    let model = Connection::open_in_memory()?;
    model.execute_batch(&tables())?;
    let (expected, found) = (layout(&model)?, layout(connection)?);
    faults.extend(expected.difference(&found).map(|(kind, name, _)| format!("{kind} {name} is not as it was made")));
    faults
        .extend(found.difference(&expected).map(|(kind, name, _)| format!("{kind} {name} is not one of the store's")));
    Ok(faults)
}

/// Kind, name and SQL of all that is in a database.
type Layout = std::collections::BTreeSet<(String, String, Option<String>)>;

fn layout(connection: &Connection) -> rusqlite::Result<Layout> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_schema")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Opens a connection that cannot write on a store of ours.
pub(super) fn open_to_look(directory: &Path) -> Result<Connection, OpenError> {
    let path = directory.join(FILE);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { path: directory.to_owned() });
        }
        Err(source) => return Err(OpenError::Directory { path, source }),
        Ok(_) => {}
    }
    let connection = open_reader(directory)?;
    check_ours(&connection, directory)?;
    Ok(connection)
}

/// An error if it is not a store that this relay reads.
pub(super) fn check_ours(connection: &Connection, directory: &Path) -> Result<(), OpenError> {
    let is_new = check(connection, &directory.join(FILE))?;
    if is_new { Err(OpenError::Missing { path: directory.to_owned() }) } else { Ok(()) }
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(directory: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join(FILE), flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    plan_once(&connection)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// What makes the tables of a new store.
pub(super) fn tables() -> String {
    format!(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL, sum AS ({META_SUM}) STORED) WITHOUT ROWID;
         CREATE TABLE epoch (first INTEGER PRIMARY KEY, value INTEGER NOT NULL, sum AS ({EPOCH_SUM}) STORED);
         CREATE TABLE cursor (sink INTEGER PRIMARY KEY, low INTEGER NOT NULL, sum AS ({CURSOR_SUM}) STORED);
         {TABLES} {LATER_TABLES} {}",
        letter_tables()
    )
}

fn letter_tables() -> String {
    format!(
        "CREATE TABLE letter_count (sink INTEGER PRIMARY KEY, letters INTEGER NOT NULL, sum AS ({COUNT_SUM}) STORED);
         CREATE TABLE letter_size (number INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, sum AS ({SIZE_SUM}) STORED);
         {LETTER_TRIGGERS} {COUNT_LETTERS}"
    )
}

/// A damaged size would have the policy let go of letters that it means to keep.
fn count_letters(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'letter_count'";
    let is_counted: bool = connection.query_row(sql, [], |row| row.get(0))?;
    let sql = if !is_counted {
        letter_tables()
    } else if small::counts_are_damaged(connection)? {
        tracing::error!("the counts of dead letters are damaged: they are counted anew");
        COUNT_LETTERS.to_owned()
    } else {
        return Ok(());
    };
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {sql} COMMIT;"))
}

fn create(connection: &Connection, born: u64) -> rusqlite::Result<()> {
    let create = format!(
        "BEGIN IMMEDIATE; {} INSERT INTO meta VALUES ('keys_from', 0); INSERT INTO epoch VALUES (1, {born});
         PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT;",
        tables()
    );
    connection.execute_batch(&create)
}
