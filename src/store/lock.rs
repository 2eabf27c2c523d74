//! One process owns a data directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::error::OpenError;

const FILE: &str = "lock";

/// Held as long as this lives; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the directory (0700) if needed and locks it.
pub(super) fn lock(directory: &Path) -> Result<Lock, OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let path = directory.join(FILE);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(failed)?;
    take(&mut file, directory)?;
    sign(&mut file).map_err(failed)?;
    Ok(Lock { _file: file })
}

/// Locks a directory for looking, without a change to it; `None` where no relay has ever locked it.
pub(super) fn hold(directory: &Path) -> Result<Option<Lock>, OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    let mut file = match File::open(directory.join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    take(&mut file, directory)?;
    Ok(Some(Lock { _file: file }))
}

fn take(file: &mut File, directory: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The name is a courtesy: without it the message still says what is wrong.
            let _read = file.read_to_string(&mut holder);
            Err(OpenError::Locked { path: directory.to_owned(), holder: holder.trim().to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(OpenError::Directory { path: directory.to_owned(), source }),
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {}", std::process::id())
}
