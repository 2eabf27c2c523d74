//! The directory of a demonstration: the relay's data, and its log.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

const LOG: &str = "relay.log";

/// Removed with all that is in it when this is dropped, unless it is to stay.
pub(crate) struct Home {
    path: PathBuf,
    stays: bool,
}

impl Home {
    /// `keep`, which must be empty or absent and stays; or else a new one among the temporary files.
    pub(crate) fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let path = match keep {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("cspr-relay-demo-{:08x}", fastrand::u32(..))),
        };
        // A temporary one must be new: whoever made it before could have left something in it.
        let made = DirBuilder::new().recursive(keep.is_some()).mode(0o700).create(&path);
        made.with_context(|| format!("making the directory {}", path.display()))?;
        let mut entries = std::fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} is not empty: the demonstration counts from zero, so give it a directory of its own",
            path.display()
        );
        Ok(Self { path, stays: keep.is_some() })
    }

    pub(crate) fn create_log(&self) -> anyhow::Result<File> {
        let path = self.log();
        File::create(&path).with_context(|| format!("creating the log {}", path.display()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    pub(super) fn stays(&self) -> bool {
        self.stays
    }

    /// Leaves the directory where it is.
    pub(super) fn stay(&mut self) {
        self.stays = true;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.stays {
            // What cannot be removed now is left to whoever cleans the temporary files.
            let _removed = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_home_goes_and_a_kept_one_stays() {
        let temporary = Home::new(None).unwrap();
        let path = temporary.path().to_owned();
        temporary.create_log().unwrap();
        drop(temporary);
        assert!(!path.exists());
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let kept = Home::new(Some(&path)).unwrap();
        kept.create_log().unwrap();
        drop(kept);
        assert!(path.join(LOG).exists());
        assert!(Home::new(Some(&path)).is_err(), "not empty");
    }
}
