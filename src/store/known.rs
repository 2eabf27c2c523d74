//! Which events were accepted before: the whole decision, in memory, without a look at the disk.
//!
//! One 16-byte key an event, in a set; the order in which keys are forgotten is the order of the batch rows on disk,
//! so the set itself keeps none. Smaller memories stand beside it: when events without a deploy hash last came, what
//! each recently active lane accepted last, and what backfills told single sinks of theirs. All are bounded and may
//! forget; forgetting costs a statistic or lets a repeated event through, never a new one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::{Duration, Instant};

use super::SinkId;
use crate::config::{DedupConfig, IdentityRule};
use crate::event::{EventId, Identity, Key, LaneKey};

/// Lanes remembered per generation; two generations are kept.
const LANES_MAX: usize = 200_000;
/// Events without a deploy hash remembered for their window; beyond it the oldest are forgotten early.
const TIMED_MAX: usize = 200_000;

/// What is to become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New {
        is_variant: bool,
    },
    /// New, though its state was seen before: it needs an id of its own.
    Recurrence,
    Duplicate(Repeat),
}

/// What a duplicate looks like beside the last event of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Same,
    /// The lane has moved on since: perhaps the same state came about again.
    Recurred,
    /// Dropped by the literal rule, though its state is another one.
    Variant,
}

#[derive(Debug)]
pub(super) struct Known {
    rule: IdentityRule,
    window_without_deploy: Duration,
    keys: HashSet<Key, BuildHasherDefault<Prefix>>,
    timed: HashMap<Key, Instant, BuildHasherDefault<Prefix>>,
    timed_order: VecDeque<(Instant, Key)>,
    lanes: Generations<LaneKey, Last>,
    filled: Generations<(LaneKey, SinkId), Filled>,
}

