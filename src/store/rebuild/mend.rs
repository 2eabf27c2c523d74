//! Making the invariants true again of what could be read: nothing accepted is forgotten in silence, and what is not
//! certain is sent again rather than lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, params};

use super::pour::{Poured, sinks};
use super::records;
use crate::clock::Timestamp;
use crate::event::{self, Stream};
use crate::store::dead::DeadLetter;
use crate::store::format::{Batch, Record, Table, name_sum, open, open_body};
use crate::store::queue::for_batches_from;
use crate::store::ranges::Ranges;
use crate::store::settled::Settled;
use crate::store::transaction::{NameKind, Transaction};
use crate::store::verify::{Leader, Report, Seen};
use crate::store::{Change, End, Held, Quarantined, Settlement, SinkId, Waiting};

/// What else is known of the old store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hints {
    /// No waiting or held row is lost, so what is before a cursor that was found, and has no row, is over.
    pub(super) has_whole_queues: bool,
    /// The newest event that was ever accepted, where somebody vouches for it.
    pub(super) vouched: u64,
    pub(super) now: Timestamp,
}

/// What was lost or changed, with the sequence numbers of the events.
pub(super) type Losses = BTreeMap<String, Ranges>;

pub(super) struct Mending<'t, 'c> {
    transaction: &'t mut Transaction<'c>,
    hints: Hints,
    names: HashMap<u32, String>,
    lows: BTreeMap<SinkId, u64>,
    /// Sinks whose cursor was found.
    led: BTreeSet<u32>,
    seen: Seen,
    /// The lowest waiting number of each sink's lanes.
    heads: HashMap<(SinkId, u64), u64>,
    losses: BTreeMap<String, Vec<u64>>,
}

/// What has to be done about a delivery.
#[derive(Clone, Debug)]
enum Remedy {
    /// Its message is lost.
    Bury,
    /// Nothing says what became of it.
    Again(Held),
    /// The same, but it is over for certain.
    Over,
    /// The message is there, as a dead letter's.
    Restore,
}

/// Mends a store that rows were poured into and gives what is lost.
pub(super) fn mend(connection: &mut Connection, poured: &Poured, hints: Hints) -> rusqlite::Result<Losses> {
    let mut transaction = Transaction::begin(connection)?;
    let mut losses = Losses::new();
    let newest = records::complete(transaction.connection(), poured.newest.max(hints.vouched), &mut losses)?;
    small(transaction.connection(), poured, newest, &mut losses)?;
    let seen = Seen::read(transaction.connection(), &mut Report::default());
    let (names, lows) = (names(transaction.connection())?, lows(transaction.connection())?);
    let (heads, led) = (seen.heads(), poured.cursors.keys().copied().collect());
    let mut mending =
        Mending { transaction: &mut transaction, hints, names, lows, led, seen, heads, losses: BTreeMap::new() };
    mending.orphans()?;
    let remedies = mending.diagnose()?;
    remedies.into_iter().try_for_each(|(sink, seq, remedy)| mending.apply(sink, seq, &remedy))?;
    mending.strays()?;
    mending.letters()?;
    losses.extend(mending.losses.into_iter().map(|(what, seqs)| (what, Ranges::of(seqs.into_iter()))));
    transaction.commit()?;
    Ok(losses)
}

