//! The only code that touches the disk: events, one delivery queue per sink, dead letters, known ids, quarantine.
//!
//! SQLite in WAL mode with `synchronous=FULL`. One thread owns the only writing connection and commits whatever has
//! gathered while the last commit was being synced; another thread reads.
//!
//! # Invariants
//! 1. An event is accepted when the commit that holds its body, its batch record and so all its deliveries returned.
//!    Nothing is handed to a sink before that.
//! 2. A delivery (event, sink) is **pending** if and only if there is a `waiting` or a `held` row, or the event's batch
//!    record names the sink, `seq > low(sink)` and there is no `settled` row. Every transition is one transaction; `low`
//!    moves past an event only in or after the transaction that settled it, or made it wait or be held. A replay makes
//!    a delivery wait that is not pending, also to a sink that the record does not name; a `settled` row of it stays
//!    until it is settled anew.
//! 3. A lane with a `held` row of a sink has a `waiting` row of that sink with a lower sequence number, or one of a
//!    replay that came in between.
//! 4. An event's body is deleted only when none of its deliveries is pending. So a pending delivery without a body
//!    is damage, is reported, and becomes a dead letter.
//! 5. A batch record is deleted only when all its bodies are gone, its ids are forgotten and every `low` is past it.
//! 6. Every row bears a checksum over table, key and content. Those of `name`, `meta`, `epoch` and `cursor`, which are
//!    looked at in SQL, have it in a column of its own and are checked at start, all others whenever they are read.
//!    `letter_count` and `letter_size` are sums over `dead` and `dead_body`: damaged, they are counted anew at start.
//! 7. After any failure of a commit other than "no space", nothing more is written: the process ends. A commit that
//!    found no space is rolled back, its ids are taken back, and it is tried again.
//!
//! # On disk
//! `lock` (owner, held as long as the process lives), `newest` (see [`vouch`]), `relay.db` and `relay.db-wal`:
//!
//! | table | key | row |
//! |---|---|---|
//! | `batch` | first seq | when accepted; per event: stream, id, base key, lane, size, sinks with their routes |
//! | `event` | seq | the message |
//! | `cursor` | sink | `low`: all deliveries up to here are settled, waiting or held |
//! | `settled` | sink, seq | when, attempts, outcome; when it was delivered, if a later replay ended otherwise |
//! | `waiting` | sink, seq | failed at least once: lane, due, attempts |
//! | `held` | sink, seq | behind a waiting one: lane |
//! | `attempt` | sink, seq, number | a failed attempt: when, cause, status, detail |
//! | `dead`, `dead_body` | sink, seq; seq | a dead letter with all that is known of it, so that it outlives the event |
//! | `quarantine` | number | a message that could not be handled, raw, with the reason |
//! | `lookup` | kind, range, bucket | sorted keys of a closed range of events: id → seq, lane → seq |
//! | `pause` | sink | that nothing is attempted there: since when, by whom, why |
//! | `letter_count`, `letter_size` | sink; none | how many dead letters it has, how much all their messages take; kept by triggers |
//! | `job` | number | an operator's work on what is stored, and how far it has come |
//! | `holding` | package, owner | how many tokens somebody was last seen to own (`owned`) |
//! | `due` | package, owner | that somebody has to be asked for, and the action behind it |
//! | `collection` | package | that all its holdings were seen once |
//! | `spent` | 0 | requests to CSPR.cloud's REST API in the last day, by the hour |
//! | `gap` | number | a span in which a stream was not heard, why, and what was done about it |
//! | `heard` | stream | up to when it was heard |
//! | `audited` | stream | up to when what it told was held against what REST lists |
//! | `name` | number | names of sinks and routes, referred to by number |
//! | `epoch` | first seq | the epochs of sequences |
//! | `meta` | key | where the known ids begin |
//!
//! The sequence number of an event is its place in the store; numbers ascend and are never reused.

