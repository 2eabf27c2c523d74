//! What the stream `nft-token-ownership` has to do, and how far it has come.

use std::sync::{Mutex, PoisonError};

use super::{Counter, Gauge};

#[derive(Debug, Default)]
pub(crate) struct OwnershipMetrics {
    /// Contract packages that are watched.
    pub(crate) packages: Gauge,
    /// Owners who are to be asked for, those that are being asked for included.
    pub(crate) due: Gauge,
    /// Answers about one owner.
    pub(crate) looks: Counter,
    /// Packages of which all owners were looked through.
    pub(crate) walks: Counter,
    /// When that was done last.
    pub(crate) walked_at: Gauge,
    /// Numbers of tokens that were found to be others than before.
    pub(crate) changes: Counter,
    /// Questions that got no answer.
    pub(crate) failures: Counter,
    trouble: Mutex<Option<String>>,
}

impl OwnershipMetrics {
    /// Why CSPR.cloud cannot be asked; nothing if its last answer was one.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
