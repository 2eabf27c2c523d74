//! The number of the newest accepted event, written beside the database.
//!
//! A log that lost its end at the border of two commits looks exactly like one that never had it. So the number is
//! noted after each commit that accepted events and before any sink sees them: if it is higher than what the database
//! has, accepted events are gone. It is not synced, and need not be: the commit is durable already, so after a power
//! cut the note is at most too low. Commits that only settle deliveries are not vouched for; losing them repeats
//! deliveries. Nor are those of jobs: losing them takes a job back to where it was.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

pub(super) const FILE: &str = "newest";

/// What is noted in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vouched {
    /// No event, or there is no such file.
    Nothing,
    Newest(u64),
    /// The file is not what was written.
    Damaged,
}

/// The file, open for notes.
#[derive(Debug)]
pub(super) struct Vouch {
    file: File,
    has_failed: bool,
}

impl Vouch {
    /// Opens the file and begins with `newest`.
    pub(super) fn open(directory: &Path, newest: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(FILE))?;
        let line = line(newest);
        file.write_all_at(line.as_bytes(), 0)?;
        file.set_len(line.len() as u64)?;
        Ok(Self { file, has_failed: false })
    }

    /// Nothing but the next look at a damaged log depends on it, so a failure is told once and work goes on.
    pub(super) fn note(&mut self, newest: u64) {
        if let Err(error) = self.file.write_all_at(line(newest).as_bytes(), 0)
            && !std::mem::replace(&mut self.has_failed, true)
        {
            tracing::warn!(%error, "cannot note the newest event in `{FILE}`: a log that is cut may not be noticed");
        }
    }
}

pub(super) fn vouched(directory: &Path) -> io::Result<Vouched> {
    let bytes = match std::fs::read(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vouched::Nothing),
        other => other?,
    };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.split(' ').next()?.parse().ok());
    Ok(match number.filter(|number| line(*number).as_bytes() == bytes) {
        Some(0) => Vouched::Nothing,
        Some(newest) => Vouched::Newest(newest),
        None => Vouched::Damaged,
    })
}

/// Always as long, so that a note writes over the last one in place.
fn line(newest: u64) -> String {
    let number = format!("{newest:020}");
    let sum = crc32fast::hash(number.as_bytes());
    format!("{number} {sum:08x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_any_change_of_it_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(vouched(directory.path()).unwrap(), Vouched::Nothing);
        let mut vouch = Vouch::open(directory.path(), 0).unwrap();
        assert_eq!(vouched(directory.path()).unwrap(), Vouched::Nothing);
        vouch.note(1 << 40);
        assert_eq!(vouched(directory.path()).unwrap(), Vouched::Newest(1 << 40));
        let path = directory.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(vouched(directory.path()).unwrap(), Vouched::Damaged, "bit {bit}");
        }
        std::fs::write(&path, &whole[..10]).unwrap();
        assert_eq!(vouched(directory.path()).unwrap(), Vouched::Damaged);
    }
}