mod accept;
mod bell;
mod catalog;
mod change;
mod claimed;
mod dead;
mod epoch;
mod error;
mod format;
mod gap;
mod history;
mod input;
mod inspect;
mod job;
mod known;
mod letters;
mod lock;
mod lookup;
mod overview;
mod owned;
mod past;
mod pause;
mod plan;
mod quarantine;
mod queue;
mod ranges;
mod reader;
mod rebuild;
mod recent;
mod repaired;
mod room;
mod roster;
mod schema;
mod settled;
mod small;
mod space;
mod spent;
mod start;
mod told;
mod transaction;
mod verify;
mod vouch;
mod wal;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use change::{Attempt, Change, End, Held, Paused, PausedBy, Replay, Settlement, Waiting};
pub(crate) use claimed::{Claimed, Page};
pub(crate) use error::{OpenError, Stopped};
pub(crate) use gap::{Audited, Gap, GapCause, GapChange, GapState, Heard, gaps};
pub(crate) use history::{Body, Events, History, Token, ToldOf, events};
pub(crate) use input::{Candidate, Quarantined, Settings};
pub(crate) use inspect::{Inspection, Known, inspect};
pub(crate) use job::{
    Counts, EventChoice, Job, JobState, Kept, LetterChoice, Order, Page as JobPage, QuarantineChoice, Step, Stored,
    Survey,
};
pub(crate) use letters::{LetterFilter, Listed, PastAttempt, Position, dead_letters};
pub(crate) use overview::{Overview, SinkOverview, overview};
pub(crate) use owned::{Cause, Due, Holding, Mark, Marked, Observed, holdings};
pub(crate) use past::{PastDelivery, State};
pub(crate) use quarantine::{QuarantinedMessage, quarantine};
pub(crate) use rebuild::{Rebuilt, rebuild};
pub(crate) use repaired::{Fate, Knowledge, Repaired};
pub(crate) use told::LastTold;
pub(crate) use verify::{Report, verify};

use crate::clock::Clock;
use crate::config::{BacklogConfig, SinkName};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, SinkMetrics};
use bell::Bell;
use reader::{Look, Reader};
pub(crate) use recent::AcceptedEvent;
use recent::Recent;
use roster::{Joined, RosterChange};
use writer::Command;

/// Commands that may wait for the writer; accepts among them are limited to [`ACCEPTS_MAX`].
const COMMANDS_MAX: usize = 256;
/// The commit in progress and the next.
const ACCEPTS_MAX: usize = 2;
/// Deliveries of one sink that are settled and not yet durably so. Together with those in flight they are what a crash
/// may send again; a sink that has so many waits for the commit.
const UNRECORDED_MAX: usize = 1024;

/// The number of a sink in one store; never reused for another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SinkId(pub(crate) u32);

/// An open store. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    commands: mpsc::Sender<Command>,
    reader: Reader,
    accepts: Arc<Semaphore>,
    recent: Arc<Recent>,
    roster: Arc<Mutex<Roster>>,
    surveys: job::Surveys,
    marks: Arc<owned::Inbox>,
    epochs: epoch::Epochs,
}

/// Who is served, and who is owed something and is not.
#[derive(Debug)]
struct Roster {
    sinks: BTreeMap<SinkName, SinkId>,
    /// With the number of deliveries that were pending when the sink left.
    parked: BTreeMap<SinkName, u64>,
}

/// The queue of one sink, as it was found at start, and the way to read on and to record changes.
pub(crate) struct SinkStore {
    pub(crate) id: SinkId,
    pub(crate) found: Found,
    bell: Arc<Bell>,
    /// The newest event at that time: only up to here can a fresh delivery be settled already.
    tail_at_start: u64,
    commands: mpsc::Sender<Command>,
    unrecorded: Arc<Semaphore>,
    reader: Reader,
    recent: Arc<Recent>,
}

/// The places of one sink's settlements that are on their way to disk.
fn unrecorded() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(UNRECORDED_MAX))
}

