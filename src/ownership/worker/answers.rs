//! What becomes of an answer: compare, write down, tell, and look again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::compare::{Change, Next, Seen, next};
use super::super::message::{Told, message};
use super::super::schedule::Pending;
use super::super::walk::{Findings, Found};
use super::{Answer, Walking, Worker};
use crate::event::Stream;
use crate::source::rest::{Ownership, RestError, Walked};
use crate::store::{Candidate, Cause, Due, Holding, Observed, Stopped};

/// Holdings written in one transaction.
const STEPS_MAX: usize = 500;
/// After a walk that did not meet everybody, since pages shifted, comes another one.
const SHIFTED_AGAIN: Duration = Duration::from_secs(60);
/// That many walks in a row at the most.
const TRIES_MAX: u32 = 3;

impl Worker {
    pub(super) async fn take(&mut self, answer: Answer) -> Result<(), Stopped> {
        match answer {
            Answer::Owner(pending, seen) => {
                self.asks -= 1;
                self.schedule.answered(&pending.key());
                self.take_owner(pending, seen).await
            }
            Answer::Package(walked) => self.take_package(walked).await,
        }
    }

    async fn take_owner(&mut self, pending: Pending, seen: Result<Seen, RestError>) -> Result<(), Stopped> {
        let (package, owner) = pending.key();
        let change = match seen {
            Ok(seen) => {
                self.note_success();
                self.setup.metrics.ownership.looks.increment();
                if let Some(walking) = self.walking.as_mut().filter(|walking| walking.package == package) {
                    walking.asked.insert(Arc::clone(&owner));
                }
                let known = self.setup.store.holding(&package, &owner).await?;
                Change::between(known.as_ref(), seen)
            }
            // One owner whom CSPR.cloud does not like must not keep the others waiting.
            Err(error @ (RestError::Refused { .. } | RestError::NotFound)) => {
                self.note_trouble(&error);
                None
            }
            Err(error) => {
                self.pause(&error);
                let at = Instant::now();
                self.schedule.again(pending, at);
                return Ok(());
            }
        };
        if !self.schedule.watches(&package) {
            return Ok(());
        }
        let (mut steps, mut events) = (vec![self.follow(pending.clone(), change.is_some())], Vec::new());
        if let Some(change) = change {
            self.tell(&package, &owner, change, pending.due.cause.as_deref(), &mut (&mut steps, &mut events));
        }
        self.setup.store.observe(steps, events).await
    }

    /// What becomes of a due that was answered.
    fn follow(&mut self, pending: Pending, has_changed: bool) -> Observed {
        match next(&pending.due, pending.marks, has_changed) {
            Next::Settled => Observed::Settled(pending.due),
            Next::LookAfter(wait) => {
                let due = Due { looks: pending.due.looks.saturating_add(1), ..pending.due.clone() };
                self.schedule.again(pending.with(due.clone()), Instant::now() + wait);
                Observed::Again(due)
            }
        }
    }

    /// Adds a changed holding, and the event about it if some route wants it.
    fn tell(
        &self,
        package: &Arc<str>,
        owner: &Arc<str>,
        change: Change,
        cause: Option<&Cause>,
        to: &mut (&mut Vec<Observed>, &mut Vec<Candidate>),
    ) {
        let place = self.setup.store.next_place();
        let holding = Holding {
            package: Arc::clone(package),
            owner: Arc::clone(owner),
            owner_type: change.seen.owner_type,
            tokens: change.seen.tokens,
            // Above that of the last event about the owner, which is not above the number of that event.
            revision: place.number,
        };
        let told = Told { holding: &holding, change, cause, epoch: place.epoch, at: self.setup.clock.now() };
        self.setup.metrics.ownership.changes.increment();
        let event = self.setup.intake.wanted(Stream::NftTokenOwnership, &message(&told));
        if event.is_none() {
            self.setup.metrics.intake.unmatched.increment();
        }
        to.1.extend(event);
        to.0.push(Observed::Holding(holding));
    }

    async fn take_package(&mut self, walked: Result<Walked, RestError>) -> Result<(), Stopped> {
        let Some(walking) = self.walking.take() else { return Ok(()) };
        let now = Instant::now();
        let walked = match walked {
            Ok(walked) => walked,
            Err(error) => {
                self.pause(&error);
                self.schedule.walk_failed(&walking.package, now, walking.walk.tries);
                walking.held.into_iter().for_each(|pending| self.schedule.again(pending, now));
                return Ok(());
            }
        };
        self.note_success();
        self.setup.metrics.ownership.walks.increment();
        self.setup.metrics.ownership.walked_at.set_moment(Some(self.setup.clock.now()));
        let has_shifted = walked.missed() > 0 && walking.walk.tries + 1 < TRIES_MAX;
        if has_shifted && !self.schedule.is_walked(&walking.package) {
            // What is missing from the first walk would later look as if it were new.
            let settle = self.watching.borrow().config.settle;
            self.schedule.walk_failed(&walking.package, now + settle, walking.walk.tries + 1);
            walking.held.into_iter().for_each(|pending| self.schedule.again(pending, now));
            return Ok(());
        }
        if has_shifted {
            self.schedule.walk_at(&walking.package, now + SHIFTED_AGAIN, walking.walk.tries + 1);
        }
        self.finish_walk(walking, &walked.rows).await
    }

