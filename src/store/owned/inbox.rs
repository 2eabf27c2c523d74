//! Owners who are due and have not been asked for yet: between the writer and the task that asks.
//!
//! A mark of such an owner need not be written, for the due that waits for him is durable and its question begins
//! later. Whether it does is decided under one lock: a mark either joins before the question begins, or finds nobody
//! waiting and is written with a number of its own. So an owner of whom much is heard costs a row for each question,
//! and not for each mark; and the task is woken for that, too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Due, Mark};

/// Owners who wait here; of a package whose dues found no place, all owners have to be looked at.
const DUES_MAX: usize = 50_000;

type Key = (Arc<str>, Arc<str>);

/// What was marked.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    /// With the number of marks.
    pub(crate) dues: Vec<(Due, u32)>,
    /// Packages of which more was marked than fits, with the highest number.
    pub(crate) packages: HashMap<Arc<str>, u64>,
}

/// By package and owner.
#[derive(Debug, Default)]
pub(in crate::store) struct Inbox {
    content: Mutex<Content>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Content {
    /// Whose question has not begun, with the marks that nobody was told of.
    waiting: HashMap<Key, (Due, u32)>,
    /// Those of them that nobody was told of.
    fresh: Vec<Key>,
    packages: HashMap<Arc<str>, u64>,
}

impl Inbox {
    /// Takes in what is durable. Never waits.
    pub(super) fn put(&self, dues: Vec<Due>) {
        if dues.is_empty() {
            return;
        }
        let mut content = self.content();
        dues.into_iter().for_each(|due| content.put(due));
        drop(content);
        self.notify.notify_one();
    }

    /// Whether the question that the owner waits for stands for this mark, too. What a mark brought about waits for two
    /// more looks; so it does not join a due that has one behind it, or none to come.
    pub(super) fn join(&self, mark: &Mark) -> bool {
        let key = (Arc::clone(&mark.package), Arc::clone(&mark.owner));
        match self.content().waiting.get_mut(&key) {
            Some((due, marks)) if due.looks == 0 && due.cause.is_some() => {
                due.cause = Some(Arc::clone(&mark.cause));
                *marks = marks.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// The question begins: what is marked from now on does not belong to it. What was marked since it was told of.
    pub(super) fn begin(&self, due: &Due) -> Option<(Due, u32)> {
        let key = (Arc::clone(&due.package), Arc::clone(&due.owner));
        let mut content = self.content();
        let is_same = content.waiting.get(&key).is_some_and(|(waiting, _)| waiting.number == due.number);
        if is_same { content.waiting.remove(&key) } else { None }
    }

    /// No mark joins the dues of a package up to this number any more: their rows go.
    pub(super) fn forget(&self, package: &str, to: u64) {
        self.content().waiting.retain(|(of, _), (due, _)| **of != *package || due.number > to);
    }

    /// Everything that was put since the last call; waits until there is something. Cancel-safe.
    pub(super) async fn take(&self) -> Marked {
        loop {
            let marked = self.content().take();
            if !marked.dues.is_empty() || !marked.packages.is_empty() {
                return marked;
            }
            self.notify.notified().await;
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn put(&mut self, due: Due) {
        let key = (Arc::clone(&due.package), Arc::clone(&due.owner));
        let is_full = self.waiting.len() >= DUES_MAX;
        match self.waiting.get_mut(&key) {
            Some((known, marks)) => {
                *known = due;
                *marks = marks.saturating_add(1);
            }
            None if is_full => {
                let number = self.packages.entry(key.0).or_default();
                *number = due.number.max(*number);
                return;
            }
            None => drop(self.waiting.insert(key.clone(), (due, 1))),
        }
        self.fresh.push(key);
    }

    fn take(&mut self) -> Marked {
        let mut dues = Vec::with_capacity(self.fresh.len());
        for key in self.fresh.drain(..) {
            let Some((due, marks)) = self.waiting.get_mut(&key) else { continue };
            // Who is there twice, having been marked anew, was told of with the first.
            let marks = std::mem::take(marks);
            dues.extend((marks > 0).then(|| (due.clone(), marks)));
        }
        dues.sort_unstable_by_key(|(due, _)| due.number);
        Marked { dues, packages: std::mem::take(&mut self.packages) }
    }
}

impl Marked {
    /// The packages of all that was marked.
    pub(crate) fn all_packages(&self) -> HashSet<Arc<str>> {
        let dues = self.dues.iter().map(|(due, _)| &due.package);
        dues.chain(self.packages.keys()).map(Arc::clone).collect()
    }
}
