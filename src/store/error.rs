//! What can go wrong with the store: when each happens and what the operator can do.

use std::path::PathBuf;

/// The store cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The data directory cannot be made or written.
    #[error("cannot use the data directory {path}: {source}; it must be a directory that this user may write")]
    Directory { path: PathBuf, source: std::io::Error },
    /// Only for those who look: a relay makes its store.
    #[error("there is no store in {path}: no relay has run with this data directory")]
    Missing { path: PathBuf },
    /// Where a store is to be made there is something already.
    #[error("{path} is not empty; name a directory that does not exist yet")]
    Occupied { path: PathBuf },
    /// Events were accepted here, and the database is gone.
    #[error(
        "the database {path} is missing or empty, but {newest} events were accepted into it (says `newest` beside it); \
         bring it back, or look for another volume; to begin anew and lose what it held, remove `newest` too"
    )]
    Vanished { path: PathBuf, newest: u64 },
    /// Another process has it.
    #[error(
        "the data directory {path} is in use by another relay ({holder}); stop that one, or set another store.path"
    )]
    Locked { path: PathBuf, holder: String },
    /// Written by a relay of another generation.
    #[error(
        "{path} has store format {found}, this relay reads format {expected}; run the version that wrote it, \
         or point store.path at an empty directory"
    )]
    Format { path: PathBuf, found: i64, expected: i64 },
    /// A SQLite database, but not one of ours.
    #[error("{path} is a database of another program; set store.path to a directory of the relay's own")]
    Foreign { path: PathBuf },
    /// What everything else is understood by is damaged: going on would lose deliveries.
    #[error(
        "the store is damaged where a relay cannot do without: {what}; nothing was changed. Look at all of it with \
         `cspr-relay store verify`, and make a whole one of what can be read with `cspr-relay store rebuild`"
    )]
    Damaged { what: String },
    /// SQLite says no: not a database, damaged beyond opening, no space.
    #[error(
        "cannot open the store: {0}; if it is damaged, `cspr-relay store rebuild` makes a whole one of what can be read"
    )]
    Database(#[from] rusqlite::Error),
    /// A thread could not be started.
    #[error("cannot start the store's thread: {0}")]
    Thread(std::io::Error),
}

/// The store has stopped; whoever asks can only stop too. The reason was reported where it happened.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store has stopped")]
pub(crate) struct Stopped;
