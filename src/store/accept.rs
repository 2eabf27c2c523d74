//! Accepting events: which are new, their numbers and ids, their rows, and their way to the sinks once durable.

use std::collections::HashMap;
use std::sync::Arc;

use super::Candidate;
use super::epoch::Epochs;
use super::format::{Batch, Record, Target};
use super::known::{Known, Repeat, Verdict};
use super::owned::Owned;
use super::recent::{Entry, Recent};
use super::repaired::{Fate, Ruling};
use super::transaction::{NameKind, Transaction};
use super::writer::SinkState;
use crate::clock::{Timestamp, monotonic};
use crate::event::{Event, EventId, Network, Origin};
use crate::metrics::Metrics;

/// Names of routes that got a number in a transaction.
pub(super) type NewRoutes = Vec<(Arc<str>, u32)>;

pub(super) struct Accepting {
    pub(super) network: Network,
    pub(super) epochs: Epochs,
    pub(super) next_seq: u64,
    pub(super) known: Known,
    pub(super) routes: HashMap<Arc<str>, u32>,
    pub(super) recent: Arc<Recent>,
    pub(super) owned: Owned,
    pub(super) metrics: Arc<Metrics>,
}

/// The new ones among the events offered to a commit, with their records.
pub(super) struct Offer {
    batch: Batch,
    events: Vec<Candidate>,
    /// Known ones that are still in quarantine.
    rerouted: Vec<Candidate>,
}

impl Offer {
    /// The number of the last of the events, if there are any.
    pub(super) fn newest(&self) -> Option<u64> {
        (!self.events.is_empty()).then(|| self.batch.last())
    }
}

impl Accepting {
    pub(super) fn known_mut(&mut self) -> &mut Known {
        &mut self.known
    }

    /// Drops the known events and numbers the rest. The new ones count as known from here on, so that a repeat within
    /// the batch is seen; [`Self::take_back`] undoes it.
    pub(super) fn judge(&mut self, events: Vec<Candidate>, accepted_at: Timestamp) -> Offer {
        let now = monotonic();
        let mut batch = Batch { first: self.next_seq, accepted_at, records: Vec::with_capacity(events.len()) };
        let (mut new, mut rerouted) = (Vec::with_capacity(events.len()), Vec::new());
        for mut event in events {
            let ruling = self.rule(&mut event);
            if let (Ruling::Refuse(fate), Some(repaired)) = (ruling, &event.repaired) {
                repaired.set(fate);
                continue;
            }
            let identity = &event.identity;
            let seq = batch.first + batch.records.len() as u64;
            let id = match self.known.judge(identity, now) {
                _ if event.origin() == Origin::Backfill => identity.apart(self.epochs.sequence(seq)),
                _ if ruling == Ruling::TakeAgain => identity.recurrence(self.epochs.sequence(seq)),
                Verdict::New { is_variant } => {
                    self.metrics.intake.variants.add(is_variant.into());
                    identity.id
                }
                Verdict::Recurrence => identity.recurrence(self.epochs.sequence(seq)),
                Verdict::Duplicate(repeat) => {
                    match &event.repaired {
                        Some(repaired) => repaired.set(Fate::Known),
                        None => self.count_repeat(repeat),
                    }
                    rerouted.extend(event.quarantine.is_some().then_some(event));
                    continue;
                }
            };
            if event.origin().is_for_all() {
                self.known.insert(identity, id, seq, now);
            } else {
                event.targets.iter().for_each(|(sink, _)| self.known.fill(identity, *sink, seq));
            }
            batch.records.push(record(&event, id));
            new.push(event);
        }
        Offer { batch, events: new, rerouted }
    }

    /// What the present state of a token, as REST tells it, is to become; every other event is taken.
    fn rule(&self, event: &mut Candidate) -> Ruling {
        let Some(repaired) = event.repaired.clone() else { return Ruling::Take };
        repaired.rule(&event.identity, &mut event.targets, (&self.known, &self.epochs))
    }

