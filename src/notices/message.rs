//! What is told, as messages of the same shape as CSPR.cloud's: `action`, `data`, `timestamp`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Halt;
use super::ledger::Sum;
use crate::clock::Timestamp;

fn message(action: &str, data: &Value, at: Timestamp) -> Bytes {
    json!({ "action": action, "data": data, "timestamp": at.to_string() }).to_string().into()
}

pub(super) fn dead_letters(sink: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let data = json!({
        "sink": sink,
        "count": sum.count,
        "causes": sum.causes,
        "first_sequence": sum.sequences.0,
        "last_sequence": sum.sequences.1,
        "reason": sum.reason,
        "since": sum.since_or(at),
    });
    message("dead_letter.created", &data, at)
}

pub(super) fn expired(sink: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let data = json!({ "sink": sink, "count": sum.count, "since": sum.since_or(at) });
    message("sink.expiring", &data, at)
}

pub(super) fn silent(stream: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let silence_ms = u64::try_from(sum.silence.as_millis()).unwrap_or(u64::MAX);
    let data = json!({ "stream": stream, "count": sum.count, "silence_ms": silence_ms, "since": sum.since_or(at) });
    message("source.silent", &data, at)
}

pub(super) fn gap_opened(stream: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let gap = &sum.gap;
    let data = json!({
        "stream": stream,
        "count": sum.count,
        "gap": gap.number,
        "from": gap.from.to_string(),
        "cause": gap.word,
        "reason": gap.reason,
        "since": sum.since_or(at),
    });
    message("gap.opened", &data, at)
}

pub(super) fn gap_closed(stream: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let gap = &sum.gap;
    let data = json!({
        "stream": stream,
        "count": sum.count,
        "gap": gap.number,
        "from": gap.from.to_string(),
        "state": gap.word,
        "reason": gap.reason,
        "returned": gap.returned,
        "since": sum.since_or(at),
    });
    message("gap.closed", &data, at)
}

/// `at` is part of the data, since a sink may come to stand alike twice.
pub(super) fn paused(sink: &str, halt: &Halt, at: Timestamp) -> Bytes {
    let data = json!({ "sink": sink, "by": halt.by, "reason": halt.reason, "since": at.to_string() });
    message("sink.paused", &data, at)
}

pub(super) fn recovered(sink: &str, from: &Halt, at: Timestamp) -> Bytes {
    let data = json!({ "sink": sink, "by": from.by, "since": at.to_string() });
    message("sink.recovered", &data, at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Stream;
    use crate::notices::GapNotice;

    /// `docs/schemas/relay.json` is held against this file.
    #[test]
    fn each_kind_is_told_as_the_fixture_has_it() {
        let (at, since) = (Timestamp(1_763_719_241_000), Timestamp(1_763_719_200_000));
        let halt = |by, reason: &str| Halt { by, reason: reason.to_owned() };
        let (count, causes) = (3, [("refused", 2), ("timeout", 1)].into());
        let (reason, silence) = ("status 422: unknown token".to_owned(), Duration::from_secs(60));
        let gap = |word, reason: &str, returned| GapNotice {
            number: 7,
            from: since,
            word,
            reason: Some(reason.to_owned()),
            returned,
        };
        let sequences = (812, 815);
        let sum = Sum { count, since: Some(since), causes, sequences, reason, silence, gap: GapNotice::default() };
        let begun = Sum { gap: gap("disconnected", "the server closed the connection", 0), ..sum.clone() };
        let ended = Sum { gap: gap("partial", "REST does not say all of it", 12), ..sum.clone() };
        let told = [
            dead_letters("crm", &sum, at),
            paused("crm", &halt("breaker", "connect: refused"), at),
            recovered("crm", &halt("breaker", "connect: refused"), at),
            expired("crm", &sum, at),
            silent("nft-tokens", &sum, at),
            gap_opened("nft-tokens", &begun, at),
            gap_closed("nft-tokens", &ended, at),
        ];
        let told: Vec<_> = told.iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect();
        let fixture: Vec<&str> = include_str!("../../tests/fixtures/relay.jsonl").lines().collect();
        assert_eq!(told, fixture);
        for action in Stream::Relay.actions() {
            assert!(told.iter().any(|line| line.contains(&format!("\"action\":\"{action}\""))), "{action}");
        }
        assert_eq!(told.len(), Stream::Relay.actions().len(), "what a route may wait for");
    }
}
