//! The judge of every case: what was sent, what is accepted and what the destination has must agree.

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::Receipt;
use crate::relay::oracle::Sent;
use crate::relay::store::Database;

/// What a case allows beyond one receipt of each event.
#[derive(Default)]
pub(super) struct Allowed {
    /// Further receipts, each of another attempt, of what was taken, since its confirm was not learned or not recorded.
    pub(super) repeats: usize,
    /// Dead letters there must be.
    pub(super) dead: usize,
}

/// Gives the number of repeats.
pub(super) fn judge(sent: &Sent, receipts: &[Receipt], database: &Database, allowed: &Allowed) -> usize {
    let dead = database.dead("sink");
    assert_eq!(dead.len(), allowed.dead, "dead letters: {dead:?}");
    let owed: BTreeSet<u64> = (1..=database.newest()).filter(|number| !dead.contains(number)).collect();
    let mut firsts: HashMap<u64, &Receipt> = HashMap::new();
    let mut attempts = HashSet::new();
    let mut newest_of_lane: HashMap<[&str; 3], u64> = HashMap::new();
    for receipt in receipts {
        check_form(receipt);
        assert!(sent.has(&Sha256::digest(&receipt.body).into()), "nobody sent the bytes of {receipt:?}");
        let number = receipt.number();
        let attempt = ["x-life", "cspr-relay-attempt"].map(|name| receipt.header(name));
        assert!(attempts.insert((number, attempt)), "{number} came twice by one attempt");
        if let Some(first) = firsts.get(&number) {
            assert_eq!((&first.id, &first.body), (&receipt.id, &receipt.body), "{number} came again as another event");
            continue;
        }
        firsts.insert(number, receipt);
        let newest = newest_of_lane.entry(receipt.lane()).or_default();
        assert!(number > *newest, "{number} came after {newest} in lane {:?}", receipt.lane());
        *newest = number;
    }
    let received: BTreeSet<u64> = firsts.keys().copied().collect();
    assert_eq!(owed.difference(&received).count(), 0, "accepted and never taken: {:?}", owed.difference(&received));
    let ids: BTreeSet<&str> = firsts.values().map(|first| &*first.id).collect();
    assert_eq!(ids.len(), firsts.len(), "an id of its own for each event");
    let repeats = receipts.len() - firsts.len();
    assert!(repeats <= allowed.repeats, "{repeats} came again, of at most {}", allowed.repeats);
    repeats
}

/// The rules that hold for the headers of every message.
fn check_form(receipt: &Receipt) {
    assert!(receipt.id.starts_with("evt_") && receipt.id.len() == 30, "{receipt:?}");
    let ours = receipt.headers.iter().filter(|(name, _)| name.starts_with("cspr-relay-") || *name == "traceparent");
    let mut names = BTreeSet::new();
    for (name, value) in ours {
        assert!(value.bytes().all(|byte| matches!(byte, b'!'..=b'~')), "{name}: {value:?}");
        assert!((1..=512).contains(&value.len()), "{name}: {value:?}");
        names.insert(name.as_str());
    }
    for name in
        ["network", "stream", "action", "contract-package", "sequence", "routes", "origin", "accepted-at", "attempt"]
    {
        assert!(names.contains(format!("cspr-relay-{name}").as_str()), "{name} is missing: {receipt:?}");
    }
    assert!(names.contains("traceparent"));
}
