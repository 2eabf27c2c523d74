//! Whether every delivery of every event is accounted for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::Connection;

use super::Report;
use super::rows::Seen;
use crate::store::SinkId;
use crate::store::format::{Batch, Record};
use crate::store::ranges::Ranges;
use crate::store::transaction::NameKind;

/// What the small tables say.
struct Small {
    names: HashMap<u32, (u8, String)>,
    lows: BTreeMap<SinkId, u64>,
}

/// The pass over the batch records, in which all meet.
pub(super) struct Deliveries<'a> {
    seen: &'a Seen,
    small: Small,
    /// The number after the last one seen.
    next: Option<u64>,
    /// Events whose records are missing or damaged.
    unrecorded: Ranges,
    recorded: Ranges,
    /// Rows of queues that no record has named so far: in the end, replays to sinks for which the events were not meant.
    unnamed: BTreeSet<(SinkId, u64)>,
    faults: BTreeMap<Fault, Ranges>,
}

/// What can be wrong with an event; each is told once, with all the numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Pending for these sinks, and its bytes are lost.
    Bodiless(Vec<String>),
    /// At or before the cursor of this sink, and nothing says what became of it.
    Untraced(String),
    Nameless(u32),
    NoCursor(String),
}

impl<'a> Deliveries<'a> {
    /// Holds all rows against each other and gives the number of the newest event.
    pub(super) fn check(connection: &Connection, seen: &'a Seen, report: &mut Report) -> rusqlite::Result<u64> {
        let small = Small::read(connection)?;
        let (unrecorded, recorded, faults) = (Ranges::default(), Ranges::default(), BTreeMap::new());
        let unnamed = seen.queue_rows().map(|(_, key)| *key).collect();
        let mut pass = Self { seen, small, next: None, unrecorded, recorded, unnamed, faults };
        let ended = pass.batches(connection, report);
        let newest = pass.next.map_or(0, |next| next - 1);
        let newest = newest.max(seen.bodies.last().unwrap_or(0));
        pass.rows(report);
        pass.tell(newest, report);
        report.events = pass.recorded.count();
        ended.map(|()| newest)
    }