    pub(super) fn take_back(&mut self, offer: Offer) -> Vec<Candidate> {
        for (record, event) in offer.batch.records.iter().zip(&offer.events) {
            if !record.origin.is_for_all() {
                event.targets.iter().for_each(|(sink, _)| self.known.unfill(&event.identity, *sink));
                continue;
            }
            // A recurrence has an id of its own; its state was known before and stays so.
            let is_recurrence = record.id != event.identity.id;
            self.known.undo(&event.identity, is_recurrence);
        }
        let Offer { mut events, rerouted, .. } = offer;
        events.extend(rerouted);
        events
    }

    /// Writes bodies and batch record. The names that got a number are given back, to be learnt after the commit.
    pub(super) fn write(&self, offer: &Offer, transaction: &mut Transaction<'_>) -> rusqlite::Result<NewRoutes> {
        let mut new_routes = NewRoutes::new();
        let numbers = offer.events.iter().chain(&offer.rerouted).filter_map(|event| event.quarantine);
        numbers.into_iter().try_for_each(|number| transaction.leave_quarantine(number))?;
        if offer.events.is_empty() {
            return Ok(new_routes);
        }
        let mut batch = offer.batch.clone();
        for ((seq, record), event) in (batch.first..).zip(&mut batch.records).zip(&offer.events) {
            transaction.event(seq, &event.body)?;
            for (target, (_, names)) in record.targets.iter_mut().zip(&event.targets) {
                let numbers = names.iter().map(|name| self.route_number(name, transaction, &mut new_routes));
                target.routes = numbers.collect::<Result<_, _>>()?;
            }
        }
        transaction.batch(&batch)?;
        Ok(new_routes)
    }

    fn route_number(
        &self,
        name: &Arc<str>,
        transaction: &Transaction<'_>,
        new_routes: &mut NewRoutes,
    ) -> rusqlite::Result<u32> {
        if let Some(number) = self.routes.get(name) {
            return Ok(*number);
        }
        let number = transaction.name(NameKind::Route, name)?;
        new_routes.push((Arc::clone(name), number));
        Ok(number)
    }

    pub(super) fn learn(&mut self, new_routes: NewRoutes) {
        self.routes.extend(new_routes);
    }

    /// The events are durable: they are counted, and the sinks may have them.
    pub(super) fn publish(&mut self, offer: Offer, sinks: &[SinkState]) {
        let Offer { batch, events, .. } = offer;
        self.next_seq += batch.records.len() as u64;
        self.metrics.intake.accepted.add(batch.records.len() as u64);
        let entries = batch.numbered().zip(events).map(|((seq, record), event)| {
            if let Some(repaired) = &event.repaired {
                repaired.set(Fate::Accepted);
            }
            let accepted = Event {
                id: record.id,
                sequence: self.epochs.sequence(seq),
                network: self.network,
                stream: event.stream,
                origin: event.origin(),
                accepted_at: batch.accepted_at,
                facts: event.facts,
                body: event.body,
            };
            Entry { event: Arc::new(accepted), lane: record.lane, targets: event.targets }
        });
        self.recent.push(entries);
        self.owned.publish();
        for (seq, record) in batch.numbered() {
            let wanted_by = |sink: &&SinkState| record.names(sink.id);
            for sink in sinks.iter().filter(wanted_by) {
                sink.metrics.obligations.increment();
                sink.metrics.pending.add(1);
                sink.metrics.pending_bytes.add(record.body_bytes.into());
                sink.bell.ring(seq);
            }
        }
        self.recent.rung(self.next_seq - 1);
    }

    fn count_repeat(&self, repeat: Repeat) {
        let intake = &self.metrics.intake;
        intake.duplicates.increment();
        match repeat {
            Repeat::Same => {}
            Repeat::Recurred => intake.recurred.increment(),
            Repeat::Variant => intake.variants.increment(),
        }
    }
}

impl Candidate {
    fn origin(&self) -> Origin {
        self.repaired.as_ref().map_or(Origin::Stream, |repaired| repaired.origin())
    }
}

fn record(event: &Candidate, id: EventId) -> Record {
    Record {
        stream: event.stream,
        origin: event.origin(),
        id,
        base: event.identity.base,
        lane: event.identity.lane.unwrap_or(0),
        has_deploy: event.identity.has_deploy,
        body_bytes: u32::try_from(event.body.len()).unwrap_or(u32::MAX),
        targets: event.targets.iter().map(|(sink, _)| Target { sink: *sink, routes: Vec::new() }).collect(),
    }
}
