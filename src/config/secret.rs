//! Text that may be secret, and may come from a file that changes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use crate::clock;

/// A file is looked at again when its last look is at least this old.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A longer file is not a secret but a mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A configured text that does not print. One that comes from a file follows the file.
#[derive(Clone)]
pub struct Secret(Arc<[Part]>);

/// Texts and files that make up a secret, one after the other.
pub(super) enum Part {
    Text(SecretString),
    File(FollowedFile),
}

impl Secret {
    pub fn literal(text: impl Into<String>) -> Self {
        Self::new([Part::Text(SecretString::from(text.into()))])
    }

    pub(super) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// The present value. A file is read again if that was not done within the last second; one that cannot be read
    /// any more keeps its last good value, and the log says so. The read is small (64 KiB at most) and blocks.
    pub fn current(&self) -> SecretString {
        self.at(clock::monotonic())
    }

    fn at(&self, now: Instant) -> SecretString {
        let mut whole = String::new();
        for part in &*self.0 {
            match part {
                Part::Text(text) => whole.push_str(text.expose_secret()),
                Part::File(file) => whole.push_str(file.at(now).expose_secret()),
            }
        }
        SecretString::from(whole)
    }
}

/// Whether both are written the same way; a file counts as the same whatever is in it.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Part, &Part)| match (one, other) {
            (Part::Text(one), Part::Text(other)) => one.expose_secret() == other.expose_secret(),
            (Part::File(one), Part::File(other)) => one.path == other.path,
            _ => false,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&*other.0).all(same)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file whose content is taken anew when it changes.
pub(super) struct FollowedFile {
    path: PathBuf,
    last: Mutex<Look>,
}

struct Look {
    at: Instant,
    value: SecretString,
    is_readable: bool,
}

impl FollowedFile {
    /// Fails if the file cannot be read now.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let value = read(&path)?.into();
        let last = Mutex::new(Look { at: clock::monotonic(), value, is_readable: true });
        Ok(Self { path, last })
    }

    fn at(&self, now: Instant) -> SecretString {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(last.at) >= LOOK_EVERY {
            last.at = now;
            self.look_again(&mut last);
        }
        last.value.clone()
    }

    fn look_again(&self, last: &mut Look) {
        match read(&self.path) {
            Ok(value) => {
                last.value = value.into();
                last.is_readable = true;
            }
            Err(error) if last.is_readable => {
                last.is_readable = false;
                tracing::warn!(path = %self.path.display(), %error, "cannot read a secret again; its last value stays");
            }
            Err(_) => {}
        }
    }
}

/// The content without the newline at its end, which editors and `echo` add; an empty one is an error.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("the file is longer than 64 KiB"));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    if text.is_empty() {
        return Err(io::Error::other("the file is empty"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(path: &Path) -> Secret {
        Secret::new([Part::Text("Bearer ".into()), Part::File(FollowedFile::open(path.to_owned()).unwrap())])
    }

    fn value_after(secret: &Secret, seconds: u64) -> String {
        secret.at(clock::monotonic() + Duration::from_secs(seconds)).expose_secret().to_owned()
    }

    #[test]
    fn a_secret_follows_its_file_and_keeps_the_last_good_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let secret = follow(&path);
        std::fs::write(&path, "two\r\n").unwrap();
        assert_eq!(value_after(&secret, 0), "Bearer one", "looked at once a second at most");
        assert_eq!(value_after(&secret, 2), "Bearer two");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(value_after(&secret, 4), "Bearer two");
        std::fs::write(&path, "").unwrap();
        assert_eq!(value_after(&secret, 6), "Bearer two", "a file caught while it is being written");
        std::fs::write(&path, "three").unwrap();
        assert_eq!(value_after(&secret, 8), "Bearer three");
    }

    #[test]
    fn a_file_over_64_kib_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "x".repeat(64 * 1024)).unwrap();
        assert!(read(&path).is_ok());
        std::fs::write(&path, "x".repeat(64 * 1024 + 1)).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::literal("hunter2")), "Secret(…)");
    }
}
