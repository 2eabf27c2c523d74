//! Events that REST told after the fact: which of them the store still takes.
//!
//! REST lags the stream, and a token may have moved on since it was asked. So such an event is refused if the lane
//! has an event that REST did not know of yet, and dropped if the same state came by another way: unless the lane was
//! told something else since, which REST knows. Then the state has come back (A→B→A), and is a further occurrence with
//! an id of its own. That is believed only of a lane to which nothing came for as long as REST may lag.
//!
//! A backfill tells one sink what others need not know, so what it told does not count as known. It is remembered by
//! lane and sink instead: a repair leaves that sink out, or is asked again if the sink was told something newer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::epoch::Epochs;
use super::error::Stopped;
use super::known::{Filled, Known, Last, head};
use super::{Candidate, SinkId, Store};
use crate::event::{Identity, Origin};

/// A sink, and the routes that lead there.
type Destination = (SinkId, Arc<[Arc<str>]>);

/// What REST knew of a token when it told its present state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    /// Events that say the same: if one of them was accepted, this one is not needed, unless the state has come back.
    pub(crate) same: Vec<Identity>,
    /// The present state, in all ways in which it would be told: for each deploy that REST lists for the token, and
    /// without one.
    pub(crate) states: Vec<Identity>,
    /// REST may not know yet what was accepted later than this.
    pub(crate) after: u64,
    /// The newest event when the reading began.
    pub(crate) began: u64,
}

/// What is known of an event that did not come by the stream.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// `None`: neither the order nor what else was told matters.
    knowledge: Option<Knowledge>,
    is_backfill: bool,
    fate: AtomicU8,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    Accepted = 1,
    Known = 2,
    /// The lane has an event that REST did not know of: to be asked again, or not needed any more.
    Behind = 3,
}

/// What is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is judged as every event.
    Take,
    /// Its state was told before, and something else since: it has come back.
    TakeAgain,
    Refuse(Fate),
}

impl Repaired {
    pub(crate) fn new(knowledge: Knowledge) -> Self {
        Self { knowledge: Some(knowledge), ..Self::default() }
    }

    /// Asked for by an operator, and not because of a gap.
    pub(crate) fn backfill(self) -> Self {
        Self { is_backfill: true, ..self }
    }

    pub(super) fn origin(&self) -> Origin {
        if self.is_backfill { Origin::Backfill } else { Origin::Repair }
    }

    pub(super) fn set(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::Relaxed);
    }

    fn fate(&self) -> Option<Fate> {
        let code = self.fate.load(Ordering::Relaxed);
        [Fate::Accepted, Fate::Known, Fate::Behind].into_iter().find(|fate| *fate as u8 == code)
    }

    /// Whether the event is taken; sinks that a backfill has told the same leave its targets.
    pub(super) fn rule(
        &self,
        identity: &Identity,
        targets: &mut Vec<Destination>,
        (known, epochs): (&Known, &Epochs),
    ) -> Ruling {
        let Some(knowledge) = &self.knowledge else { return Ruling::Take };
        let Some(lane) = identity.lane else { return Ruling::Take };
        let last = known.last(lane);
        let is_told = !self.is_backfill && (known.has(identity) || knowledge.same.iter().any(|same| known.has(same)));
        // A state that nobody was told yet is not what REST still tells for want of the last one.
        let is_new = self.is_backfill && !knowledge.states.iter().any(|state| known.has(state));
        let after = if is_new { knowledge.began } else { knowledge.after };
        let ruling = match last {
            None if is_told => Ruling::Refuse(Fate::Known),
            None => Ruling::Take,
            Some(last) if is_told => knowledge.rule_told(&last, known, epochs),
            Some(last) if knowledge.is_behind(&last, after) => Ruling::Refuse(Fate::Behind),
            Some(_) => Ruling::Take,
        };
        if self.is_backfill || matches!(ruling, Ruling::Refuse(_)) {
            return ruling;
        }
        let filled = |sink| known.filled(lane, sink);
        knowledge.leave_out(targets, filled, last.map_or(0, |last| last.seq)).map_or(ruling, Ruling::Refuse)
    }
}

impl Knowledge {
    fn knows(&self, base: u64) -> bool {
        self.states.iter().any(|state| head(&state.base) == base)
    }

    /// Whether the lane was told what REST did not know, which may not know of anything later than `after`.
    fn is_behind(&self, last: &Last, after: u64) -> bool {
        let knows_last = last.deploy == 0 || self.knows(last.deploy);
        // An event without a deploy tells a state that REST may lag.
        let is_overtaken = last.deploy != last.base && last.seq > after && !self.knows(last.base);
        !knows_last || is_overtaken
    }