/// A sink's queue at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Everything up to here is settled, waiting or held.
    pub(crate) low: u64,
    pub(crate) waiting: Vec<Waiting>,
    /// Ascending.
    pub(crate) held: Vec<Held>,
    /// Settled beyond `low`; ascending.
    pub(crate) settled: Vec<u64>,
    pub(crate) paused: Option<Paused>,
}

impl Found {
    /// The numbers beyond `low` that are not fresh.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = u64> {
        let rows = self.waiting.iter().map(|waiting| waiting.seq).chain(self.held.iter().map(|held| held.seq));
        rows.filter(|seq| *seq > self.low).chain(self.settled.iter().copied())
    }
}

/// A store that is open but at rest, with the queues of the configured sinks.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) queues: Vec<(SinkName, SinkStore)>,
}

impl Store {
    /// Locks the directory, repairs a torn tail, reads what is known, and starts the two threads. Events that were
    /// accepted before are in the queues. Blocks while it reads: about a second per two million known ids.
    pub(crate) fn open(
        settings: Settings,
        clock: Clock,
        metrics: Arc<Metrics>,
        lifecycle: &Lifecycle,
    ) -> Result<Opened, OpenError> {
        start::open(settings, clock, metrics, lifecycle)
    }

    /// The number of the newest event that is durable.
    pub(crate) fn newest(&self) -> u64 {
        self.recent.newest()
    }

    pub(crate) fn sink_id(&self, name: &SinkName) -> Option<SinkId> {
        self.roster().sinks.get(name).copied()
    }

    /// Sinks that are not configured but were owed deliveries when they left, with the number of these.
    pub(crate) fn parked(&self) -> BTreeMap<SinkName, u64> {
        self.roster().parked.clone()
    }

    /// Makes room for a sink: a new one, or one that comes back to its parked deliveries.
    pub(crate) async fn join(
        &self,
        name: &SinkName,
        backlog: BacklogConfig,
        metrics: Arc<SinkMetrics>,
    ) -> Result<SinkStore, Stopped> {
        let (done, joined) = oneshot::channel();
        let change = RosterChange::Join { name: name.clone(), backlog, metrics, done };
        self.commands.send(Command::Roster(change)).await.map_err(|_| Stopped)?;
        let Joined { id, found, bell, tail } = joined.await.map_err(|_| Stopped)?;
        let mut roster = self.roster();
        roster.parked.remove(name);
        roster.sinks.insert(name.clone(), id);
        let (commands, reader, recent) = (self.commands.clone(), self.reader.clone(), Arc::clone(&self.recent));
        let unrecorded = unrecorded();
        Ok(SinkStore { id, found, bell, tail_at_start: tail, commands, unrecorded, reader, recent })
    }

