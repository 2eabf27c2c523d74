//! Who is asked for when, and which packages are walked: a pure structure that is told what time it is.
//!
//! A due ripens `settle` after its first mark; later marks of a burst join it and do not put it off. An owner who is
//! being asked for and is marked again is asked for once more. When the dues of a package would cost more requests than
//! all its pages, the package is walked instead. Whom a walk did not meet has to be asked for alone: another walk would
//! not meet him either.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::compare::wait_before;
use crate::store::{Due, Marked};

/// Dues in memory; of a package whose dues find no place all owners are looked through.
const DUES_MAX: usize = 50_000;
/// Rows of one answer: the most that CSPR.cloud gives.
const PAGE_ROWS: usize = 250;
/// A walk costs a request a page, and brings nothing new of most rows: so it has to save more than that.
const ASKS_WORTH_A_PAGE: usize = 2;
const ASKS_WORTH_A_WALK: usize = 3;
/// A package of which something was not heard, or whose dues found no place, is walked a second time after this: REST
/// may have lagged behind.
const WALK_AGAIN: Duration = Duration::from_secs(60);

pub(super) type Key = (Arc<str>, Arc<str>);

/// A due and the marks that it stands for since it was last explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) due: Due,
    pub(super) marks: u32,
    at: Instant,
    /// A walk does not answer it.
    is_alone: bool,
}

impl Pending {
    pub(super) fn key(&self) -> Key {
        (Arc::clone(&self.due.package), Arc::clone(&self.due.owner))
    }

    /// The same with marks that came since.
    pub(super) fn joined(self, due: Due, marks: u32) -> Self {
        Self { due, marks: self.marks.saturating_add(marks), ..self }
    }

    /// The same after a look.
    pub(super) fn with(self, due: Due) -> Self {
        Self { due, is_alone: false, ..self }
    }
}

/// A package that is to be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) at: Instant,
    /// Walks before this one that met shifting pages.
    pub(super) tries: u32,
}

/// What is known of a watched package.
#[derive(Debug, Default)]
struct Package {
    /// Its first walk is over: a change can be told from what was there before.
    is_walked: bool,
    /// Owners met by the last walk.
    owners: usize,
    /// So many of its dues are ripe that they wait for a walk.
    waits: bool,
    /// The number of the last due that found no place in memory; 0: all have.
    beyond: u64,
    walk: Option<Walk>,
    /// After the walk that comes next, another one.
    walks_again: bool,
}

#[derive(Debug)]
pub(super) struct Schedule {
    settle: Duration,
    packages: BTreeMap<Arc<str>, Package>,
    pending: HashMap<Key, Pending>,
    queue: BTreeSet<(Instant, u64, Key)>,
    asking: HashSet<Key>,
    walking: Option<Arc<str>>,
}

impl Schedule {
    pub(super) fn new(settle: Duration) -> Self {
        let (packages, pending, queue) = Default::default();
        Self { settle, packages, pending, queue, asking: HashSet::new(), walking: None }
    }

    pub(super) fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    /// Begins to watch a package.
    pub(super) fn watch(&mut self, package: Arc<str>, is_walked: bool) {
        self.packages.entry(package).or_default().is_walked |= is_walked;
    }

    /// No longer watches a package; its dues go.
    pub(super) fn forget(&mut self, package: &str) {
        self.packages.remove(package);
        let gone: Vec<Key> = self.pending.keys().filter(|(of, _)| **of == *package).cloned().collect();
        gone.iter().for_each(|key| drop(self.remove(key)));
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = &Arc<str>> {
        self.packages.keys()
    }

    pub(super) fn watches(&self, package: &str) -> bool {
        self.packages.contains_key(package)
    }

    pub(super) fn is_walked(&self, package: &str) -> bool {
        self.packages.get(package).is_some_and(|known| known.is_walked)
    }

    /// Dues, those that are being asked for included.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.asking.len()
    }