/// Cursors, epochs, names and the beginning of the known ids.
fn small(connection: &Connection, poured: &Poured, newest: u64, losses: &mut Losses) -> rusqlite::Result<()> {
    for (first, value) in &poured.epochs {
        connection.execute("INSERT OR REPLACE INTO epoch VALUES (?1, ?2)", params![first, value])?;
    }
    let keys_from = poured.keys_from.unwrap_or(0).min(newest + 1);
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'keys_from'", [keys_from])?;
    for (sink, low) in &poured.cursors {
        connection.execute("INSERT INTO cursor VALUES (?1, ?2)", params![sink, newest.min(*low)])?;
    }
    let (mut wanted, mut routes) = (sinks(connection)?, BTreeSet::new());
    for_batches_from(connection, 0, |_, batch| {
        for target in batch.iter().flat_map(|batch| &batch.records).flat_map(|record| &record.targets) {
            wanted.insert(target.sink.0);
            routes.extend(&target.routes);
        }
    })?;
    // Without its cursor a sink's fresh deliveries cannot be told from what is over: rows alone say.
    for sink in &wanted {
        let added = connection.execute("INSERT OR IGNORE INTO cursor VALUES (?1, ?2)", params![sink, newest])?;
        if added > 0 {
            losses.insert(
                format!("the cursor of sink number {sink}: deliveries without a row go again"),
                Ranges::default(),
            );
        }
    }
    let sinks = wanted.into_iter().map(|number| (number, NameKind::Sink, "lost-sink"));
    let routes = routes.into_iter().map(|number| (number, NameKind::Route, "lost-route"));
    for (number, kind, made_up) in sinks.chain(routes) {
        if connection.prepare_cached("SELECT 1 FROM name WHERE number = ?1")?.exists([number])? {
            continue;
        }
        let text = format!("{made_up}-{number}");
        let sql = "INSERT INTO name (number, kind, text, sum) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(sql, params![number, kind as u8, text, name_sum(number, kind as u8, &text)])?;
        losses.insert(format!("the name of number {number}: it is called `{text}` now"), Ranges::default());
    }
    Ok(())
}

impl Mending<'_, '_> {
    /// Messages whose records are lost go into quarantine: nobody knows their ids and sinks.
    fn orphans(&mut self) -> rusqlite::Result<()> {
        let mut recorded = Ranges::default();
        for_batches_from(self.transaction.connection(), 0, |_, batch| {
            let kept = batch.iter().flat_map(Batch::numbered).filter(|(_, record)| !records::is_lost(record));
            kept.for_each(|(seq, _)| recorded.push(seq));
        })?;
        let (kept, orphans): (Vec<u64>, Vec<u64>) = self.seen.bodies.iter().partition(|seq| recorded.contains(*seq));
        self.seen.bodies = Ranges::of(kept.into_iter());
        for seq in orphans {
            let sql = "DELETE FROM event WHERE seq = ?1 RETURNING row";
            let row: Vec<u8> = self.transaction.connection().query_row(sql, [seq], |row| row.get(0))?;
            let Ok(body) = open_body(seq, &row) else { continue };
            let reason =
                format!("the record of event {seq} was lost with a damaged part of the store; its stream is a guess");
            let message = Quarantined { stream: likely_stream(&body), reason, body };
            self.transaction.quarantine(&message, self.hints.now)?;
            self.lose("put into quarantine: their records (ids, sinks) are lost, their messages are there", seq);
        }
        Ok(())
    }

    fn diagnose(&self) -> rusqlite::Result<Vec<(SinkId, u64, Remedy)>> {
        let mut remedies = Vec::new();
        for_batches_from(self.transaction.connection(), 0, |_, batch| {
            for (seq, record) in batch.iter().flat_map(Batch::numbered) {
                let found = record.targets.iter().map(|target| (target.sink, self.remedy(seq, record, target.sink)));
                remedies.extend(found.filter_map(|(sink, remedy)| Some((sink, seq, remedy?))));
            }
        })?;
        Ok(remedies)
    }

    fn remedy(&self, seq: u64, record: &Record, sink: SinkId) -> Option<Remedy> {
        let seen = &self.seen;
        let has_row = seen.waiting.contains_key(&(sink, seq)) || seen.held.contains_key(&(sink, seq));
        let is_settled = seen.settled.get(&sink).is_some_and(|settled| settled.contains(seq));
        let is_before_low = self.lows.get(&sink).is_none_or(|low| seq <= *low);
        let (has_body, has_copy) = (seen.bodies.contains(seq), seen.dead_bodies.contains(seq));
        match (has_row || !is_settled && !is_before_low, has_body) {
            (true, true) => None,
            (true, false) if has_copy => Some(Remedy::Restore),
            (true, false) => Some(Remedy::Bury),
            (false, true) if !is_settled && self.hints.has_whole_queues && self.led.contains(&sink.0) => {
                Some(Remedy::Over)
            }
            (false, true) if !is_settled => {
                Some(Remedy::Again(Held { seq, lane: record.lane, body_bytes: record.body_bytes }))
            }
            (false, _) => None,
        }
    }

