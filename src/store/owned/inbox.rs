//! Dues on their way from the writer to the task that asks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Due;

/// Dues that wait here; of a package whose dues found no place, all owners have to be looked at.
const DUES_MAX: usize = 20_000;

/// What was marked.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    /// With the number of marks.
    pub(crate) dues: Vec<(Due, u32)>,
    /// Packages of which more was marked than fits, with the highest number.
    pub(crate) packages: HashMap<Arc<str>, u64>,
}

/// By package and owner; later marks of one owner take the place of earlier ones.
#[derive(Debug, Default)]
pub(in crate::store) struct Inbox {
    content: Mutex<Content>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Content {
    dues: HashMap<(Arc<str>, Arc<str>), (Due, u32)>,
    packages: HashMap<Arc<str>, u64>,
}

impl Inbox {
    /// Never waits.
    pub(super) fn put(&self, dues: Vec<Due>) {
        if dues.is_empty() {
            return;
        }
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        dues.into_iter().for_each(|due| content.put(due));
        drop(content);
        self.notify.notify_one();
    }

    /// Everything that is there; waits until there is something. Cancel-safe.
    pub(super) async fn take(&self) -> Marked {
        loop {
            let content = std::mem::take(&mut *self.content.lock().unwrap_or_else(PoisonError::into_inner));
            if !content.dues.is_empty() || !content.packages.is_empty() {
                let mut dues: Vec<(Due, u32)> = content.dues.into_values().collect();
                dues.sort_unstable_by_key(|(due, _)| due.number);
                return Marked { dues, packages: content.packages };
            }
            self.notify.notified().await;
        }
    }
}

impl Content {
    fn put(&mut self, due: Due) {
        let key = (Arc::clone(&due.package), Arc::clone(&due.owner));
        let is_full = self.dues.len() >= DUES_MAX;
        match self.dues.get_mut(&key) {
            Some((known, marks)) => {
                *known = due;
                *marks = marks.saturating_add(1);
            }
            None if is_full => {
                let number = self.packages.entry(key.0).or_default();
                *number = due.number.max(*number);
            }
            None => drop(self.dues.insert(key, (due, 1))),
        }
    }
}

impl Marked {
    /// The packages of all that was marked.
    pub(crate) fn all_packages(&self) -> HashSet<Arc<str>> {
        let dues = self.dues.iter().map(|(due, _)| &due.package);
        dues.chain(self.packages.keys()).map(Arc::clone).collect()
    }
}