    /// Whether this state is the last that the lane was told, by whichever event.
    fn is_last(&self, last: &Last, epochs: &Epochs) -> bool {
        let place = epochs.sequence(last.seq);
        self.states.iter().chain(&self.same).any(|state| {
            // One that recurred bears an id of its own; without a deploy its base tells the state.
            let is_itself = last.id == head(&state.id.0) || last.id == head(&state.recurrence(place).0);
            is_itself || (!state.has_deploy && last.base == head(&state.base))
        })
    }

    /// The state was told before. It is told again if the lane was told something else since, and REST knows of that:
    /// for long enough not to lag behind.
    fn rule_told(&self, last: &Last, known: &Known, epochs: &Epochs) -> Ruling {
        if !known.tells_states() || self.is_last(last, epochs) || self.is_behind(last, self.after) {
            return Ruling::Refuse(Fate::Known);
        }
        if last.seq > self.after { Ruling::Refuse(Fate::Behind) } else { Ruling::TakeAgain }
    }

    /// Takes out those whom a backfill has told the same, and nobody anything since; says why nothing is left.
    fn leave_out(
        &self,
        targets: &mut Vec<Destination>,
        filled: impl Fn(SinkId) -> Option<Filled>,
        last: u64,
    ) -> Option<Fate> {
        let has_newer = |sink| filled(sink).is_some_and(|told| told.seq > self.began && !self.knows(told.base));
        if targets.iter().any(|(sink, _)| has_newer(*sink)) {
            return Some(Fate::Behind);
        }
        let is_same = |told: Filled| told.seq > last && self.same.iter().any(|same| head(&same.base) == told.base);
        targets.retain(|(sink, _)| !filled(*sink).is_some_and(is_same));
        targets.is_empty().then_some(Fate::Known)
    }
}