    fn apply(&mut self, sink: SinkId, seq: u64, remedy: &Remedy) -> rusqlite::Result<()> {
        let name = self.name(sink);
        match remedy {
            Remedy::Bury => {
                let letter = damaged(seq, "its message was lost with a damaged part of the store");
                self.transaction.change(sink, &letter, self.hints.now)?;
                self.transaction
                    .connection()
                    .execute("DELETE FROM held WHERE sink = ?1 AND seq = ?2", params![sink.0, seq])?;
                self.seen.held.remove(&(sink, seq));
                self.seen.waiting.remove(&(sink, seq));
                self.seen.dead.insert((sink, seq));
                self.lose(format!("lost for {name}, which still needed them: dead letters without a message"), seq);
            }
            Remedy::Again(held) => {
                self.again(sink, *held)?;
                self.lose(format!("go to {name} (perhaps again): the row that says what became of them is lost"), seq);
            }
            Remedy::Over => {
                Settled::over(self.hints.now).write(self.transaction.connection(), sink, seq)?;
                self.lose(format!("over for {name}, but how they ended is lost"), seq);
            }
            Remedy::Restore => self.restore(seq)?,
        }
        Ok(())
    }

    /// Makes a delivery wait, or stand behind one of its lane that does.
    fn again(&mut self, sink: SinkId, held: Held) -> rusqlite::Result<()> {
        let head = self.heads.get(&(sink, held.lane)).filter(|head| **head < held.seq && held.lane != 0);
        if head.is_some() {
            self.seen.held.insert((sink, held.seq), held.lane);
            return self.transaction.change(sink, &Change::Hold(held), self.hints.now);
        }
        self.heads.insert((sink, held.lane), held.seq);
        self.seen.waiting.insert((sink, held.seq), Leader { lane: held.lane, is_replay: false });
        let waiting = Waiting {
            seq: held.seq,
            lane: held.lane,
            body_bytes: held.body_bytes,
            attempts: 0,
            is_replay: false,
            delay: std::time::Duration::ZERO,
            due_at: self.hints.now,
            blocking_since: None,
        };
        self.transaction.change(sink, &Change::Wait(waiting), self.hints.now)
    }

    /// The message of a dead letter is the event's.
    fn restore(&mut self, seq: u64) -> rusqlite::Result<()> {
        let Some(body) = DeadLetter::body(self.transaction.connection(), seq)? else { return Ok(()) };
        if !self.seen.bodies.contains(seq) {
            let sql = "DELETE FROM event WHERE seq = ?1";
            self.transaction.connection().execute(sql, [seq])?;
            self.transaction.event(seq, &body)?;
        }
        Ok(())
    }