    async fn finish_walk(&mut self, walking: Walking, rows: &[Ownership]) -> Result<(), Stopped> {
        let Walking { package, held, mut asked, .. } = walking;
        let is_first = !self.schedule.is_walked(&package);
        let known = self.setup.store.holdings(&package).await?;
        let met: HashMap<Arc<str>, Seen> = rows.iter().map(|row| (owner_of(row), seen(row))).collect();
        let is_asking = |owner: &&Arc<str>| self.schedule.is_asking(&(Arc::clone(&package), Arc::clone(owner)));
        let asking: Vec<Arc<str>> = met.keys().filter(is_asking).cloned().collect();
        asked.extend(asking.into_iter().chain(known.iter().map(|holding| &holding.owner).filter(is_asking).cloned()));
        let dues = held.iter().map(|pending| pending.due.clone()).collect();
        let owners = met.len();
        let outcome = Findings { met, known, asked, held: dues }.judge();
        if is_first && !self.watching.borrow().config.emit_baseline {
            self.write_baseline(&package, &outcome.changes).await?;
        } else {
            self.write_changes(&package, &outcome.changes).await?;
        }

        let mut held: HashMap<Arc<str>, Pending> =
            held.into_iter().map(|pending| (Arc::clone(&pending.due.owner), pending)).collect();
        let mut steps = Vec::new();
        for (due, has_changed) in outcome.answered {
            let pending = held.remove(&due.owner);
            steps.extend(pending.map(|pending| self.follow(pending, has_changed)));
        }
        let unanswered = outcome.unanswered.iter().filter_map(|due| held.remove(&due.owner)).collect::<Vec<_>>();
        unanswered.into_iter().for_each(|pending| self.schedule.alone(pending, Instant::now()));
        steps.extend(outcome.missed.into_iter().map(|owner| Observed::Missed { package: Arc::clone(&package), owner }));
        let dues_to = self.schedule.walked(&package, owners, Instant::now());
        steps.push(Observed::Walked { package, dues_to });
        self.setup.store.observe(steps, Vec::new()).await
    }

    /// Some at a time; a crash in between leaves the rest to the next walk.
    async fn write_changes(&mut self, package: &Arc<str>, changes: &[Found]) -> Result<(), Stopped> {
        for some in changes.chunks(STEPS_MAX) {
            let (mut steps, mut events) = (Vec::with_capacity(some.len()), Vec::new());
            for (owner, change, due) in some {
                let key = (Arc::clone(package), Arc::clone(owner));
                let due = due.as_ref().or_else(|| self.schedule.due(&key));
                let cause = due.and_then(|due| due.cause.as_deref());
                self.tell(package, owner, *change, cause, &mut (&mut steps, &mut events));
            }
            self.setup.store.observe(steps, events).await?;
        }
        Ok(())
    }

    /// What is there from the beginning; nothing is told of it.
    async fn write_baseline(&mut self, package: &Arc<str>, changes: &[Found]) -> Result<(), Stopped> {
        for some in changes.chunks(STEPS_MAX) {
            let holding = |(owner, change, _): &Found| {
                let (package, owner) = (Arc::clone(package), Arc::clone(owner));
                let Seen { owner_type, tokens } = change.seen;
                Observed::Holding(Holding { package, owner, owner_type, tokens, revision: 0 })
            };
            self.setup.store.observe(some.iter().map(holding).collect(), Vec::new()).await?;
        }
        Ok(())
    }
}

fn owner_of(row: &Ownership) -> Arc<str> {
    row.owner_hash.to_ascii_lowercase().into()
}

fn seen(row: &Ownership) -> Seen {
    Seen { owner_type: row.owner_type, tokens: row.tokens_number }
}

/// What an answer about one owner says: who is not in it has nothing.
pub(super) fn seen_of(rows: &[Ownership], package: &str, owner: &str) -> Seen {
    let is_meant = |row: &&Ownership| {
        row.contract_package_hash.eq_ignore_ascii_case(package) && row.owner_hash.eq_ignore_ascii_case(owner)
    };
    rows.iter().find(is_meant).map_or_else(Seen::default, seen)
}
