//! `store rebuild`: a whole store of what can be read of a damaged one.
//!
//! Rows are taken from the pages themselves, each by its own checksum, so a damaged page costs its own rows and no
//! others. Then the invariants are made true again: a delivery whose message is lost becomes a dead letter, one of which
//! nothing says that it is over goes again, a message whose record is lost goes into quarantine. Look-up indexes are
//! made anew. If anything was damaged, sequences go on in a new epoch. The old directory stays as it is.

mod cells;
mod mend;
mod pages;
mod pour;
mod records;
#[cfg(test)]
mod tests;

use std::path::Path;

use rusqlite::Connection;

use super::epoch::Epochs;
use super::error::OpenError;
use super::ranges::Ranges;
use super::verify::{Report, claim, verify};
use super::vouch::{Vouch, Vouched};
use super::{lock, lookup, schema, start};
use crate::clock::{Clock, Timestamp};
use mend::{Hints, mend};
use pour::{Poured, pour};

/// What was made of a store.
#[derive(Clone, Debug)]
pub(crate) struct Rebuilt {
    /// What was found in the old one.
    pub(crate) before: Report,
    /// Rows taken over, by table.
    pub(crate) kept: Vec<(&'static str, u64)>,
    /// What is lost or changed, with the sequence numbers of the events.
    pub(crate) losses: Vec<(String, Ranges)>,
    /// Whether sequences go on in a new epoch.
    pub(crate) has_new_epoch: bool,
    /// What is found in the new one.
    pub(crate) after: Report,
}

/// Makes a new store in `to`, which must be absent or empty, of what can be read in `from`.
pub(crate) fn rebuild(from: &Path, to: &Path, clock: &Clock) -> Result<Rebuilt, OpenError> {
    let before = verify(from)?;
    let _old = claim(from)?;
    let is_occupied = to.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if is_occupied {
        return Err(OpenError::Occupied { path: to.to_owned() });
    }
    let _new = lock::lock(to)?;
    let now = clock.now();
    let mut connection = schema::open(to, now.0)?;
    connection.execute_batch("DELETE FROM epoch")?;
    let mut poured = pour(from, &connection)?;
    let first_epoch_is_lost = lead_epochs(&mut poured, now);
    let vouched = vouched(from)?;
    let hints = Hints { has_whole_queues: before.has_whole_queues(), vouched, now };
    let mut losses: Vec<(String, Ranges)> = mend(&mut connection, &poured, hints)?.into_iter().collect();
    losses.extend(lost_orders(&before));
    if first_epoch_is_lost {
        losses.push(("the first epoch: sequences of old events begin otherwise".to_owned(), Ranges::default()));
    }
    let next = start::next_seq(&connection)?;
    let has_new_epoch = !before.is_whole() || !losses.is_empty();
    if has_new_epoch {
        Epochs::begin(&connection, next, now)?;
    }
    index(&mut connection)?;
    Vouch::open(to, next - 1).map_err(|source| OpenError::Directory { path: to.to_owned(), source })?;
    connection.close().map_err(|(_, error)| error)?;
    drop(_new);
    let kept = poured.rows.into_iter().collect();
    Ok(Rebuilt { before, kept, losses, has_new_epoch, after: verify(to)? })
}

/// Old events have to have an epoch. Without the one they had, they get the highest that is not above what follows.
fn lead_epochs(poured: &mut Poured, now: Timestamp) -> bool {
    if poured.epochs.contains_key(&1) {
        return false;
    }
    let next = poured.epochs.values().next().copied().unwrap_or(now.0);
    poured.epochs.insert(1, next.saturating_sub(1));
    true
}

/// What belongs to no event, and nothing remembers.
fn lost_orders(before: &Report) -> impl Iterator<Item = (String, Ranges)> {
    let told = [
        ("pause", "pauses: their sinks are attempted again"),
        ("job", "jobs: what they had done stays done, and they do not go on"),
        ("spent", "counts of requests to the REST API: they are counted anew"),
        ("gap", "gaps: nobody knows of which spans"),
        ("heard", "notes of when a stream was last heard: the next start opens no gap for it"),
        ("audited", "notes of how far streams were audited: audits begin anew"),
        ("holding", "numbers of tokens that somebody owns: they are told as new"),
        ("due", "owners to be asked for: the next walk through their package finds what has changed"),
        ("collection", "packages that were seen in whole: the next walk through them is a baseline again"),
    ];
    let is_damaged = |table: &str| before.damage.iter().any(|finding| finding.table == table);
    let lost: Vec<_> = told.into_iter().filter(|(table, _)| is_damaged(table)).collect();
    lost.into_iter().map(|(_, what)| (format!("perhaps some {what}"), Ranges::default()))
}

fn vouched(directory: &Path) -> Result<u64, OpenError> {
    let vouched = start::vouched(directory)?;
    Ok(if let Vouched::Newest(newest) = vouched { newest } else { 0 })
}

fn index(connection: &mut Connection) -> rusqlite::Result<()> {
    while let Some(first) = lookup::due(connection)? {
        let index = lookup::build(connection, first)?;
        let transaction = super::transaction::Transaction::begin(connection)?;
        index.rows.iter().try_for_each(|row| transaction.index(row))?;
        transaction.commit()?;
    }
    Ok(())
}