impl Known {
    pub(super) fn new(config: &DedupConfig) -> Self {
        Self {
            rule: config.identity,
            window_without_deploy: config.window_without_deploy,
            keys: HashSet::default(),
            timed: HashMap::default(),
            timed_order: VecDeque::new(),
            lanes: Generations::default(),
            filled: Generations::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Judges an event; changes nothing.
    pub(super) fn judge(&self, identity: &Identity, now: Instant) -> Verdict {
        let key = self.key(identity);
        let is_known = self.keys.contains(&key);
        if !identity.has_deploy {
            let is_recent = self.timed.get(&key).is_some_and(|at| now.duration_since(*at) < self.window_without_deploy);
            return match (is_recent, is_known) {
                (true, _) => Verdict::Duplicate(self.repeat(identity)),
                (false, true) => Verdict::Recurrence,
                (false, false) => Verdict::New { is_variant: false },
            };
        }
        if is_known {
            Verdict::Duplicate(self.repeat(identity))
        } else {
            Verdict::New { is_variant: self.is_variant(identity) }
        }
    }

    /// Remembers an accepted event. `id` is the one it was given, which differs from `identity.id` for a recurrence.
    pub(super) fn insert(&mut self, identity: &Identity, id: EventId, seq: u64, now: Instant) {
        let key = self.key(identity);
        self.keys.insert(key);
        if !identity.has_deploy {
            self.insert_timed(key, now);
        }
        self.remember_lane(identity, id, seq);
    }

    /// Remembers an event of an earlier run. `accepted` is `None` if it lies before what this clock can tell.
    pub(super) fn restore(&mut self, identity: &Identity, seq: u64, accepted: Option<Instant>) {
        let key = self.key(identity);
        self.keys.insert(key);
        if let Some(accepted) = accepted.filter(|_| !identity.has_deploy) {
            self.insert_timed(key, accepted);
        }
        self.remember_lane(identity, identity.id, seq);
    }

    /// Takes back an insertion whose commit failed.
    pub(super) fn undo(&mut self, identity: &Identity, is_recurrence: bool) {
        let key = self.key(identity);
        if !is_recurrence {
            self.keys.remove(&key);
        }
        self.timed.remove(&key);
    }

    /// Forgets an event whose window has passed.
    pub(super) fn forget(&mut self, identity: &Identity) {
        self.keys.remove(&self.key(identity));
    }

    /// Whether it was accepted.
    pub(super) fn has(&self, identity: &Identity) -> bool {
        self.keys.contains(&self.key(identity))
    }

    /// What a lane accepted last, as far as that is remembered.
    pub(super) fn last(&self, lane: LaneKey) -> Option<Last> {
        self.lanes.find(lane)
    }

    /// Whether each state is an event of its own.
    pub(super) fn tells_states(&self) -> bool {
        self.rule == IdentityRule::State
    }

    /// A backfill has told one sink, and nobody else, the state of a lane.
    pub(super) fn fill(&mut self, identity: &Identity, sink: SinkId, seq: u64) {
        let Some(lane) = identity.lane else { return };
        self.filled.insert((lane, sink), Filled { base: head(&identity.base), seq });
    }

    /// Takes back what a failed commit has not told.
    pub(super) fn unfill(&mut self, identity: &Identity, sink: SinkId) {
        identity.lane.into_iter().for_each(|lane| self.filled.remove((lane, sink)));
    }

    /// What a backfill has told a sink of a lane last, as far as that is remembered.
    pub(super) fn filled(&self, lane: LaneKey, sink: SinkId) -> Option<Filled> {
        self.filled.find((lane, sink))
    }

    fn remember_lane(&mut self, identity: &Identity, id: EventId, seq: u64) {
        let Some(lane) = identity.lane else { return };
        let base = head(&identity.base);
        let before = self.lanes.find(lane).map_or(0, |last| last.deploy);
        let deploy = if identity.has_deploy { base } else { before };
        self.lanes.insert(lane, Last { id: head(&id.0), base, deploy, seq });
    }

    fn key(&self, identity: &Identity) -> Key {
        match self.rule {
            IdentityRule::DeployToken => identity.base,
            // A recurrence is known by its state, not by the id that it was given.
            IdentityRule::State if identity.has_deploy => identity.id.0,
            IdentityRule::State => identity.base,
        }
    }

    fn repeat(&self, identity: &Identity) -> Repeat {
        match identity.lane.and_then(|lane| self.lanes.find(lane)) {
            None => Repeat::Same,
            Some(last) if last.id == head(&identity.id.0) => Repeat::Same,
            // A recurrence bears an id of its own; its state is in the base.
            Some(last) if !identity.has_deploy && last.base == head(&identity.base) => Repeat::Same,
            Some(last) if last.base == head(&identity.base) && self.rule == IdentityRule::DeployToken => {
                Repeat::Variant
            }
            Some(_) => Repeat::Recurred,
        }
    }

    fn is_variant(&self, identity: &Identity) -> bool {
        let last = identity.lane.and_then(|lane| self.lanes.find(lane));
        last.is_some_and(|last| last.base == head(&identity.base))
    }

    fn insert_timed(&mut self, key: Key, now: Instant) {
        self.timed.insert(key, now);
        self.timed_order.push_back((now, key));
        while let Some((at, oldest)) = self.timed_order.front() {
            let is_over = now.duration_since(*at) >= self.window_without_deploy;
            if !is_over && self.timed_order.len() <= TIMED_MAX {
                break;
            }
            if self.timed.get(oldest) == Some(at) {
                self.timed.remove(oldest);
            }
            self.timed_order.pop_front();
        }
    }
}

/// The last event of a lane, by the heads of its keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) id: u64,
    pub(super) base: u64,
    /// The base of the last one with a deploy hash; 0 if none is known.
    pub(super) deploy: u64,
    pub(super) seq: u64,
}

/// What a backfill told: the head of its base, and its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) base: u64,
    pub(super) seq: u64,
}

/// A map that forgets what was not touched for a long time, without a list of its own: two maps, and when the young
/// one is full it becomes the old one.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V, BuildHasherDefault<Prefix>>,
    old: HashMap<K, V, BuildHasherDefault<Prefix>>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<K: Eq + Hash, V: Copy> Generations<K, V> {
    fn find(&self, key: K) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= LANES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: K) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

