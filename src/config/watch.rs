//! Noticing that files have changed, by looking at them now and then.
//!
//! Looking works where notifications do not: on network volumes, and for files that Kubernetes exchanges by turning a
//! symbolic link. A change counts when it has settled: a file caught half written is looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often the files are looked at; a change is reported when nothing has changed from one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// Files and directories that are being watched. A file that does not exist is watched for its appearance.
#[derive(Debug)]
pub struct Watch {
    versions: BTreeMap<PathBuf, Option<Version>>,
}

impl Watch {
    /// Watches `paths` from their present state on.
    pub fn new(paths: BTreeSet<PathBuf>) -> Self {
        let look = |path: PathBuf| (path.clone(), version(&path));
        Self { versions: paths.into_iter().map(look).collect() }
    }

    /// Watches `paths` and nothing else. Those that were watched before keep the state that was last seen, so that a
    /// change in between is not missed.
    pub fn follow(&mut self, paths: BTreeSet<PathBuf>) {
        let mut known = std::mem::take(&mut self.versions);
        let look = |path: PathBuf| {
            let seen = known.remove(&path);
            let version = seen.unwrap_or_else(|| version(&path));
            (path, version)
        };
        self.versions = paths.into_iter().map(look).collect();
    }

    /// Completes when a watched file has changed and has come to rest. Cancel-safe.
    pub async fn changed(&mut self) {
        let mut is_moving = false;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let has_changed = self.look();
            if is_moving && !has_changed {
                return;
            }
            is_moving |= has_changed;
        }
    }

    /// Looks at every file; whether one differs from the last look. A look takes some microseconds a file.
    fn look(&mut self) -> bool {
        let mut has_changed = false;
        for (path, known) in &mut self.versions {
            let now = version(path);
            has_changed |= *known != now;
            *known = now;
        }
        has_changed
    }
}

fn version(path: &PathBuf) -> Option<Version> {
    let version = |meta: Metadata| Version {
        device: meta.dev(),
        inode: meta.ino(),
        bytes: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
    };
    std::fs::metadata(path).ok().map(version)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_way_in_which_a_file_changes_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["one", "two"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("c.yaml"), "same length").unwrap();
        }
        symlink("one", at("data")).unwrap();
        let mut watch = Watch::new([at("data/c.yaml"), at("data/later.yaml")].into());
        let changes: [(&str, &dyn Fn()); 4] = [
            ("a mounted volume is exchanged", &|| {
                symlink("two", at("next")).unwrap();
                std::fs::rename(at("next"), at("data")).unwrap();
            }),
            ("a file is written in place", &|| std::fs::write(at("two/c.yaml"), "another length").unwrap()),
            ("a file appears", &|| std::fs::write(at("two/later.yaml"), "").unwrap()),
            ("a file is removed", &|| std::fs::remove_file(at("two/c.yaml")).unwrap()),
        ];
        for (what, change) in changes {
            assert!(!watch.look(), "before: {what}");
            change();
            assert!(watch.look(), "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_when_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        let mut watch = Watch::new([path.clone()].into());
        let began = tokio::time::Instant::now();
        let writing = (1..=4).map(|n| write_after(&path, n));
        tokio::join!(watch.changed(), futures_util::future::join_all(writing));
        assert_eq!(began.elapsed(), Duration::from_secs(5), "one quiet second after the last write");
    }

    async fn write_after(path: &Path, n: u32) {
        tokio::time::sleep(n * Duration::from_millis(900)).await;
        std::fs::write(path, "x".repeat(n as usize)).unwrap();
    }
}