    /// Parks a sink whose deliveries nobody takes any more, and says how many there are. What routes still hand over
    /// for it is parked with them.
    pub(crate) async fn leave(&self, name: &SinkName) -> Result<u64, Stopped> {
        let Some(sink) = self.sink_id(name) else { return Ok(0) };
        let (done, left) = oneshot::channel();
        self.commands.send(Command::Roster(RosterChange::Leave { sink, done })).await.map_err(|_| Stopped)?;
        let pending = left.await.map_err(|_| Stopped)?;
        let mut roster = self.roster();
        roster.sinks.remove(name);
        if pending > 0 {
            roster.parked.insert(name.clone(), pending);
        }
        Ok(pending)
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands events over to be accepted in the next commit; known ones are dropped there. Returns when the store has
    /// taken them, which is when the commit before the last one is done: waiting here is the back-pressure. Durable
    /// when the sinks see them, not before.
    pub(crate) async fn accept(&self, events: Vec<Candidate>) -> Result<(), Stopped> {
        self.accept_marking(events, Vec::new()).await
    }

    /// Keeps a message that could not be handled.
    pub(crate) async fn quarantine(&self, message: Quarantined) -> Result<(), Stopped> {
        self.commands.send(Command::Quarantine(message)).await.map_err(|_| Stopped)
    }

    /// Lets the store look after itself: retention, space, index building. To be called about once a second.
    ///
    /// A range of events that was closed gets its index here, a part with each commit, so that no commit is held up.
    /// Dropping the call in between leaves the range without, and it is built again.
    pub(crate) async fn tick(&self) -> Result<(), Stopped> {
        self.commands.send(Command::Tick).await.map_err(|_| Stopped)?;
        let mut rows = self.reader.index().await?.into_iter().peekable();
        while rows.peek().is_some() {
            let rows = rows.by_ref().take(lookup::COMMIT_ROWS_MAX).collect();
            let (done, durable) = oneshot::channel();
            self.commands.send(Command::Index { rows, done }).await.map_err(|_| Stopped)?;
            if durable.await.is_err() {
                // There is no room for it now.
                break;
            }
        }
        Ok(())
    }

    /// Waits until everything handed over so far is durable, then closes the file.
    pub(crate) async fn close(self) -> Result<(), Stopped> {
        let (done, closed) = oneshot::channel();
        self.commands.send(Command::Close { done }).await.map_err(|_| Stopped)?;
        closed.await.map_err(|_| Stopped)
    }
}

impl SinkStore {
    /// The next deliveries after `after` in order of sequence, at most about `max`, and how far the look went; nothing
    /// when there is none yet. Cancel-safe.
    pub(crate) async fn fresh(&self, after: u64, max: usize) -> Result<Page, Stopped> {
        // In this order: a bell that has not rung for anything up to there never will.
        let (rung_to, newest) = (self.recent.rung_to(), self.bell.newest());
        if newest <= after {
            // So what others got since need not be looked through.
            return Ok(Page { claimed: Vec::new(), scanned_to: rung_to.max(after) });
        }
        let after = after.max(self.bell.skipped());
        let page = match self.recent.page(self.id, after, max) {
            Some(page) => page,
            None => {
                let look = Look { sink: self.id, after, max, settled_to: self.tail_at_start };
                self.reader.fresh(look).await?
            }
        };
        self.bell.saw(page.scanned_to);
        Ok(page)
    }

    /// One delivery whose sequence number is known.
    pub(crate) async fn load(&self, seq: u64) -> Result<Claimed, Stopped> {
        self.reader.load(self.id, seq).await
    }

    /// Hands changes over for the next commit, where they are one transaction. A crash before that commit leaves the
    /// queue as it was, so what was sent may be sent again, with the same id. Waits while [`UNRECORDED_MAX`]
    /// settlements of this sink are on their way.
    pub(crate) async fn record(&self, changes: Vec<Change>) -> Result<(), Stopped> {
        let settlements = changes.iter().filter(|change| matches!(change, Change::Settle(_))).count();
        let places = u32::try_from(settlements.min(UNRECORDED_MAX)).unwrap_or(0);
        let places = Arc::clone(&self.unrecorded).acquire_many_owned(places).await.map_err(|_| Stopped)?;
        self.commands.send(Command::Changes { sink: self.id, changes, places }).await.map_err(|_| Stopped)
    }

    /// As [`Self::record`], and returns when the commit has.
    pub(crate) async fn record_durably(&self, changes: Vec<Change>) -> Result<(), Stopped> {
        self.record(changes).await?;
        let (done, durable) = oneshot::channel();
        self.commands.send(Command::Sync { done }).await.map_err(|_| Stopped)?;
        durable.await.map_err(|_| Stopped)
    }

    /// Whether there may be more after `cursor`.
    pub(crate) fn has_fresh(&self, cursor: u64) -> bool {
        self.bell.newest() > cursor
    }

    /// Replays that became durable since the last call. What is not taken is found at the next start.
    pub(crate) fn take_replays(&self) -> Vec<Replay> {
        self.bell.take_replays()
    }

    /// Says how many deliveries wait, so that no more is replayed than can be sent.
    pub(crate) fn tell_waiting(&self, count: usize) {
        self.bell.tell_waiting(count);
    }

    /// Completes when something new for this sink has been accepted since the last call. Cancel-safe.
    pub(crate) async fn rung(&self) {
        self.bell.notify.notified().await;
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("roster", &self.roster).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