    pub(super) fn is_asking(&self, key: &Key) -> bool {
        self.asking.contains(key)
    }

    /// The due of an owner who is not being asked for.
    pub(super) fn due(&self, key: &Key) -> Option<&Due> {
        self.pending.get(key).map(|pending| &pending.due)
    }

    /// Takes over what was marked; what concerns no watched package is left out.
    pub(super) fn mark(&mut self, marked: Marked, now: Instant) {
        for (due, marks) in marked.dues {
            let at = now + wait_before(due.looks, self.settle);
            // Without a cause: a walk has missed the owner.
            let is_alone = due.cause.is_none();
            self.add(Pending { due, marks, at, is_alone });
        }
        for (package, number) in marked.packages {
            self.overflow(&package, number, now + self.settle);
        }
    }

    /// Looks at an owner again later, unless it was marked meanwhile.
    pub(super) fn again(&mut self, pending: Pending, at: Instant) {
        if !self.pending.contains_key(&pending.key()) {
            self.add(Pending { at, ..pending });
        }
    }

    /// Asks for an owner whom a walk did not meet.
    pub(super) fn alone(&mut self, pending: Pending, at: Instant) {
        self.again(Pending { is_alone: true, ..pending }, at);
    }

    fn add(&mut self, mut pending: Pending) {
        let key = pending.key();
        if !self.packages.contains_key(&key.0) {
            return;
        }
        let known = self.remove(&key);
        if known.is_none() && self.pending.len() >= DUES_MAX {
            return self.overflow(&key.0, pending.due.number, pending.at);
        }
        if let Some(known) = known {
            pending.marks = pending.marks.saturating_add(known.marks);
            pending.at = pending.at.min(known.at);
            pending.is_alone |= known.is_alone;
        }
        self.queue.insert((pending.at, pending.due.number, key.clone()));
        self.pending.insert(key, pending);
    }

    fn overflow(&mut self, package: &Arc<str>, number: u64, at: Instant) {
        if let Some(known) = self.packages.get_mut(package) {
            known.beyond = number.max(known.beyond);
        }
        self.walk_at(package, at, 0);
    }

    fn remove(&mut self, key: &Key) -> Option<Pending> {
        let pending = self.pending.remove(key)?;
        self.queue.remove(&(pending.at, pending.due.number, key.clone()));
        Some(pending)
    }

    /// Asks for a walk of a package at the latest then.
    pub(super) fn walk_at(&mut self, package: &str, at: Instant, tries: u32) {
        let Some(known) = self.packages.get_mut(package) else { return };
        let earlier = known.walk.filter(|walk| walk.at <= at);
        known.walk = Some(earlier.unwrap_or(Walk { at, tries }));
    }

    pub(super) fn walk_all_at(&mut self, at: Instant) {
        let packages: Vec<Arc<str>> = self.packages.keys().cloned().collect();
        packages.iter().for_each(|package| self.walk_at(package, at, 0));
    }

    /// Asks for a walk of a package of which something may not have been heard until now, and for another one later.
    pub(super) fn walk_unheard(&mut self, package: &str, at: Instant) {
        self.walk_at(package, at, 0);
        if let Some(known) = self.packages.get_mut(package) {
            known.walks_again = true;
        }
    }

    /// The next owner to be asked for, which counts as asked for until [`Self::answered`].
    pub(super) fn take_ripe(&mut self, now: Instant) -> Option<Pending> {
        self.plan_walks_for_many(now);
        let (_, _, key) = self.queue.iter().take_while(|(at, ..)| *at <= now).find(|(_, _, key)| self.is_open(key))?;
        let key = key.clone();
        let pending = self.remove(&key)?;
        self.asking.insert(key);
        Some(pending)
    }

    pub(super) fn answered(&mut self, key: &Key) {
        self.asking.remove(key);
    }

