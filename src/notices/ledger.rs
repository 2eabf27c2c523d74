//! What was noticed and is not told yet: a pure structure. Bounded by the names of sinks and streams.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{GapNotice, Halt, Letter, PAUSE, message};
use crate::clock::Timestamp;
use crate::config::SinkName;
use crate::event::Stream;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    sums: BTreeMap<(Kind, String), Entry>,
    sinks: BTreeMap<SinkName, Standing>,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    DeadLetter,
    Expired,
    Silent,
    GapOpened,
    GapClosed,
}

#[derive(Debug, Default)]
struct Entry {
    sum: Option<Sum>,
    quiet_until: Option<Instant>,
}

/// Things of a kind that were noticed one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) count: u64,
    /// When the first of them was seen here.
    pub(super) since: Option<Timestamp>,
    pub(super) causes: BTreeMap<&'static str, u64>,
    /// The lowest and the highest.
    pub(super) sequences: (u64, u64),
    /// Of the last.
    pub(super) reason: String,
    pub(super) silence: Duration,
    /// The last one, with what came back in all.
    pub(super) gap: GapNotice,
}

impl Sum {
    pub(super) fn since_or(&self, now: Timestamp) -> String {
        self.since.unwrap_or(now).to_string()
    }
}

/// How a sink stands, and what was told of that.
#[derive(Debug, Default)]
struct Standing {
    now: Option<Halt>,
    told: Option<Halt>,
    quiet_until: Option<Instant>,
}

impl Ledger {
    pub(super) fn dead_letter(&mut self, sink: &SinkName, letter: Letter<'_>) {
        let sum = self.sum(Kind::DeadLetter, &sink.0);
        let Letter { sequence, cause, reason } = letter;
        let (first, last) = if sum.count == 0 { (sequence, sequence) } else { sum.sequences };
        sum.sequences = (first.min(sequence), last.max(sequence));
        sum.count += 1;
        *sum.causes.entry(cause).or_default() += 1;
        reason.clone_into(&mut sum.reason);
    }

    pub(super) fn expired(&mut self, sink: &SinkName, count: u64) {
        self.sum(Kind::Expired, &sink.0).count += count;
    }

    pub(super) fn silent(&mut self, stream: Stream, silence: Duration) {
        let sum = self.sum(Kind::Silent, stream.as_str());
        sum.count += 1;
        sum.silence = silence;
    }

    pub(super) fn gap_opened(&mut self, stream: Stream, gap: GapNotice) {
        let sum = self.sum(Kind::GapOpened, stream.as_str());
        sum.count += 1;
        sum.gap = gap;
    }

    pub(super) fn gap_closed(&mut self, stream: Stream, gap: GapNotice) {
        let sum = self.sum(Kind::GapClosed, stream.as_str());
        sum.count += 1;
        let returned = sum.gap.returned + gap.returned;
        sum.gap = GapNotice { returned, ..gap };
    }

    /// What a sink was before counts as told: by an earlier run, or before anybody wanted to know.
    pub(super) fn stands(&mut self, sink: &SinkName, before: Option<Halt>, now: Option<Halt>) {
        let first = || Standing { told: before, ..Standing::default() };
        self.sinks.entry(sink.clone()).or_insert_with(first).now = now;
    }

    /// What is to be told now. A sink that came to stand as it was told to stand is not told of.
    pub(super) fn due(&mut self, now: Instant, wall: Timestamp) -> Vec<Bytes> {
        let mut messages = Vec::new();
        for ((kind, subject), entry) in &mut self.sums {
            let Some(sum) = &mut entry.sum else { continue };
            sum.since = sum.since.or(Some(wall));
            if is_over(entry.quiet_until, now) {
                messages.push(kind.tell(subject, sum, wall));
                *entry = Entry { sum: None, quiet_until: Some(now + PAUSE) };
            }
        }
        self.sums.retain(|_, entry| entry.sum.is_some() || !is_over(entry.quiet_until, now));
        for (sink, standing) in &mut self.sinks {
            if is_over(standing.quiet_until, now)
                && let Some(message) = standing.tell(sink, wall)
            {
                messages.push(message);
                standing.quiet_until = Some(now + PAUSE);
            }
        }
        self.sinks.retain(|_, standing| !standing.is_forgettable(now));
        messages
    }

