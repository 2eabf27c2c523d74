//! Reading deliveries from disk, on a thread and a connection of their own that cannot write.
//!
//! The thread serves one bounded request after the other, so a sink with a million deliveries to catch up takes turns
//! with the rest. Every transaction is one request, so the WAL can be reset soon; one for each row would cost as much in
//! locks as the rows themselves.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot};

use super::claimed::{Claimed, Page, RouteNames};
use super::dead::DeadLetter;
use super::epoch::Epochs;
use super::error::{OpenError, Stopped};
use super::format::{Batch, Damaged, Record, open_body};
use super::{SinkId, lookup, schema};
use crate::clock::{Timestamp, monotonic};
use crate::event::{self, Event, Network};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

const REQUESTS_MAX: usize = 64;
/// Bounds on one look: what it may return, and how far it may look in vain.
const PAGE_BYTES_MAX: usize = 512 * 1024;
const BATCHES_MAX: usize = 64;
const MISSING: &str = "its stored bytes are missing";
/// Decoded batches in memory, of about a hundred kilobytes each at the most.
const BATCHES_KEPT: usize = 16;

/// A look for fresh deliveries of a sink: at most `max` after `after`.
pub(super) struct Look {
    pub(super) sink: SinkId,
    pub(super) after: u64,
    pub(super) max: usize,
    /// Only up to here some may be settled.
    pub(super) settled_to: u64,
}

/// A look that answers by itself.
type Reading = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

enum Request {
    Fresh { look: Look, reply: oneshot::Sender<Page> },
    Load { sink: SinkId, seq: u64, reply: oneshot::Sender<Claimed> },
    Index { reply: oneshot::Sender<Vec<lookup::Row>> },
    Read(Reading),
}

/// Asks the reading thread. Clones share it.
#[derive(Clone)]
pub(super) struct Reader {
    requests: mpsc::Sender<Request>,
}

/// What the thread needs to know of the store.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) network: Network,
    pub(super) epochs: Epochs,
    pub(super) metrics: Arc<Metrics>,
}

impl Facts {
    /// An event of which everything but its facts was read.
    pub(super) fn event(
        &self,
        seq: u64,
        record: &Record,
        accepted_at: Timestamp,
        body: Bytes,
    ) -> Result<Event, String> {
        let facts = event::facts(record.stream, &body).map_err(|malformed| malformed.reason)?;
        Ok(Event {
            id: record.id,
            sequence: self.epochs.sequence(seq),
            network: self.network,
            stream: record.stream,
            origin: record.origin,
            accepted_at,
            facts,
            body,
        })
    }
}

impl Reader {
    pub(super) fn start(directory: &Path, facts: Facts, lifecycle: &Lifecycle) -> Result<Self, OpenError> {
        let connection = schema::open_reader(directory)?;
        let (requests, mut queue) = mpsc::channel(REQUESTS_MAX);
        let watch = lifecycle.clone();
        let work = move || {
            let mut worker = Worker {
                connection,
                facts,
                batches: VecDeque::new(),
                route_names: HashMap::new(),
                routes_before: Default::default(),
            };
            // Ends when the last handle is gone, or at the first error that is not about one row.
            let served = std::iter::from_fn(|| queue.blocking_recv()).try_for_each(|request| worker.serve(request));
            served.unwrap_or_else(|error| watch.fail(format!("cannot read the store: {error}")));
        };
        lifecycle.spawn_thread("store-reader", work).map_err(OpenError::Thread)?;
        Ok(Self { requests })
    }

    pub(super) async fn fresh(&self, look: Look) -> Result<Page, Stopped> {
        let (reply, page) = oneshot::channel();
        self.requests.send(Request::Fresh { look, reply }).await.map_err(|_| Stopped)?;
        page.await.map_err(|_| Stopped)
    }

    pub(super) async fn load(&self, sink: SinkId, seq: u64) -> Result<Claimed, Stopped> {
        let (reply, claimed) = oneshot::channel();
        self.requests.send(Request::Load { sink, seq, reply }).await.map_err(|_| Stopped)?;
        claimed.await.map_err(|_| Stopped)
    }

    /// Runs a short look of another part of the store, in its turn.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, found) = oneshot::channel();
        let work = move |connection: &Connection| {
            // Whoever no longer waits for the answer has stopped.
            let _unwanted = reply.send(look(connection)?);
            Ok(())
        };
        self.requests.send(Request::Read(Box::new(work))).await.map_err(|_| Stopped)?;
        found.await.map_err(|_| Stopped)
    }

    /// The index of the oldest closed range that has none; empty if there is no such range.
    pub(super) async fn index(&self) -> Result<Vec<lookup::Row>, Stopped> {
        let (reply, rows) = oneshot::channel();
        self.requests.send(Request::Index { reply }).await.map_err(|_| Stopped)?;
        rows.await.map_err(|_| Stopped)
    }
}

struct Worker {
    connection: Connection,
    facts: Facts,
    /// The ones used last, in front what was used just now: pages seldom end where a batch ends, and what was held
    /// behind its lane is loaded one by one, soon after it was passed by.
    batches: VecDeque<Arc<Batch>>,
    /// By their numbers, which never change their meaning.
    route_names: HashMap<u32, Arc<str>>,
    /// Of the delivery before: mostly the next one has the same.
    routes_before: (Vec<u32>, RouteNames),
}