    fn batches(&mut self, connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT first, row FROM batch ORDER BY first")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let first: u64 = row.get(0)?;
            let expected = self.next.unwrap_or(first);
            if first > expected {
                self.unrecorded.extend(expected, first - 1);
            }
            // A damaged one is missing until the next says how far it went.
            self.next = Some(first.max(expected));
            let Ok(batch) = Batch::decode(first, row.get_ref(1)?.as_bytes().unwrap_or_default()) else { continue };
            batch.numbered().for_each(|(seq, record)| self.event(seq, record, report));
            self.next = Some(batch.last() + 1);
        }
        Ok(())
    }

    fn event(&mut self, seq: u64, record: &Record, report: &mut Report) {
        self.recorded.push(seq);
        let mut owed = Vec::new();
        for target in &record.targets {
            let name = self.name(target.sink.0, NameKind::Sink);
            self.unnamed.remove(&(target.sink, seq));
            let nameless = target.routes.iter().find(|route| !self.small.is_named(**route, NameKind::Route));
            if let Some(route) = nameless {
                self.fault(Fault::Nameless(*route), seq);
            }
            match self.place(target.sink, seq) {
                Place::Over => {}
                Place::Pending => {
                    *report.pending.entry(name.clone()).or_default() += 1;
                    owed.push(name);
                }
                Place::Nowhere if self.seen.bodies.contains(seq) => self.fault(Fault::Untraced(name), seq),
                // Retention removes the body and the record of its deliveries together.
                Place::Nowhere => {}
                Place::NoCursor => self.fault(Fault::NoCursor(name), seq),
            }
        }
        if !owed.is_empty() && !self.seen.has_message(seq) {
            self.fault(Fault::Bodiless(owed), seq);
        }
    }

    fn place(&self, sink: SinkId, seq: u64) -> Place {
        if self.seen.waiting.contains_key(&(sink, seq)) || self.seen.held.contains_key(&(sink, seq)) {
            return Place::Pending;
        }
        let is_settled = self.seen.settled.get(&sink).is_some_and(|settled| settled.contains(seq));
        match self.small.lows.get(&sink) {
            _ if is_settled => Place::Over,
            None => Place::NoCursor,
            Some(low) if seq > *low => Place::Pending,
            Some(_) => Place::Nowhere,
        }
    }

    fn fault(&mut self, fault: Fault, seq: u64) {
        self.faults.entry(fault).or_default().push(seq);
    }

    fn name(&self, number: u32, kind: NameKind) -> String {
        let name = self.small.names.get(&number).filter(|(known, _)| *known == kind as u8);
        name.map_or_else(|| format!("(number {number})"), |(_, name)| name.clone())
    }

    /// Rows that belong to deliveries which nobody knows, and lanes that nobody leads.
    fn rows(&mut self, report: &mut Report) {
        let mut strays = BTreeMap::<_, Ranges>::new();
        for (table, (sink, seq)) in self.seen.queue_rows() {
            // A dead letter that is replayed may have outlived its event.
            if !self.recorded.contains(*seq) && !self.seen.dead.contains(&(*sink, *seq)) {
                strays.entry((table, *sink)).or_default().push(*seq);
                self.unnamed.remove(&(*sink, *seq));
            }
        }
        for (sink, seq) in std::mem::take(&mut self.unnamed) {
            let name = self.name(sink.0, NameKind::Sink);
            if !self.seen.has_message(seq) {
                self.fault(Fault::Bodiless(vec![name.clone()]), seq);
            }
            *report.pending.entry(name).or_default() += 1;
        }
        for ((table, sink), seqs) in strays {
            let what = format!("deliveries to {} whose event has no record", self.name(sink.0, NameKind::Sink));
            report.damage(table, format!("seq {seqs}"), what);
        }
        let heads = self.seen.heads();
        for ((sink, seq), lane) in &self.seen.held {
            if heads.get(&(*sink, *lane)).is_none_or(|head| head > seq) {
                let what = format!("behind nothing: {} would never get it", self.name(sink.0, NameKind::Sink));
                report.damage("held", format!("seq {seq}"), what);
            }
        }
        let lettered = Ranges::of(self.seen.dead.iter().map(|(_, seq)| *seq));
        let orphans = Ranges::of(self.seen.dead_bodies.iter().filter(|seq| !lettered.contains(*seq)));
        if !orphans.is_empty() {
            report.damage("dead", format!("seq {orphans}"), "dead letters are lost; their messages are there");
        }
    }

    fn tell(&mut self, newest: u64, report: &mut Report) {
        if let Some(next) = self.next.filter(|next| *next <= newest) {
            self.unrecorded.extend(next, newest);
        }
        if !self.unrecorded.is_empty() {
            let last = self.unrecorded.last().unwrap_or(0);
            let bodies = self.unrecorded.iter().filter(|seq| self.seen.bodies.contains(*seq)).count() as u64;
            let behind = self.small.lows.iter().filter(|(_, low)| **low < last);
            let sinks: Vec<String> = behind.map(|(sink, _)| self.name(sink.0, NameKind::Sink)).collect();
            let sinks = if sinks.is_empty() { "no sink".to_owned() } else { sinks.join(", ") };
            let what = format!(
                "the records of {} events are lost: their ids, and which sinks want them; {bodies} of the messages are \
                 there; {sinks} may still be owed some",
                self.unrecorded.count()
            );
            report.damage("batch", format!("seq {}", self.unrecorded), what);
        }
        for (fault, seqs) in std::mem::take(&mut self.faults) {
            let (table, what) = fault.describe();
            report.damage(table, format!("seq {seqs}"), what);
        }
        for (sink, low) in self.small.lows.iter().filter(|(_, low)| **low > newest) {
            let what = format!("beyond the newest event, {newest}: events to come would be passed by");
            let name = self.name(sink.0, NameKind::Sink);
            report.damage("cursor", format!("sink {name}, low {low}"), what);
        }
    }
}

/// Where a delivery is.
enum Place {
    Over,
    Pending,
    /// Not beyond the cursor, and no row says anything.
    Nowhere,
    NoCursor,
}

impl Fault {
    fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Bodiless(sinks) => ("event", format!("messages are lost that are pending for {}", sinks.join(", "))),
            Self::Untraced(sink) => ("settled", format!("nothing says what became of their deliveries to {sink}")),
            Self::Nameless(number) => ("name", format!("number {number}, a route that matched them, has no name")),
            Self::NoCursor(sink) => ("cursor", format!("{sink} has none, so what it was sent is not known")),
        }
    }
}

impl Small {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut names = connection.prepare("SELECT number, kind, text FROM name NOT INDEXED")?;
        let names = names.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        let mut lows = connection.prepare("SELECT sink, low FROM cursor")?;
        let lows = lows.query_map([], |row| Ok((SinkId(row.get(0)?), row.get(1)?)))?;
        // What is damaged was told before.
        Ok(Self { names: names.flatten().collect(), lows: lows.flatten().collect() })
    }

    fn is_named(&self, number: u32, kind: NameKind) -> bool {
        self.names.get(&number).is_some_and(|(known, _)| *known == kind as u8)
    }
}