    pub(super) fn rest(&mut self, wall: Timestamp) -> Vec<Bytes> {
        let sums = std::mem::take(&mut self.sums).into_iter();
        let told = sums.filter_map(|((kind, subject), entry)| Some(kind.tell(&subject, &entry.sum?, wall)));
        let standings = std::mem::take(&mut self.sinks).into_iter();
        told.chain(standings.filter_map(|(sink, mut standing)| standing.tell(&sink, wall))).collect()
    }

    fn sum(&mut self, kind: Kind, subject: &str) -> &mut Sum {
        self.sums.entry((kind, subject.to_owned())).or_default().sum.get_or_insert_default()
    }
}

impl Kind {
    fn tell(self, subject: &str, sum: &Sum, wall: Timestamp) -> Bytes {
        match self {
            Self::DeadLetter => message::dead_letters(subject, sum, wall),
            Self::Expired => message::expired(subject, sum, wall),
            Self::Silent => message::silent(subject, sum, wall),
            Self::GapOpened => message::gap_opened(subject, sum, wall),
            Self::GapClosed => message::gap_closed(subject, sum, wall),
        }
    }
}

impl Standing {
    /// What is new, which counts as told then.
    fn tell(&mut self, sink: &SinkName, wall: Timestamp) -> Option<Bytes> {
        let before = std::mem::replace(&mut self.told, self.now.clone());
        match (&before, &self.now) {
            (before, now) if before.as_ref().map(|halt| halt.by) == now.as_ref().map(|halt| halt.by) => None,
            (_, Some(halt)) => Some(message::paused(&sink.0, halt, wall)),
            (Some(from), None) => Some(message::recovered(&sink.0, from, wall)),
            (None, None) => None,
        }
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        self.now.is_none() && self.told.is_none() && is_over(self.quiet_until, now)
    }
}

