//! The counts of a moment: of the source, the relay and the receivers.

use super::stage::{Stage, sink_name};
use crate::emulator::receiver::Tally;
use crate::metrics::{Metrics, SinkMetrics};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) connected: u64,
    pub(super) disconnects: u64,
    pub(super) pings: u64,
    /// Messages that the source wrote to a connection.
    pub(super) sent: u64,
    /// Of these: such that it had written before.
    pub(super) sent_again: u64,
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) unmatched: u64,
    pub(super) quarantined: u64,
    pub(super) sinks: Vec<Row>,
}

/// A sink as the relay sees it, and as its receiver does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) obligations: u64,
    pub(super) delivered: u64,
    pub(super) pending: u64,
    pub(super) waiting: u64,
    pub(super) held: u64,
    pub(super) in_flight: u64,
    pub(super) dead: u64,
    pub(super) expired: u64,
    pub(super) is_open: bool,
    pub(super) receiver: Tally,
}

impl Snapshot {
    pub(super) fn take(stage: &Stage, metrics: &Metrics) -> Self {
        let tally = stage.emulator.tally();
        let sent_again = tally.duplicates_total() + tally.repeats;
        let rows = stage.receivers.iter().filter_map(|(name, receiver)| {
            let sink = metrics.sink(&sink_name(name))?;
            Some(Row::take(name, &sink, receiver.tally()))
        });
        Self {
            connected: metrics.source.connected(),
            disconnects: metrics.source.disconnects.value(),
            pings: metrics.source.pings.value(),
            sent: tally.sent_total() + sent_again,
            sent_again,
            accepted: metrics.intake.accepted.value(),
            duplicates: metrics.intake.duplicates.value(),
            unmatched: metrics.intake.unmatched.value(),
            quarantined: metrics.intake.quarantined.value(),
            sinks: rows.collect(),
        }
    }

    /// Messages whose fate is known.
    pub(super) fn handled(&self) -> u64 {
        self.accepted + self.duplicates + self.unmatched + self.quarantined
    }

    /// Whether everything that was sent has come to its end.
    pub(super) fn is_settled(&self) -> bool {
        self.handled() >= self.sent && self.sinks.iter().all(|sink| sink.pending == 0)
    }
}

impl Row {
    fn take(name: &'static str, sink: &SinkMetrics, receiver: Tally) -> Self {
        Self {
            name,
            obligations: sink.obligations.value(),
            delivered: sink.delivered.value(),
            pending: sink.pending.value(),
            waiting: sink.waiting.value(),
            held: sink.held.value(),
            in_flight: sink.in_flight.value(),
            dead: sink.dead.value(),
            expired: sink.expired.value(),
            is_open: sink.breaker_open.value() > 0,
            receiver,
        }
    }
}
