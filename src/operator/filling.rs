//! What becomes of the rows of a backfill.
//!
//! Page after page, in an order in which nothing that was listed goes away; the job's cursor is the number of rows that
//! were looked at, so after a restart it goes on with the page it was at. Each row is held against the store first:
//! - A token whose newest event tells the same state, or an action whose event is stored, goes as that event, judged
//!   like a replay: not if the sink has it, or is about to get it. So what a killed run has sent is not sent again.
//! - What the store does not have becomes an event for this sink alone. The writer refuses it if the stream has told of
//!   the token what a listing cannot have known ([`Fate::Behind`]); then the token is read alone, a few times, until
//!   REST knows that as well. If it never does, what the stream told last is sent: that is newer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::backfill::{Trouble, nothing};
use super::jobs::Work;
use crate::config::SinkName;
use crate::event::{Identity, Stream};
use crate::lifecycle::kill_point;
use crate::repair::{Past, Present, Told};
use crate::source::rest::Rest;
use crate::store::{Candidate, Counts, Fate, Job, JobPage, Knowledge, Order, Repaired, SinkId, Stored, Survey};

/// Reads of a token of which REST is behind, with a pause in between.
const READS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// Events handed to the store at once.
const EVENTS_MAX: usize = 64;
/// What the stream has told for longer than this, REST knows.
const LAG_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A page as it was fetched.
struct Fetched {
    number: u64,
    rows: Vec<Option<Told>>,
    /// What REST must know of, and the newest event when it was asked for.
    known: Moments,
    is_last: bool,
}

/// One backfill at work.
pub(super) struct Filling<'w> {
    work: &'w Work,
    sink: SinkName,
    package: String,
    history: bool,
    /// Kept, since opening it takes a moment.
    survey: Arc<Mutex<Option<Survey>>>,
    fetched: Option<Fetched>,
    past: Past,
}

/// Numbers of events.
#[derive(Clone, Copy)]
struct Moments {
    after: u64,
    began: u64,
}

/// What became of the rows of a page.
#[derive(Default)]
struct Sorted {
    /// These go as they are stored.
    stored: Vec<Stored>,
    /// Of the others.
    counts: Counts,
}

impl<'w> Filling<'w> {
    pub(super) fn new(work: &'w Work, job: &Job) -> Option<Self> {
        let Order::Backfill { sink, contract_package, history, .. } = &job.order else { return None };
        let (sink, package) = (SinkName(sink.as_str().into()), contract_package.clone());
        Some(Self {
            work,
            sink,
            package,
            history: *history,
            survey: Arc::default(),
            fetched: None,
            past: Past::default(),
        })
    }

    fn present(&self) -> &Present {
        &self.work.start.means.present
    }

    fn sink_id(&self) -> anyhow::Result<SinkId> {
        let known = self.work.start.store.sink_id(&self.sink);
        known.ok_or_else(|| anyhow!("the sink `{}` is no longer configured", self.sink))
    }

    fn stream(&self) -> Stream {
        if self.history { Stream::NftTokenActions } else { Stream::NftTokens }
    }

    /// What is to become of the next rows, at most `max`. What was accepted stays so if it is dropped.
    pub(super) async fn page(&mut self, job: &Job, max: usize) -> Result<JobPage, Trouble> {
        let (at, size) = (job.looked_at(), Rest::PAGE_SIZE as u64);
        let number = at / size + 1;
        if self.fetched.as_ref().is_none_or(|fetched| fetched.number != number) {
            self.fetched = Some(self.fetch(number).await?);
        }
        let Some(Fetched { rows, known, is_last, .. }) = &self.fetched else { return Ok(JobPage::default()) };
        let offset = usize::try_from(at % size).unwrap_or_default();
        let rows_now: Vec<Option<Told>> = rows.iter().skip(offset).take(max).cloned().collect();
        let is_whole = offset + rows_now.len() >= rows.len();
        let (known, is_last) = (*known, is_whole && *is_last);
        let looked_at = if is_whole && !is_last { number * size } else { at + rows_now.len() as u64 };
        let Sorted { stored, counts } = self.sort(rows_now, known).await?;
        Ok(JobPage::of_stored(stored, counts, looked_at, is_last))
    }

    async fn fetch(&mut self, number: u64) -> Result<Fetched, Trouble> {
        let known = self.moments();
        let page = self.present().page(&self.package, self.history, number).await?;
        if number == 1 && page.rows.is_empty() {
            return Err(Trouble::Final(anyhow!(nothing(&self.package))));
        }
        Ok(Fetched { number, rows: page.rows, known, is_last: page.is_last })
    }

    /// What was accepted by now, and what REST must know of.
    fn moments(&mut self) -> Moments {
        let (now, began) = (Instant::now(), self.work.start.store.newest());
        self.past.note(now, began, LAG_MAX);
        Moments { after: self.past.before(now, LAG_MAX), began }
    }

    async fn sort(&mut self, rows: Vec<Option<Told>>, known: Moments) -> Result<Sorted, Trouble> {
        let seen = rows.len() as u64;
        let told: Vec<Told> = rows.into_iter().flatten().collect();
        let mut sorted = Sorted { counts: Counts { seen, ..Counts::default() }, ..Sorted::default() };
        sorted.left(seen - told.len() as u64);
        let mut fresh = Vec::new();
        for (told, stored) in self.with_stored(told).await? {
            match stored.filter(|stored| self.tells_the_same(&told, stored)) {
                Some(stored) => sorted.stored.push(stored),
                None => fresh.push((known.repaired(vec![told.identity]), told)),
            }
        }
        let mut open = Vec::new();
        let mut fresh = fresh.into_iter();
        loop {
            let some: Vec<(Repaired, Told)> = fresh.by_ref().take(EVENTS_MAX).collect();
            if some.is_empty() {
                break;
            }
            open.extend(self.accept(some, &mut sorted).await?);
        }
        self.settle(open, &mut sorted).await?;
        Ok(sorted)
    }

