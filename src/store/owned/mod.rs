//! Who owns how many tokens of a contract package, as last observed, and who has to be looked at again: what the
//! stream `nft-token-ownership` is made of.
//!
//! A *holding* is the number of tokens that an owner was last seen to have. A *due* says that an owner has to be asked
//! for; a *mark* makes or renews it. A *collection* is a package of which all holdings were seen once.
//!
//! # Invariants
//! 1. A mark is written in the transaction that accepts the event that it comes from, if a route wants that event, and
//!    in any case before anything that came later on the same connection; unless its owner is due already and the
//!    question has not begun, which then is about this mark as well. After a crash such a due has its first cause.
//! 2. A holding changes in the transaction that accepts the event about it; so whatever crashes, each change is told
//!    once. Only one task observes, and it waits for each commit.
//! 3. A due goes only if it was not marked again since its question began: from then on each mark has a number of its
//!    own, which rises. What began first is decided under one lock ([`inbox`]).
//! 4. An owner without tokens has no row. The revision of an event is above the number of every event before it, so
//!    it rises with each event about one owner though rows go and come again.
//!
//! Rows are found by 63 bits of a hash over the texts, and hold the texts: a row of another text counts as none.

mod inbox;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{OpenError, Stopped};
use super::writer::Command;
use super::{Candidate, Store, schema};
use crate::event::{EventId, Sequence};

pub(super) use inbox::Inbox;
pub(crate) use inbox::Marked;

/// Holdings read in one go.
const PAGE_ROWS: usize = 2_000;

/// How many tokens of a package somebody was last seen to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) package: Arc<str>,
    pub(crate) owner: Arc<str>,
    /// 0 account, 1 contract.
    pub(crate) owner_type: Option<u8>,
    /// Above 0 in a row.
    pub(crate) tokens: u64,
    /// That of the last event about it; 0 if there was none.
    pub(crate) revision: u64,
}

/// The action of a token that is behind a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) event: EventId,
    pub(crate) deploy_hash: Option<Box<str>>,
    pub(crate) token_id: Option<Box<str>>,
}

/// Says that something happened to the tokens of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) package: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) cause: Arc<Cause>,
}

/// An owner who has to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) package: Arc<str>,
    pub(crate) owner: Arc<str>,
    /// That of its last mark.
    pub(crate) number: u64,
    /// How often CSPR.cloud was asked since that mark.
    pub(crate) looks: u8,
    /// That of the last mark; `None` if a walk missed the owner.
    pub(crate) cause: Option<Arc<Cause>>,
}

/// A step of what was observed. The steps of one [`Store::observe`] are one transaction.
#[derive(Clone, Debug)]
pub(crate) enum Observed {
    /// Without tokens the row goes.
    Holding(Holding),
    /// The due goes, unless it was marked again.
    Settled(Due),
    /// The due stays, and has this many looks behind it, unless it was marked again.
    Again(Due),
    /// An owner whom a walk missed has to be asked for, unless that is so already.
    Missed { package: Arc<str>, owner: Arc<str> },
    /// All holdings of the package were seen; dues up to this number were among them.
    Walked { package: Arc<str>, dues_to: u64 },
    /// Nobody asks for the package any more: its dues go.
    Unwatched { package: Arc<str> },
}

/// What has gathered for the next commit.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) marks: Vec<Mark>,
    pub(super) observed: Vec<Observed>,
    pub(super) done: Vec<oneshot::Sender<()>>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.observed.is_empty() && self.done.is_empty()
    }

    /// It is durable.
    pub(super) fn finish(&mut self) {
        for done in std::mem::take(self).done {
            // Whoever no longer waits was aborted.
            let _unwanted = done.send(());
        }
    }
}

/// The writer's half.
pub(super) struct Owned {
    next_number: u64,
    inbox: Arc<Inbox>,
    /// Written, and not yet durable.
    written: Vec<Due>,
}

