//! The first half of a sequence, which says in which life of the log an event got its number.
//!
//! Numbers that were lost with the end of a damaged log are given again, and sinks may have seen them: in a new epoch
//! they are higher than whatever sinks have seen. An event keeps the epoch in which it was accepted, so that a
//! delivery that comes again bears the sequence that it had.

use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::event::Sequence;

/// The epochs of a store, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Epochs(Vec<Epoch>);

#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// The number of its first event.
    first: u64,
    value: u64,
}

impl Epochs {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT first, value FROM epoch ORDER BY first")?;
        let rows = statement.query_map([], |row| Ok(Epoch { first: row.get(0)?, value: row.get(1)? }))?;
        rows.collect::<Result<_, _>>().map(Self)
    }

    /// Begins a new one with the event `first`. To be the first write after the damage was seen: the next start no
    /// longer sees it.
    pub(super) fn begin(connection: &Connection, first: u64, now: Timestamp) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO epoch SELECT ?1, max(coalesce(max(value) + 1, 0), ?2) FROM epoch";
        connection.execute(sql, params![first, now.0]).map(drop)
    }

    /// The sequence of the event `number`.
    pub(super) fn sequence(&self, number: u64) -> Sequence {
        let after = self.0.partition_point(|epoch| epoch.first <= number);
        let epoch = after.checked_sub(1).and_then(|place| self.0.get(place)).map_or(0, |epoch| epoch.value);
        Sequence { epoch, number }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn an_event_keeps_its_epoch_and_sequences_rise() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(directory.path(), 1_000).unwrap();
        // The second in the same place, before any event; the third with a clock that went back.
        for (first, now) in [(10, 2_000), (10, 3_000), (20, 2_500)] {
            Epochs::begin(&connection, first, Timestamp(now)).unwrap();
        }
        let epochs = Epochs::read(&connection).unwrap();
        let sequence = |number| epochs.sequence(number).epoch;
        assert_eq!([1, 9, 10, 19, 20, 99].map(sequence), [1_000, 1_000, 3_000, 3_000, 3_001, 3_001]);
    }
}