    /// The next package to be walked, with all its ripe dues, for which the walk stands; one at a time.
    pub(super) fn take_walk(&mut self, now: Instant) -> Option<(Arc<str>, Walk, Vec<Pending>)> {
        if self.walking.is_some() {
            return None;
        }
        let due = self.packages.iter().filter_map(|(package, known)| Some((package, known.walk?)));
        let (package, walk) = due.filter(|(_, walk)| walk.at <= now).min_by_key(|(_, walk)| walk.at)?;
        let package = Arc::clone(package);
        let ripe: Vec<Key> = self.ripe_together(now).filter(|key| key.0 == package).cloned().collect();
        let held = ripe.iter().filter_map(|key| self.remove(key)).collect();
        if let Some(known) = self.packages.get_mut(&package) {
            known.walk = None;
        }
        self.walking = Some(Arc::clone(&package));
        Some((package, walk, held))
    }

    /// A walk is over. Gives the number up to which dues that found no place in memory were answered by it.
    pub(super) fn walked(&mut self, package: &str, owners: usize, now: Instant) -> u64 {
        self.walking = None;
        let Some(known) = self.packages.get_mut(package) else { return 0 };
        (known.is_walked, known.owners, known.waits) = (true, owners, false);
        let beyond = std::mem::take(&mut known.beyond);
        // A walk that waits already may be for what was not heard since this one began.
        let walks_again = known.walk.is_none() && std::mem::take(&mut known.walks_again);
        if beyond > 0 || walks_again {
            self.walk_at(package, now + WALK_AGAIN, 0);
        }
        beyond
    }

    /// A walk came to nothing; its dues are to be put back with [`Self::again`].
    pub(super) fn walk_failed(&mut self, package: &str, at: Instant, tries: u32) {
        self.walking = None;
        self.walk_at(package, at, tries);
    }

    /// When there is something to do next, given whether another owner could be asked for.
    pub(super) fn next_at(&self, may_ask: bool) -> Option<Instant> {
        let mut open = self.queue.iter().filter(|(_, _, key)| may_ask && self.is_open(key));
        let asks = open.next().map(|(at, ..)| *at);
        let walks = self.packages.values().filter(|_| self.walking.is_none()).filter_map(|known| known.walk);
        walks.map(|walk| walk.at).chain(asks).min()
    }

    /// Where the ripe dues of a package outnumber its pages by far, they wait for a walk.
    fn plan_walks_for_many(&mut self, now: Instant) {
        let mut ripe: HashMap<Arc<str>, usize> = HashMap::new();
        for key in self.ripe_together(now) {
            *ripe.entry(Arc::clone(&key.0)).or_default() += 1;
        }
        for (package, count) in ripe {
            let Some(known) = self.packages.get_mut(&package) else { continue };
            let pages = known.owners / PAGE_ROWS + 1;
            if !known.waits && count >= ASKS_WORTH_A_WALK + ASKS_WORTH_A_PAGE * pages {
                known.waits = true;
                self.walk_at(&package, now, 0);
            }
        }
    }

    /// Ripe dues that a walk can answer.
    fn ripe_together(&self, now: Instant) -> impl Iterator<Item = &Key> {
        let ripe = self.queue.iter().take_while(move |(at, ..)| *at <= now).map(|(_, _, key)| key);
        ripe.filter(|key| !self.is_alone(key))
    }

    fn is_alone(&self, key: &Key) -> bool {
        self.pending.get(key).is_some_and(|pending| pending.is_alone)
    }

    /// Whether an owner may be asked for. Before the first walk of a package nobody is: there is nothing to compare
    /// an answer with.
    fn is_open(&self, key: &Key) -> bool {
        let may_ask =
            self.packages.get(&key.0).is_some_and(|known| known.is_walked && (!known.waits || self.is_alone(key)));
        may_ask && !self.asking.contains(key)
    }
}

#[cfg(test)]
mod tests;
