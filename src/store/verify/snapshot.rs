//! Looking into a stopped relay's database without changing a byte of it.
//!
//! SQLite folds a log into the file, or at least makes files beside it, when it opens one. So a database with a log is
//! opened in a directory of its own: the database by a second name, the log as a copy. One without is opened as a file
//! that never changes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};

use crate::store::error::OpenError;
use crate::store::lock::{self, Lock};
use crate::store::{schema, wal};

const CACHE_KIB: i64 = 16 * 1024;

/// A connection that cannot write, on files that nobody writes.
pub(in crate::store) struct Snapshot {
    pub(in crate::store) connection: Connection,
    /// Goes after the connection.
    _scratch: Option<Scratch>,
    _lock: Option<Lock>,
}

/// A directory that goes with this.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "cannot remove a directory that is no longer needed");
        }
    }
}

/// The database is there and no relay has it. The lock is held as long as its owner lives.
pub(in crate::store) fn claim(directory: &Path) -> Result<Option<Lock>, OpenError> {
    let path = directory.join(schema::FILE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(OpenError::Missing { path: directory.to_owned() })
        }
        Err(source) => Err(OpenError::Directory { path, source }),
        Ok(_) => lock::hold(directory),
    }
}

impl Snapshot {
    /// Opens the database as SQLite understands it, with the commits of the log that it takes.
    pub(in crate::store) fn open(directory: &Path) -> Result<Self, OpenError> {
        let lock = claim(directory)?;
        let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
        let tail = wal::Log::read(&directory.join(schema::WAL_FILE)).map_err(failed)?.tail();
        let (scratch, connection) = if tail.valid == 0 {
            (None, open_unchanging(&directory.join(schema::FILE))?)
        } else {
            let scratch = beside(directory).map_err(failed)?;
            let connection = schema::open_reader(&scratch.0)?;
            (Some(scratch), connection)
        };
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(Self { connection, _scratch: scratch, _lock: lock })
    }
}

/// The database by a second name and a copy of its log. On a file system without second names it is copied too.
fn beside(directory: &Path) -> std::io::Result<Scratch> {
    let scratch = Scratch(directory.join(format!(".look-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    let (from, to) = (directory.join(schema::FILE), scratch.0.join(schema::FILE));
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(&from, &to)?;
    }
    fs::copy(directory.join(schema::WAL_FILE), scratch.0.join(schema::WAL_FILE))?;
    Ok(scratch)
}

fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let name = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)
}
