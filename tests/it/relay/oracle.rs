//! The judge of every fault test: what was sent, what each sink got and what the store says must agree.
//!
//! *Accepted* is known only inside the relay, but the numbers of accepted events are dense: a number up to the store's
//! newest that a sink with all events did not receive is a lost event, whatever was lost in sockets before.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::listener::Arrival;
use super::store::Database;

/// What may be sent twice because of one kill: what was in flight (the greatest `concurrency`), and what was settled
/// but not yet durably so (`UNRECORDED_MAX` in the store).
pub(crate) const REPEATS_PER_KILL_MAX: usize = 1_000 + 1_024;

/// A line of the emulator's record.
#[derive(Deserialize)]
struct Line<'a> {
    sent_at_ms: u64,
    #[serde(borrow)]
    message: &'a RawValue,
}

/// The digests of all messages that an emulator sent, with the time of the first sending.
pub(crate) struct Sent(HashMap<[u8; 32], u64>);

impl Sent {
    pub(crate) fn read(record: &Path) -> Self {
        let text = std::fs::read_to_string(record).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Line<'_>>(line).unwrap());
        Self(lines.map(|line| (digest(line.message.get()), line.sent_at_ms)).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn has(&self, digest: &[u8; 32]) -> bool {
        self.0.contains_key(digest)
    }

    /// Those sent at or after a time in milliseconds since 1970.
    pub(crate) fn since(&self, at_ms: u64) -> HashSet<[u8; 32]> {
        self.0.iter().filter(|(_, sent_at_ms)| **sent_at_ms >= at_ms).map(|(digest, _)| *digest).collect()
    }
}

fn digest(message: &str) -> [u8; 32] {
    Sha256::digest(message.as_bytes()).into()
}

/// What was found about one sink, beyond that all is well.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) received: usize,
    pub(crate) repeats: usize,
    pub(crate) repeats_per_kill_max: usize,
}

/// Checks one sink that is to get every event. `owed` are the numbers that it must not have missed.
pub(crate) fn check_sink(name: &str, sent: &Sent, arrivals: &[Arrival], owed: &BTreeSet<u64>) -> Findings {
    let mut faults = Vec::new();
    let mut firsts: HashMap<u64, &Arrival> = HashMap::new();
    let mut newest_of_lane: HashMap<&str, u64> = HashMap::new();
    let mut repeats_after: HashMap<u64, usize> = HashMap::new();
    for arrival in arrivals {
        check_content(sent, arrival, &mut faults);
        if !arrival.is_received() {
            continue;
        }
        let number = arrival.number;
        if let Some(first) = firsts.get(&number) {
            *repeats_after.entry(first.life).or_default() += 1;
            check_repeat(first, arrival, &mut faults);
            continue;
        }
        firsts.insert(number, arrival);
        let newest = newest_of_lane.entry(&arrival.lane).or_default();
        if number < *newest {
            faults.push(format!("I6: {number} came after {newest} in lane {}", arrival.lane));
        }
        *newest = number.max(*newest);
    }
    let received: BTreeSet<u64> = firsts.keys().copied().collect();
    faults.extend(owed.difference(&received).map(|number| format!("I1: {number} was accepted and never arrived")));
    let ids: HashSet<&str> = firsts.values().map(|first| &*first.id).collect();
    if ids.len() != firsts.len() {
        faults.push(format!("I5: {} events have {} ids", firsts.len(), ids.len()));
    }
    let repeats_per_kill_max = repeats_after.values().copied().max().unwrap_or(0);
    if repeats_per_kill_max > REPEATS_PER_KILL_MAX {
        faults.push(format!("I5: {repeats_per_kill_max} repeats after one kill"));
    }
    assert!(faults.is_empty(), "{name}: {} faults, first {:#?}", faults.len(), &faults[..faults.len().min(20)]);
    Findings { received: received.len(), repeats: repeats_after.values().sum(), repeats_per_kill_max }
}

fn check_content(sent: &Sent, arrival: &Arrival, faults: &mut Vec<String>) {
    if !arrival.is_signed {
        faults.push(format!("I2: the signature of {} is wrong", arrival.number));
    }
    if !sent.has(&arrival.digest) {
        faults.push(format!("I3: nobody sent the bytes of {}", arrival.number));
    }
}

/// A repeat comes from another life of the relay, and is the same event.
fn check_repeat(first: &Arrival, again: &Arrival, faults: &mut Vec<String>) {
    if first.life == again.life {
        faults.push(format!("I5: {} came twice from life {}", again.number, again.life));
    }
    if (&first.id, &first.sequence, first.digest) != (&again.id, &again.sequence, again.digest) {
        faults.push(format!("I5: {} came again as another event: {first:?} {again:?}", again.number));
    }
}

/// All numbers up to the newest, but those of the sink's dead letters.
pub(crate) fn owed(store: &Database, sink: &str) -> BTreeSet<u64> {
    let dead: BTreeSet<u64> = store.dead(sink).into_iter().collect();
    (1..=store.newest()).filter(|number| !dead.contains(number)).collect()
}

#[test]
fn the_oracle_sees_each_fault() {
    let arrival = |number: u64, life, lane: &str, body: &str| Arrival {
        at: tokio::time::Instant::now(),
        id: format!("evt_{number}").into(),
        sequence: format!("e-{number:x}").into(),
        number,
        lane: lane.into(),
        token: "".into(),
        attempt: 1,
        life,
        digest: digest(body),
        is_signed: true,
        is_replay: false,
        is_test: false,
        answer: 204,
    };
    let sent = Sent(["a", "b", "c"].map(|body| (digest(body), 0)).into());
    let owed = BTreeSet::from([1, 2]);
    let good = vec![arrival(1, 1, "x", "a"), arrival(2, 1, "x", "b"), arrival(2, 2, "x", "b")];
    let findings = check_sink("good", &sent, &good, &owed);
    assert_eq!((findings.received, findings.repeats, findings.repeats_per_kill_max), (2, 1, 1));
    let changed = |place: usize, change: fn(&mut Arrival)| {
        let mut arrivals = good.clone();
        change(&mut arrivals[place]);
        arrivals
    };
    let cases = [
        ("I1", good[..1].to_vec()),
        ("I1", changed(0, |arrival| arrival.answer = 500)),
        ("I2", changed(0, |arrival| arrival.is_signed = false)),
        ("I3", changed(0, |arrival| arrival.digest[0] ^= 1)),
        ("I5", changed(2, |arrival| arrival.life = 1)),
        ("I5", changed(2, |arrival| arrival.id = "evt_x".into())),
        ("I5", changed(0, |arrival| arrival.id = "evt_2".into())),
        ("I6", [&good[1..2], &good[0..1]].concat()),
    ];
    for (fault, arrivals) in cases {
        let judged = std::panic::catch_unwind(|| check_sink("bad", &sent, &arrivals, &owed));
        let verdict = *judged.unwrap_err().downcast::<String>().unwrap();
        assert!(verdict.contains(fault), "{fault}: {verdict}");
    }
}