impl Owned {
    /// Reads the dues that earlier runs left.
    pub(super) fn open(connection: &Connection) -> rusqlite::Result<Self> {
        let dues = rows::dues(connection)?;
        let next_number = dues.iter().map(|due| due.number).max().unwrap_or(0) + 1;
        let inbox = Arc::new(Inbox::default());
        inbox.put(dues);
        Ok(Self { next_number, inbox, written: Vec::new() })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    pub(super) fn write(&mut self, connection: &Connection, plan: &Plan) -> rusqlite::Result<()> {
        self.written.clear();
        for mark in &plan.marks {
            if self.inbox.join(mark) {
                continue;
            }
            let (package, owner) = (Arc::clone(&mark.package), Arc::clone(&mark.owner));
            self.put(connection, Due { package, owner, number: 0, looks: 0, cause: Some(Arc::clone(&mark.cause)) })?;
        }
        plan.observed.iter().try_for_each(|observed| self.apply(connection, observed))
    }

    fn apply(&mut self, connection: &Connection, observed: &Observed) -> rusqlite::Result<()> {
        match observed {
            Observed::Holding(holding) => rows::put_holding(connection, holding),
            Observed::Settled(due) if rows::is_current(connection, due)? => rows::remove_due(connection, due),
            Observed::Again(due) if rows::is_current(connection, due)? => rows::put_due(connection, due),
            Observed::Settled(_) | Observed::Again(_) => Ok(()),
            Observed::Missed { package, owner } if rows::due(connection, package, owner)?.is_none() => {
                let (package, owner) = (Arc::clone(package), Arc::clone(owner));
                self.put(connection, Due { package, owner, number: 0, looks: 0, cause: None })
            }
            Observed::Missed { .. } => Ok(()),
            Observed::Walked { package, dues_to } => {
                self.remove_dues(connection, package, *dues_to)?;
                rows::walked(connection, package)
            }
            Observed::Unwatched { package } => self.remove_dues(connection, package, u64::MAX),
        }
    }

    fn put(&mut self, connection: &Connection, due: Due) -> rusqlite::Result<()> {
        let due = Due { number: self.next_number, ..due };
        self.next_number += 1;
        rows::put_due(connection, &due)?;
        self.written.push(due);
        Ok(())
    }

    fn remove_dues(&self, connection: &Connection, package: &str, to: u64) -> rusqlite::Result<()> {
        if to == 0 {
            return Ok(());
        }
        // Before the rows go: a mark must not join a due that has none.
        self.inbox.forget(package, to);
        rows::remove_dues(connection, package, to)
    }

    /// What was written is durable.
    pub(super) fn publish(&mut self) {
        self.inbox.put(std::mem::take(&mut self.written));
    }
}

impl Store {
    /// As [`Self::accept`], with the marks that these events, and others that no route wants, leave behind.
    pub(crate) async fn accept_marking(&self, events: Vec<Candidate>, marks: Vec<Mark>) -> Result<(), Stopped> {
        let permit = Arc::clone(&self.accepts).acquire_owned().await.map_err(|_| Stopped)?;
        self.commands.send(Command::Accept { events, marks, permit }).await.map_err(|_| Stopped)
    }

    /// Writes down what was observed and accepts the events about it, in one transaction; returns when it is durable.
    /// If there is no room, that is when there is some.
    pub(crate) async fn observe(&self, observed: Vec<Observed>, events: Vec<Candidate>) -> Result<(), Stopped> {
        let (done, durable) = oneshot::channel();
        self.commands.send(Command::Observe { observed, events, done }).await.map_err(|_| Stopped)?;
        durable.await.map_err(|_| Stopped)
    }

    /// Dues that became durable since the last call, those of earlier runs first; waits until there is one. Marks of
    /// owners who were told of and not [asked for](Self::begin_asking) since do not end the wait. Cancel-safe.
    pub(crate) async fn marked(&self) -> Marked {
        self.marks.take().await
    }

    /// To be called before an owner is asked for: marks from then on are about what the answer may not know. The due
    /// with its newest cause and the number of marks that joined it since it was told of, if any could.
    pub(crate) fn begin_asking(&self, due: &Due) -> Option<(Due, u32)> {
        self.marks.begin(due)
    }

    /// What an owner was last seen to have.
    pub(crate) async fn holding(&self, package: &Arc<str>, owner: &Arc<str>) -> Result<Option<Holding>, Stopped> {
        let (package, owner) = (Arc::clone(package), Arc::clone(owner));
        self.reader.read(move |connection| rows::holding(connection, &package, &owner)).await
    }

    /// All holdings of a package; those of whom rows are damaged are missing.
    pub(crate) async fn holdings(&self, package: &Arc<str>) -> Result<Vec<Holding>, Stopped> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let package = Arc::clone(package);
            let read = move |connection: &Connection| rows::holdings(connection, &package, after, PAGE_ROWS);
            let page = self.reader.read(read).await?;
            all.extend(page.holdings);
            match page.next {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }

    /// Whether all holdings of the package were seen once.
    pub(crate) async fn is_walked(&self, package: &Arc<str>) -> Result<bool, Stopped> {
        let package = Arc::clone(package);
        self.reader.read(move |connection| rows::is_walked(connection, &package)).await
    }

    /// The place that the next event would get if no other came before it.
    pub(crate) fn next_place(&self) -> Sequence {
        self.epochs.sequence(self.recent.newest() + 1)
    }
}

/// The holdings in the directory of a relay, running or not, of a package, an owner or both. Reads only.
pub(crate) fn holdings(
    directory: &Path,
    package: Option<&str>,
    owner: Option<&str>,
) -> Result<Vec<Holding>, OpenError> {
    if !directory.join(schema::FILE).exists() {
        return Err(OpenError::Missing { path: directory.to_owned() });
    }
    let connection = schema::open_reader(directory)?;
    Ok(rows::find(&connection, package, owner)?)
}