pub(super) fn head(key: &Key) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Keys are parts of a SHA-256 already: their first eight bytes are as good a hash as any.
#[derive(Debug, Default)]
pub(super) struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*head);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 ^= n;
    }

    /// The length of an array: the same for all keys.
    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn known(rule: IdentityRule) -> Known {
        Known::new(&DedupConfig {
            identity: rule,
            window: MINUTE * 60,
            window_without_deploy: MINUTE * 10,
            max_keys: 1000,
        })
    }

    /// An event of lane 1 with the given state; `deploy` 0 stands for none.
    fn event(state: u8, deploy: u8) -> Identity {
        let id = EventId([state.wrapping_mul(16).wrapping_add(deploy); 16]);
        let base = if deploy == 0 { id.0 } else { [deploy ^ 0xff; 16] };
        Identity { id, base, lane: Some(1), has_deploy: deploy != 0 }
    }

    fn accept(known: &mut Known, identity: &Identity, now: Instant) -> Verdict {
        let verdict = known.judge(identity, now);
        if !matches!(verdict, Verdict::Duplicate(_)) {
            known.insert(identity, identity.id, 1, now);
        }
        verdict
    }

    const NEW: Verdict = Verdict::New { is_variant: false };

    #[test]
    fn by_state_each_state_of_a_deploy_is_an_event() {
        let (mut known, now) = (known(IdentityRule::State), crate::clock::monotonic());
        assert_eq!(accept(&mut known, &event(1, 1), now), NEW);
        assert_eq!(accept(&mut known, &event(1, 1), now), Verdict::Duplicate(Repeat::Same));
        assert_eq!(accept(&mut known, &event(2, 1), now), Verdict::New { is_variant: true });
        assert_eq!(accept(&mut known, &event(1, 1), now), Verdict::Duplicate(Repeat::Recurred));
        assert_eq!(accept(&mut known, &event(1, 2), now), NEW);
    }

    #[test]
    fn by_the_literal_rule_the_first_of_a_deploy_wins() {
        let (mut known, now) = (known(IdentityRule::DeployToken), crate::clock::monotonic());
        assert_eq!(accept(&mut known, &event(1, 1), now), NEW);
        assert_eq!(accept(&mut known, &event(2, 1), now), Verdict::Duplicate(Repeat::Variant));
        assert_eq!(accept(&mut known, &event(1, 1), now), Verdict::Duplicate(Repeat::Same));
        assert_eq!(accept(&mut known, &event(2, 2), now), NEW);
    }

    #[test]
    fn without_a_deploy_the_same_state_may_come_again_after_the_window() {
        let (mut known, now) = (known(IdentityRule::State), crate::clock::monotonic());
        assert_eq!(accept(&mut known, &event(1, 0), now), NEW);
        assert_eq!(accept(&mut known, &event(1, 0), now + MINUTE * 9), Verdict::Duplicate(Repeat::Same));
        assert_eq!(accept(&mut known, &event(1, 0), now + MINUTE * 10), Verdict::Recurrence);
        assert_eq!(accept(&mut known, &event(1, 0), now + MINUTE * 11), Verdict::Duplicate(Repeat::Same));
    }

    #[test]
    fn an_insertion_can_be_taken_back() {
        let (mut known, now) = (known(IdentityRule::State), crate::clock::monotonic());
        for identity in [event(1, 1), event(1, 0)] {
            accept(&mut known, &identity, now);
            known.undo(&identity, false);
            assert!(matches!(known.judge(&identity, now), Verdict::New { .. }));
        }
        assert_eq!(known.len(), 0);
        accept(&mut known, &event(1, 0), now);
        let later = now + MINUTE * 20;
        assert_eq!(accept(&mut known, &event(1, 0), later), Verdict::Recurrence);
        known.undo(&event(1, 0), true);
        assert_eq!(known.judge(&event(1, 0), later), Verdict::Recurrence, "it is still not the first");
    }

    #[test]
    fn the_memory_of_lanes_and_times_is_bounded() {
        let (mut known, now) = (known(IdentityRule::State), crate::clock::monotonic());
        for n in 0..500_000_u64 {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let identity = Identity { id: EventId(key), base: key, lane: Some(n + 1), has_deploy: false };
            accept(&mut known, &identity, now);
        }
        assert!(known.lanes.young.len() + known.lanes.old.len() <= 2 * LANES_MAX);
        assert!(known.timed.len() <= TIMED_MAX && known.timed_order.len() <= TIMED_MAX);
    }
}