    /// Rows of queues of whose events nothing is known, replays that the records do not name and whose messages are
    /// lost, and held ones that nobody leads.
    fn strays(&mut self) -> rusqlite::Result<()> {
        let connection = self.transaction.connection();
        let (mut strays, mut bodiless) = (Vec::new(), Vec::new());
        for (table, (sink, seq)) in self.seen.queue_rows() {
            let is_known = records::is_known(connection, *seq)?;
            if !is_known && !self.seen.dead.contains(&(*sink, *seq)) {
                strays.push((table, *sink, *seq));
            } else if !self.seen.has_message(*seq) {
                bodiless.push((*sink, *seq));
            }
        }
        bodiless.into_iter().try_for_each(|(sink, seq)| self.apply(sink, seq, &Remedy::Bury))?;
        for (table, sink, seq) in strays {
            let sql = format!("DELETE FROM {table} WHERE sink = ?1 AND seq = ?2");
            self.transaction.connection().execute(&sql, params![sink.0, seq])?;
            self.seen.waiting.remove(&(sink, seq));
            self.seen.held.remove(&(sink, seq));
            let name = self.name(sink);
            self.lose(format!("no longer owed to {name}: their records are lost, see quarantine"), seq);
        }
        self.heads = self.seen.heads();
        let held: Vec<((SinkId, u64), u64)> = self.seen.held.iter().map(|(key, lane)| (*key, *lane)).collect();
        for ((sink, seq), lane) in held {
            if self.heads.get(&(sink, lane)).is_none_or(|head| *head > seq) {
                self.seen.held.remove(&(sink, seq));
                self.again(sink, Held { seq, lane, body_bytes: 0 })?;
            }
        }
        Ok(())
    }

    /// Messages of dead letters whose own rows are lost: the record of the event says whose they were.
    fn letters(&mut self) -> rusqlite::Result<()> {
        let lettered = Ranges::of(self.seen.dead.iter().map(|(_, seq)| *seq));
        let orphans: Vec<u64> = self.seen.dead_bodies.iter().filter(|seq| !lettered.contains(*seq)).collect();
        for seq in orphans {
            let sinks = records::dead_at(self.transaction.connection(), seq)?;
            for sink in &sinks {
                let letter = damaged(seq, "the reason was lost with a damaged part of the store");
                self.transaction.change(*sink, &letter, self.hints.now)?;
                let name = self.name(*sink);
                self.lose(format!("dead letters of {name}: their reasons are lost"), seq);
            }
            if sinks.is_empty() {
                self.quarantine_letter(seq)?;
            }
        }
        Ok(())
    }

    fn quarantine_letter(&mut self, seq: u64) -> rusqlite::Result<()> {
        let sql = "DELETE FROM dead_body WHERE seq = ?1 RETURNING row";
        let row: Option<Vec<u8>> = self.transaction.connection().query_row(sql, [seq], |row| row.get(0)).optional()?;
        let Some(Ok(body)) = row.as_deref().map(|row| open(Table::DeadBody, &[seq], row)) else { return Ok(()) };
        let body = bytes::Bytes::copy_from_slice(body);
        let reason = format!("a dead letter of event {seq}; whose it was is lost with a damaged part of the store");
        self.transaction.quarantine(&Quarantined { stream: likely_stream(&body), reason, body }, self.hints.now)?;
        self.lose("put into quarantine: dead letters of which only the message is left", seq);
        Ok(())
    }

    fn lose(&mut self, what: impl Into<String>, seq: u64) {
        self.losses.entry(what.into()).or_default().push(seq);
    }

    fn name(&self, sink: SinkId) -> String {
        self.names.get(&sink.0).cloned().unwrap_or_else(|| format!("(number {})", sink.0))
    }
}

/// A dead letter in place of what was lost.
fn damaged(seq: u64, reason: &str) -> Change {
    let end = End::Dead { cause: "damaged", reason: reason.to_owned() };
    Change::Settle(Settlement { seq, has_waited: true, attempts: 0, body_bytes: 0, end })
}

fn names(connection: &Connection) -> rusqlite::Result<HashMap<u32, String>> {
    let mut statement = connection.prepare("SELECT number, text FROM name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn lows(connection: &Connection) -> rusqlite::Result<BTreeMap<SinkId, u64>> {
    let mut statement = connection.prepare("SELECT sink, low FROM cursor")?;
    statement.query_map([], |row| Ok((SinkId(row.get(0)?), row.get(1)?)))?.collect()
}

/// The stream that a message most likely came by.
fn likely_stream(body: &[u8]) -> Stream {
    let is_action = event::facts(Stream::NftTokenActions, body).is_ok_and(|facts| facts.kind.is_some());
    if is_action { Stream::NftTokenActions } else { Stream::NftTokens }
}