impl Worker {
    fn serve(&mut self, request: Request) -> rusqlite::Result<()> {
        // Whoever no longer waits for the answer has stopped.
        match request {
            Request::Fresh { look, reply } => {
                let _unwanted = reply.send(self.reading(|worker| worker.fresh(&look))?);
            }
            Request::Load { sink, seq, reply } => {
                let _unwanted = reply.send(self.reading(|worker| worker.load(sink, seq))?);
            }
            Request::Index { reply } => {
                let _unwanted = reply.send(self.index()?);
            }
            Request::Read(look) => look(&self.connection)?,
        }
        Ok(())
    }

    fn reading<T>(&mut self, read: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.connection.execute_batch("BEGIN")?;
        let found = read(self);
        self.connection.execute_batch("COMMIT")?;
        found
    }

    fn fresh(&mut self, look: &Look) -> rusqlite::Result<Page> {
        let mut page = Page { claimed: Vec::new(), scanned_to: look.after };
        for _ in 0..BATCHES_MAX {
            match self.batch_from(page.scanned_to + 1)? {
                None => break,
                Some(Ok(batch)) if self.claim_from(look, &batch, &mut page)? => {}
                Some(Ok(_)) => break,
                Some(Err(last)) => page.scanned_to = last,
            }
        }
        Ok(page)
    }

    /// Takes what the sink needs of a batch into the page; false if the page is full before the batch ends.
    fn claim_from(&mut self, look: &Look, batch: &Batch, page: &mut Page) -> rusqlite::Result<bool> {
        let from = page.scanned_to + 1;
        let settled = self.settled(look, from, batch.last())?;
        let (mut bytes, mut wanted, mut is_whole) = (page.bytes(), Vec::new(), true);
        for (seq, record) in batch.numbered().filter(|(seq, _)| *seq >= from) {
            if page.claimed.len() + wanted.len() >= look.max || bytes >= PAGE_BYTES_MAX {
                is_whole = false;
                break;
            }
            if record.names(look.sink) && !settled.contains(&seq) {
                wanted.push((seq, record));
                bytes += record.body_bytes as usize;
            }
            page.scanned_to = seq;
        }
        self.claim_all(look.sink, batch, &wanted, page)?;
        if is_whole {
            page.scanned_to = page.scanned_to.max(batch.last());
        }
        Ok(is_whole)
    }

    /// Reads the bodies of neighbours together: that is half the work of looking up each of them.
    fn claim_all(
        &mut self,
        sink: SinkId,
        batch: &Batch,
        wanted: &[(u64, &Record)],
        page: &mut Page,
    ) -> rusqlite::Result<()> {
        for neighbours in wanted.chunk_by(|(seq, _), (next, _)| seq + 1 == *next) {
            let (Some((first, _)), Some((last, _))) = (neighbours.first(), neighbours.last()) else { continue };
            let mut bodies = self.bodies(*first, *last)?.into_iter().peekable();
            page.claimed.reserve(neighbours.len());
            for (seq, record) in neighbours {
                let body = bodies.next_if(|(found, _)| found == seq).map_or(Err(MISSING), |(_, body)| body);
                page.claimed.push(self.claim(sink, (batch, *seq, record), body)?);
            }
        }
        Ok(())
    }

    fn load(&mut self, sink: SinkId, seq: u64) -> rusqlite::Result<Claimed> {
        let batch = self.batch_from(seq)?.and_then(Result::ok);
        let found = batch.as_ref().and_then(|batch| batch.numbered().find(|(number, _)| *number == seq));
        if let (Some(batch), Some((_, record))) = (&batch, found) {
            let body = self.bodies(seq, seq)?.pop().map_or(Err(MISSING), |(_, body)| body);
            let claimed = self.claim(sink, (batch, seq, record), body)?;
            if claimed.content.is_ok() {
                return Ok(claimed);
            }
        }
        // A replayed dead letter may have outlived its event.
        if let Some(letter) = DeadLetter::find(&self.connection, sink, seq)?
            && let Some(body) = DeadLetter::body(&self.connection, seq)?
        {
            let accepted_at = letter.accepted_at;
            let record = letter.record();
            let content = self.facts.event(seq, &record, accepted_at, body);
            return self.claimed(sink, seq, &record, content);
        }
        self.facts.metrics.store.damaged_rows.increment();
        let reason = "what the store kept of it is damaged or missing".to_owned();
        Ok(Claimed { seq, lane: 0, body_bytes: 0, content: Err(reason) })
    }

    fn index(&self) -> rusqlite::Result<Vec<lookup::Row>> {
        let Some(first) = lookup::due(&self.connection)? else { return Ok(Vec::new()) };
        let started = monotonic();
        let index = lookup::build(&self.connection, first)?;
        index.damaged.iter().try_for_each(|batch| self.damaged_batch(*batch).map(drop))?;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(first, micros, "a range of events got its index");
        Ok(index.rows)
    }

