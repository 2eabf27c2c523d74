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
        "since": sum.since(at),
    });
    message("dead_letter.created", &data, at)
}

pub(super) fn expired(sink: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let data = json!({ "sink": sink, "count": sum.count, "since": sum.since(at) });
    message("sink.expiring", &data, at)
}

pub(super) fn silent(stream: &str, sum: &Sum, at: Timestamp) -> Bytes {
    let silence_ms = u64::try_from(sum.silence.as_millis()).unwrap_or(u64::MAX);
    let data = json!({ "stream": stream, "count": sum.count, "silence_ms": silence_ms, "since": sum.since(at) });
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
        "since": sum.since(at),
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
        "since": sum.since(at),
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