impl Store {
    /// As [`Store::accept`], and returns what became of each when that is durable.
    pub(crate) async fn accept_repaired(&self, events: Vec<Candidate>) -> Result<Vec<Fate>, Stopped> {
        let repaired: Vec<_> = events.iter().filter_map(|event| event.repaired.clone()).collect();
        self.observe(Vec::new(), events).await?;
        repaired.iter().map(|repaired| repaired.fate().ok_or(Stopped)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::IdentityRule;
    use crate::store::tests::{Fixture, candidate_of, settings};
    use crate::store::{Settings, events};

    /// What is told of token 1: `state` by deploy `deploy`, 0 for none.
    fn told(store: &Store, state: u64, deploy: u64, sinks: &[&str]) -> Candidate {
        let extra = if deploy == 0 { "null".to_owned() } else { format!(r#"{{"deploy_hash":"{deploy}"}}"#) };
        let body = format!(
            r#"{{"data":{{"contract_package_hash":"aa","token_id":"1","owner_hash":"{state}"}},"action":"updated","extra":{extra}}}"#
        );
        candidate_of(store, body, sinks)
    }

    /// `state` as REST tells it, which lists these deploys, the last one first.
    fn read(store: &Store, state: u64, deploys: &[u64], (after, began): (u64, u64)) -> Candidate {
        let told = |deploy| told(store, state, deploy, &["a", "b"]);
        let states = deploys.iter().chain([&0]).map(|deploy| told(*deploy).identity).collect();
        let knowledge = Knowledge { same: vec![told(0).identity], states, after, began };
        Candidate { repaired: Some(Arc::new(Repaired::new(knowledge))), ..told(deploys[0]) }
    }

    fn backfilled(store: &Store, state: u64, sink: &str) -> Candidate {
        let states = [0, 7].map(|deploy| told(store, state, deploy, &[]).identity).to_vec();
        let repaired = Repaired::new(Knowledge { states, after: u64::MAX, ..Knowledge::default() }).backfill();
        Candidate { repaired: Some(Arc::new(repaired)), ..told(store, state, 0, &[sink]) }
    }

    async fn fate(fixture: &Fixture, candidate: Candidate) -> Fate {
        fixture.store.accept_repaired(vec![candidate]).await.unwrap()[0]
    }

    async fn live(fixture: &Fixture, told: &[(u64, u64)]) {
        let events = told.iter().map(|(state, deploy)| self::told(&fixture.store, *state, *deploy, &["a", "b"]));
        fixture.store.accept(events.collect()).await.unwrap();
        fixture.sync().await;
    }

    fn open(directory: &std::path::Path) -> Fixture {
        Fixture::open(settings(directory), Clock::default())
    }

    #[tokio::test]
    async fn a_state_that_came_back_is_told_again_and_only_once() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = open(directory.path());
        // A and B by one deploy, or by two of which the stream told the earlier one last.
        live(&fixture, &[(1, 7), (2, 7), (1, 9), (2, 8)]).await;
        let came_back = |store: &Store, deploys: &[u64]| read(store, 1, deploys, (4, 4));
        assert_eq!(fate(&fixture, came_back(&fixture.store, &[9, 8, 7])).await, Fate::Accepted);
        assert_eq!(fate(&fixture, came_back(&fixture.store, &[9, 8, 7])).await, Fate::Known);
        fixture.close().await;
        let fixture = open(directory.path());
        assert_eq!(fate(&fixture, came_back(&fixture.store, &[9, 8, 7])).await, Fate::Known, "after a restart, too");
        let all = events(directory.path()).unwrap();
        let ids = [3, 5].map(|seq| all.history(seq).unwrap().unwrap().id);
        assert_ne!(ids[0], ids[1], "nobody may take the further occurrence for a repeat of the first");
        fixture.close().await;
    }

    #[tokio::test]
    async fn a_state_came_back_only_if_rest_knows_what_was_told_since() {
        for (told, deploys, after, expected) in [
            // It was told last.
            (&[(2, 7), (1, 7)][..], &[7][..], 2, Fate::Known),
            (&[(2, 7), (1, 7), (1, 0)], &[7], 3, Fate::Known),
            // Without a deploy: metadata that went away again.
            (&[(1, 7), (2, 0)], &[7], 2, Fate::Accepted),
            (&[(1, 7), (2, 0)], &[7], 1, Fate::Known),
            // REST does not know of deploy 8.
            (&[(1, 7), (2, 8)], &[7], 2, Fate::Known),
            // It knows, but perhaps not its state.
            (&[(1, 7), (2, 7)], &[7], 1, Fate::Behind),
            (&[(1, 7), (2, 7)], &[7], 2, Fate::Accepted),
            (&[(1, 0), (2, 7)], &[7], 2, Fate::Accepted),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let fixture = open(directory.path());
            live(&fixture, told).await;
            let found = fate(&fixture, read(&fixture.store, 1, deploys, (after, after))).await;
            assert_eq!(found, expected, "{told:?} {deploys:?} {after}");
            fixture.close().await;
        }
    }

    #[tokio::test]
    async fn by_the_literal_rule_no_state_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let dedup = crate::config::DedupConfig { identity: IdentityRule::DeployToken, ..settings.dedup };
        let fixture = Fixture::open(Settings { dedup, ..settings }, Clock::default());
        live(&fixture, &[(1, 7), (2, 8)]).await;
        assert_eq!(fate(&fixture, read(&fixture.store, 1, &[7, 8], (2, 2))).await, Fate::Known);
        fixture.close().await;
    }

    #[tokio::test]
    async fn whom_a_backfill_has_told_the_same_a_repair_leaves_out() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = open(directory.path());
        live(&fixture, &[(1, 7)]).await;
        assert_eq!(fate(&fixture, backfilled(&fixture.store, 2, "a")).await, Fate::Accepted);
        fixture.close().await;
        let fixture = open(directory.path());
        let repair = |state, began| read(&fixture.store, state, &[8, 7], (1, began));
        assert_eq!(fate(&fixture, repair(3, 1)).await, Fate::Behind, "the backfill has read later");
        assert_eq!(fate(&fixture, repair(2, 1)).await, Fate::Accepted);
        fixture.sync().await;
        let all = events(directory.path()).unwrap();
        let sinks = all.history(3).unwrap().unwrap().deliveries.len();
        assert_eq!(sinks, 1, "the other sink");
        fixture.close().await;
    }
    #[tokio::test]
    async fn a_backfill_is_behind_what_came_without_a_deploy_if_it_tells_what_was_told_before() {
        // What the lane was told, what REST tells, and of which event it must know.
        for (told, state, after, expected) in [
            (&[(1, 7), (2, 0)][..], 1, 1, Fate::Behind),
            (&[(1, 7), (2, 0)], 1, 2, Fate::Accepted),
            // Missed by the stream: it is newer.
            (&[(1, 7), (2, 0)], 3, 1, Fate::Accepted),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let fixture = open(directory.path());
            live(&fixture, told).await;
            let states = [0, 7].map(|deploy| self::told(&fixture.store, state, deploy, &[]).identity).to_vec();
            let knowledge = Knowledge { states, after, began: 2, ..Knowledge::default() };
            let repaired = Some(Arc::new(Repaired::new(knowledge).backfill()));
            let candidate = Candidate { repaired, ..self::told(&fixture.store, state, 0, &["a"]) };
            assert_eq!(fate(&fixture, candidate).await, expected, "{told:?} {state} {after}");
            fixture.close().await;
        }
    }
}