    /// Makes events of them; those of which the stream has told what REST may not know come back.
    async fn accept(&self, fresh: Vec<(Repaired, Told)>, sorted: &mut Sorted) -> Result<Vec<Told>, Trouble> {
        let start = &self.work.start;
        let sink = self.sink_id()?;
        let offered = fresh.into_iter().filter_map(|(repaired, told)| {
            // Actions do not overtake each other: each is an event of its own.
            let repaired = if self.history { Repaired::default() } else { repaired };
            let candidate = start.reroute.for_sink(self.stream(), told.body.clone(), sink, repaired.backfill())?;
            Some((candidate, told))
        });
        let (candidates, offered): (Vec<Candidate>, Vec<Told>) = offered.unzip();
        let bytes = candidates.iter().map(|candidate| candidate.body.len() as u64).sum();
        while !start.means.has_place(&self.sink, bytes) {
            sleep(LOOK_EVERY).await;
        }
        let fates = start.store.accept_repaired(candidates).await?;
        kill_point("backfill-accepted");
        let accepted = fates.iter().filter(|fate| **fate == Fate::Accepted).count() as u64;
        sorted.counts.add(Counts { matched: accepted, done: accepted, ..Counts::default() });
        let open = offered.into_iter().zip(fates).filter(|(_, fate)| *fate != Fate::Accepted);
        Ok(open.map(|(told, _)| told).collect())
    }

    /// Tokens of which the stream has told something: they are read alone until REST knows it.
    async fn settle(&mut self, mut open: Vec<Told>, sorted: &mut Sorted) -> Result<(), Trouble> {
        for read in 0..READS_MAX {
            if open.is_empty() {
                return Ok(());
            }
            if read > 0 {
                sleep(PAUSE).await;
            }
            let mut still_open = Vec::new();
            for told in open {
                still_open.extend(self.read(told, sorted).await?);
            }
            open = still_open;
        }
        let mut rest = Vec::new();
        for (told, stored) in self.with_stored(open).await? {
            match stored {
                Some(stored) => sorted.stored.push(stored),
                // What was told last is no longer kept, so it is older than what REST says.
                None => rest.push((Repaired::default(), told)),
            }
        }
        let left = self.accept(rest, sorted).await?;
        sorted.left(left.len() as u64);
        Ok(())
    }

    /// Reads a token alone; it comes back if REST is still behind.
    async fn read(&mut self, told: Told, sorted: &mut Sorted) -> Result<Option<Told>, Trouble> {
        let known = self.moments();
        let Some(exactly) = self.present().exactly(&self.package, &told.token_id).await? else {
            sorted.counts.add(Counts { matched: 1, gone: 1, ..Counts::default() });
            return Ok(None);
        };
        let Some((now, stored)) = self.with_stored(vec![exactly.told]).await?.pop() else { return Ok(None) };
        if let Some(stored) = stored.filter(|stored| self.tells_the_same(&now, stored)) {
            sorted.stored.push(stored);
            return Ok(None);
        }
        let fresh = vec![(known.repaired(exactly.states), now)];
        Ok(self.accept(fresh, sorted).await?.pop())
    }

    /// Whether a stored event says what REST says.
    fn tells_the_same(&self, told: &Told, stored: &Stored) -> bool {
        self.history || self.present().state(&stored.body) == Some(told.identity.base)
    }

    /// With each of them what the store has of it: of an action itself, of a token its newest event.
    async fn with_stored(&self, told: Vec<Told>) -> Result<Vec<(Told, Option<Stored>)>, Trouble> {
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let (sink, history) = (self.sink_id()?, self.history);
        self.look(move |survey| with_stored(survey, sink, history, told)).await.map_err(Trouble::from)
    }

    /// Looks into the store, on a thread for that.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Survey) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (store, kept) = (self.work.start.store.clone(), Arc::clone(&self.survey));
        let looked = spawn_blocking(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let survey = match kept.take() {
                Some(survey) => survey,
                None => store.survey()?,
            };
            look(kept.insert(survey))
        });
        looked.await.context("looking into the store")?
    }
}

fn with_stored(
    survey: &Survey,
    sink: SinkId,
    history: bool,
    told: Vec<Told>,
) -> anyhow::Result<Vec<(Told, Option<Stored>)>> {
    if history {
        let mut found = survey.with_ids(sink, &told.iter().map(|told| told.identity.id).collect())?;
        let itself = |told: Told| {
            let stored = found.remove(&told.identity.id);
            (told, stored)
        };
        return Ok(told.into_iter().map(itself).collect());
    }
    let lanes: HashSet<_> = told.iter().filter_map(|told| told.identity.lane).collect();
    let mut found = survey.newest_of(sink, &lanes)?;
    let newest = |told: Told| {
        let stored = told.identity.lane.and_then(|lane| found.remove(&lane));
        (told, stored)
    };
    Ok(told.into_iter().map(newest).collect())
}

impl Moments {
    /// What goes to the store with a state that REST tells.
    fn repaired(self, states: Vec<Identity>) -> Repaired {
        let Self { after, began } = self;
        Repaired::new(Knowledge { same: Vec::new(), states, after, began })
    }
}

impl Sorted {
    fn left(&mut self, count: u64) {
        self.counts.add(Counts { matched: count, left: count, ..Counts::default() });
    }
}