    /// The batch that holds `seq`, or else the next one. A damaged one gives the last number that it can have held.
    fn batch_from(&mut self, seq: u64) -> rusqlite::Result<Option<Result<Arc<Batch>, u64>>> {
        if let Some(at) = self.batches.iter().position(|batch| (batch.first..=batch.last()).contains(&seq))
            && let Some(batch) = self.batches.remove(at)
        {
            return Ok(Some(Ok(keep(&mut self.batches, batch))));
        }
        let before = "SELECT first, row FROM batch WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
        let after = "SELECT first, row FROM batch WHERE first > ?1 ORDER BY first LIMIT 1";
        for sql in [before, after] {
            let mut statement = self.connection.prepare_cached(sql)?;
            let row = statement.query_row([seq], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)));
            let Some((first, row)) = row.optional()? else { continue };
            match Batch::decode(first, &row) {
                Ok(batch) if batch.last() < seq => {}
                Ok(batch) => {
                    return Ok(Some(Ok(keep(&mut self.batches, Arc::new(batch)))));
                }
                Err(Damaged) => return self.damaged_batch(first).map(|last| Some(Err(last.max(seq)))),
            }
        }
        Ok(None)
    }

    /// Reports a damaged batch and gives the last number that it can have held.
    fn damaged_batch(&self, first: u64) -> rusqlite::Result<u64> {
        let next = "SELECT coalesce(min(first) - 1, (SELECT max(seq) FROM event)) FROM batch WHERE first > ?1";
        let last: Option<u64> = self.connection.query_row(next, [first], |row| row.get(0))?;
        let last = last.unwrap_or(first);
        self.facts.metrics.store.damaged_rows.increment();
        tracing::error!(
            first,
            last,
            "the store is damaged: the batch record of these events cannot be read, so nobody knows which sinks still \
             need them; the events themselves are kept"
        );
        Ok(last)
    }

    /// What is settled already among the numbers from `from` to `to`.
    fn settled(&self, look: &Look, from: u64, to: u64) -> rusqlite::Result<HashSet<u64>> {
        if from > look.settled_to {
            return Ok(HashSet::new());
        }
        let sql = "SELECT seq FROM settled WHERE sink = ?1 AND seq BETWEEN ?2 AND ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_map(rusqlite::params![look.sink.0, from, to], |row| row.get(0))?.collect()
    }

    fn claim(
        &mut self,
        sink: SinkId,
        (batch, seq, record): (&Batch, u64, &Record),
        body: Result<Bytes, &'static str>,
    ) -> rusqlite::Result<Claimed> {
        let content = match body {
            Ok(body) => self.facts.event(seq, record, batch.accepted_at, body),
            Err(reason) => Err(reason.to_owned()),
        };
        self.claimed(sink, seq, record, content)
    }

    fn claimed(
        &mut self,
        sink: SinkId,
        seq: u64,
        record: &Record,
        content: Result<Event, String>,
    ) -> rusqlite::Result<Claimed> {
        let content = match content {
            Ok(event) => Ok((Arc::new(event), self.routes(sink, record)?)),
            Err(reason) => {
                self.facts.metrics.store.damaged_rows.increment();
                Err(reason)
            }
        };
        Ok(Claimed { seq, lane: record.lane, body_bytes: record.body_bytes, content })
    }

    /// What is stored of the events of a range, ascending.
    fn bodies(&self, first: u64, last: u64) -> rusqlite::Result<Vec<(u64, Result<Bytes, &'static str>)>> {
        let sql = "SELECT seq, row FROM event WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([first, last])?;
        let mut bodies = Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or(0));
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            let body = open_body(seq, row.get_ref(1)?.as_bytes().unwrap_or_default());
            bodies.push((seq, body.map_err(|Damaged| "its stored bytes are damaged")));
        }
        Ok(bodies)
    }

    fn routes(&mut self, sink: SinkId, record: &Record) -> rusqlite::Result<RouteNames> {
        let Some(target) = record.targets.iter().find(|target| target.sink == sink) else { return Ok([].into()) };
        let (numbers, names) = &self.routes_before;
        if *numbers == target.routes {
            return Ok(Arc::clone(names));
        }
        let names: RouteNames =
            target.routes.iter().map(|number| self.route_name(*number)).collect::<Result<_, _>>()?;
        self.routes_before = (target.routes.clone(), Arc::clone(&names));
        Ok(names)
    }

    fn route_name(&mut self, number: u32) -> rusqlite::Result<Arc<str>> {
        if let Some(name) = self.route_names.get(&number) {
            return Ok(Arc::clone(name));
        }
        let mut statement = self.connection.prepare_cached("SELECT text FROM name WHERE number = ?1")?;
        let name: Arc<str> = statement.query_row([number], |row| row.get::<_, String>(0))?.into();
        self.route_names.insert(number, Arc::clone(&name));
        Ok(name)
    }
}

fn keep(batches: &mut VecDeque<Arc<Batch>>, batch: Arc<Batch>) -> Arc<Batch> {
    batches.truncate(BATCHES_KEPT - 1);
    batches.push_front(Arc::clone(&batch));
    batch
}
