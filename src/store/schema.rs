//! The database file: opening it, its tables, its version.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;

pub(super) const FILE: &str = "relay.db";
pub(super) const WAL_FILE: &str = "relay.db-wal";

/// Raised with every change that an older relay could not read.
const FORMAT: i64 = 1;
/// "CSPR" in ASCII, in the file's header, so that tools and we ourselves can tell whose file it is.
const APPLICATION: i64 = 0x4353_5052;

/// 1,500-byte events fill pages of 8 KiB better than the default of 4 KiB: five to a page instead of two.
const PAGE_BYTES: i64 = 8192;
const CACHE_KIB: i64 = 24 * 1024;
const READER_CACHE_KIB: i64 = 8 * 1024;
/// The WAL is folded into the file when it has grown to about 16 MiB.
const WAL_PAGES: i64 = 2000;

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE epoch (first INTEGER PRIMARY KEY, value INTEGER NOT NULL);
    CREATE TABLE name (number INTEGER PRIMARY KEY, kind INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (kind, text));
    CREATE TABLE batch (first INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE event (seq INTEGER PRIMARY KEY, row BLOB NOT NULL);
    CREATE TABLE cursor (sink INTEGER PRIMARY KEY, low INTEGER NOT NULL);
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
";

/// How many dead letters each sink has, and what their messages take, kept by the database itself, whoever writes:
/// counting a million takes a second.
const LETTER_COUNT: &str = "
    CREATE TABLE letter_count (sink INTEGER PRIMARY KEY, letters INTEGER NOT NULL);
    INSERT INTO letter_count SELECT sink, count(*) FROM dead GROUP BY sink;
    CREATE TABLE letter_size (bytes INTEGER NOT NULL);
    INSERT INTO letter_size SELECT coalesce(sum(length(row)), 0) FROM dead_body;
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

/// Opens the writing connection, making the file if there is none. `born` becomes the first epoch of a new store.
pub(super) fn open(directory: &Path, born: u64) -> Result<Connection, OpenError> {
    let path = directory.join(FILE);
    // SQLite gives the files beside it the same permissions.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.map_err(|source| OpenError::Directory { path: path.clone(), source })?;
    let connection = Connection::open(&path)?;
    // Before anything is set, so that what is not ours stays as it is.
    let is_new = check(&connection, &path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    if is_new {
        create(&connection, born)?;
    }
    connection.execute_batch(LATER_TABLES)?;
    count_letters(&connection)?;
    Ok(connection)
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

/// Opens a connection that cannot write.
pub(super) fn open_reader(directory: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join(FILE), flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

fn count_letters(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'letter_count'";
    let is_counted: bool = connection.query_row(sql, [], |row| row.get(0))?;
    if is_counted { Ok(()) } else { connection.execute_batch(&format!("BEGIN IMMEDIATE; {LETTER_COUNT} COMMIT;")) }
}

fn create(connection: &Connection, born: u64) -> rusqlite::Result<()> {
    let create = format!(
        "BEGIN IMMEDIATE; {TABLES} INSERT INTO meta VALUES ('keys_from', 0); INSERT INTO epoch VALUES (1, {born});
         PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT;"
    );
    connection.execute_batch(&create)
}