fn is_over(until: Option<Instant>, now: Instant) -> bool {
    until.is_none_or(|until| until <= now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn letter(sequence: u64, cause: &'static str) -> Letter<'static> {
        Letter { sequence, cause, reason: "no" }
    }

    fn told(messages: &[Bytes]) -> Vec<Value> {
        messages.iter().map(|message| serde_json::from_slice(message).unwrap()).collect()
    }

    fn actions(messages: &[Bytes]) -> Vec<String> {
        told(messages).iter().map(|message| message["action"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_what_follows_is_summed_up() {
        let (mut ledger, start, crm) = (Ledger::default(), Instant::now(), SinkName("crm".into()));
        ledger.dead_letter(&crm, letter(7, "refused"));
        let first = told(&ledger.due(start, Timestamp(1_000)));
        let expected = json!([{
            "action": "dead_letter.created",
            "data": { "sink": "crm", "count": 1, "causes": { "refused": 1 }, "first_sequence": 7, "last_sequence": 7,
                      "reason": "no", "since": "1970-01-01T00:00:01.000Z" },
            "timestamp": "1970-01-01T00:00:01.000Z",
        }]);
        assert_eq!(Value::from(first), expected);
        for sequence in [12, 9, 30] {
            ledger.dead_letter(&crm, letter(sequence, if sequence == 9 { "timeout" } else { "server" }));
            assert!(ledger.due(start + SECOND, Timestamp(2_000)).is_empty());
        }
        let second = told(&ledger.due(start + PAUSE, Timestamp(61_000)));
        let data = &second[0]["data"];
        assert_eq!((&data["count"], &data["causes"]), (&json!(3), &json!({ "server": 2, "timeout": 1 })));
        assert_eq!((&data["first_sequence"], &data["last_sequence"]), (&json!(9), &json!(30)));
        assert_eq!(data["since"], "1970-01-01T00:00:02.000Z");
        assert!(ledger.due(start + PAUSE * 2, Timestamp(0)).is_empty() && ledger.sums.is_empty(), "and forgotten");
    }

    #[test]
    fn a_sink_that_comes_and_goes_is_told_as_it_stands_when_the_pause_is_over() {
        let (mut ledger, start, crm) = (Ledger::default(), Instant::now(), SinkName("crm".into()));
        let halt = |by| Some(Halt { by, reason: "gone".to_owned() });
        ledger.stands(&crm, None, None);
        assert!(ledger.due(start, Timestamp(1)).is_empty(), "it never was otherwise");
        ledger.stands(&crm, None, halt("breaker"));
        assert_eq!(actions(&ledger.due(start, Timestamp(1))), ["sink.paused"]);
        for _ in 0..3 {
            ledger.stands(&crm, halt("breaker"), None);
            assert!(ledger.due(start + SECOND, Timestamp(2)).is_empty());
            ledger.stands(&crm, None, halt("breaker"));
        }
        assert!(ledger.due(start + PAUSE, Timestamp(3)).is_empty(), "it stands as was told");
        ledger.stands(&crm, halt("breaker"), halt("operator"));
        assert_eq!(actions(&ledger.due(start + PAUSE, Timestamp(3))), ["sink.paused"]);
        ledger.stands(&crm, halt("operator"), None);
        let last = told(&ledger.due(start + PAUSE * 2, Timestamp(4)));
        assert_eq!((&last[0]["action"], &last[0]["data"]["by"]), (&json!("sink.recovered"), &json!("operator")));
        assert!(ledger.due(start + PAUSE * 3, Timestamp(5)).is_empty() && ledger.sinks.is_empty(), "and forgotten");
    }

    #[test]
    fn a_sink_that_an_earlier_run_paused_recovers() {
        let (mut ledger, crm) = (Ledger::default(), SinkName("crm".into()));
        ledger.stands(&crm, Some(Halt { by: "destination", reason: "gone".to_owned() }), None);
        assert_eq!(actions(&ledger.due(Instant::now(), Timestamp(1))), ["sink.recovered"]);
    }

    #[test]
    fn gaps_are_told_when_they_begin_and_when_they_were_seen_to() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let opened = |number| GapNotice {
            number,
            from: Timestamp(number * 1_000),
            word: "disconnected",
            reason: Some("gone".to_owned()),
            returned: 0,
        };
        let closed = |number, returned| GapNotice { word: "repaired", reason: None, returned, ..opened(number) };
        ledger.gap_opened(Stream::NftTokens, opened(1));
        let first = told(&ledger.due(start, Timestamp(2_000)));
        let expected = json!({ "stream": "nft-tokens", "count": 1, "gap": 1, "from": "1970-01-01T00:00:01.000Z",
                               "cause": "disconnected", "reason": "gone", "since": "1970-01-01T00:00:02.000Z" });
        assert_eq!((&first[0]["action"], &first[0]["data"]), (&json!("gap.opened"), &expected));
        ledger.gap_closed(Stream::NftTokens, closed(1, 3));
        ledger.gap_closed(Stream::NftTokens, closed(2, 4));
        let second = told(&ledger.due(start + SECOND, Timestamp(3_000)));
        let expected = json!({ "stream": "nft-tokens", "count": 2, "gap": 2, "from": "1970-01-01T00:00:02.000Z",
                               "state": "repaired", "reason": null, "returned": 7, "since": "1970-01-01T00:00:03.000Z" });
        assert_eq!((&second[0]["action"], &second[0]["data"]), (&json!("gap.closed"), &expected));
    }

    #[test]
    fn before_a_stop_all_is_told() {
        let (mut ledger, start, crm) = (Ledger::default(), Instant::now(), SinkName("crm".into()));
        ledger.expired(&crm, 5);
        ledger.silent(Stream::NftTokens, SECOND);
        assert_eq!(actions(&ledger.due(start, Timestamp(1))), ["sink.expiring", "source.silent"]);
        ledger.expired(&crm, 2);
        ledger.expired(&crm, 1);
        ledger.stands(&crm, None, Some(Halt { by: "operator", reason: String::new() }));
        let rest = ledger.rest(Timestamp(2));
        assert_eq!(actions(&rest), ["sink.expiring", "sink.paused"]);
        assert_eq!(told(&rest)[0]["data"]["count"], 3);
        assert!(ledger.rest(Timestamp(3)).is_empty());
    }
}
