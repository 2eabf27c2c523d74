//! What the store has of that which REST tells, for a job that sends it to a sink.
//!
//! An event that is there goes as it is: with the id it always had, judged like any row of a replay. So nothing is sent
//! that the sink has, and a sink that was not there when an event was accepted gets it all the same.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use bytes::Bytes;
use rusqlite::OptionalExtension;

use super::step::Candidate;
use super::{Counts, Cursor, Page, Survey};
use crate::event::{EventId, LaneKey};
use crate::store::SinkId;
use crate::store::format::{Batch, open_body};
use crate::store::lookup::{batch_row, newest_of_ids, newest_of_lanes};

/// A stored event that may go to a sink.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) body: Bytes,
    row: Candidate,
}

impl Survey {
    /// The newest event of each of these lanes; none of a lane whose newest one is not kept any more.
    pub(crate) fn newest_of(
        &self,
        sink: SinkId,
        lanes: &HashSet<LaneKey>,
    ) -> rusqlite::Result<HashMap<LaneKey, Stored>> {
        self.rows(sink, newest_of_lanes(&self.connection, lanes)?)
    }

    /// The events with these ids, as far as they are kept.
    pub(crate) fn with_ids(&self, sink: SinkId, ids: &HashSet<EventId>) -> rusqlite::Result<HashMap<EventId, Stored>> {
        self.rows(sink, newest_of_ids(&self.connection, ids)?)
    }

    fn rows<K: Eq + Hash>(&self, sink: SinkId, found: HashMap<K, u64>) -> rusqlite::Result<HashMap<K, Stored>> {
        let row = |(key, seq)| self.row(sink, seq).map(|stored| Some((key, stored?))).transpose();
        found.into_iter().filter_map(row).collect()
    }

    fn row(&self, sink: SinkId, seq: u64) -> rusqlite::Result<Option<Stored>> {
        let Some((first, row)) = batch_row(&self.connection, seq)? else { return Ok(None) };
        let Ok(batch) = Batch::decode(first, &row) else { return Ok(None) };
        let Some(record) = batch.record(seq) else { return Ok(None) };
        let mut statement = self.connection.prepare_cached("SELECT row FROM event WHERE seq = ?1")?;
        let body: Option<Vec<u8>> = statement.query_row([seq], |row| row.get(0)).optional()?;
        let Some(Ok(body)) = body.map(|row| open_body(seq, &row)) else { return Ok(None) };
        let event = self.facts.event(seq, record, batch.accepted_at, body.clone());
        let claimed = self.claimed(seq, sink, record, event)?;
        let (is_named, lane, body_bytes) = (record.names(sink), record.lane, record.body_bytes);
        let row = Candidate { sink, seq, lane, body_bytes, is_named, is_superseded: false, claimed };
        Ok(Some(Stored { body, row }))
    }
}

impl Page {
    /// The stored events among what was looked at, up to the row with this number; `counts` is about the others.
    pub(crate) fn of_stored(stored: Vec<Stored>, counts: Counts, looked_at: u64, is_last: bool) -> Self {
        let rows = stored.into_iter().map(|stored| stored.row).collect();
        Self { rows, counts, cursor: Cursor { sink: 0, seq: looked_at }, is_last }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::event::Origin;
    use crate::store::tests::{Fixture, candidate, settings};
    use crate::store::{Candidate, Fate, Knowledge, Repaired, Store, events};

    /// An event of token 1 for sink `a`, told by REST.
    fn told(store: &Store, deploy: u64, repaired: Repaired) -> Candidate {
        let repaired = Some(Arc::new(repaired.backfill()));
        Candidate { repaired, ..candidate(store, 1, deploy, &["a"]) }
    }

    #[tokio::test]
    async fn what_one_sink_asked_for_is_not_kept_from_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let (store, told) = (fixture.store.clone(), told(&fixture.store, 1, Repaired::default()));
        assert_eq!(store.accept_repaired(vec![told]).await.unwrap(), [Fate::Accepted]);
        fixture.close().await;

        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let live = || vec![candidate(&fixture.store, 1, 1, &["a", "b"])];
        fixture.store.accept(live()).await.unwrap();
        fixture.store.accept(live()).await.unwrap();
        fixture.sync().await;
        let all = events(directory.path()).unwrap();
        let origins = [1, 2, 3].map(|seq| all.history(seq).unwrap().map(|found| found.origin));
        assert_eq!(origins, [Some(Origin::Backfill), Some(Origin::Stream), None]);
        let ids = [1, 2].map(|seq| all.history(seq).unwrap().unwrap().id);
        assert_eq!(ids[0], ids[1], "whoever had it drops it by its id");
    }

    #[tokio::test]
    async fn a_listing_that_the_stream_has_overtaken_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let store = &fixture.store;
        let live = candidate(store, 1, 7, &["b"]);
        let knows = live.identity;
        store.accept(vec![live]).await.unwrap();
        fixture.sync().await;
        let knowing = |states: Vec<_>| Knowledge { states, after: 1, ..Knowledge::default() };
        let listed = |knows: Vec<_>| vec![told(store, 8, Repaired::new(knowing(knows)))];
        assert_eq!(store.accept_repaired(listed(vec![])).await.unwrap(), [Fate::Behind]);
        assert_eq!(store.accept_repaired(listed(vec![knows])).await.unwrap(), [Fate::Accepted]);
    }

    #[tokio::test]
    async fn the_newest_event_of_a_lane_is_found_with_its_message() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let events: Vec<_> = (1..=3).map(|deploy| candidate(&fixture.store, 1, deploy, &["b"])).collect();
        let (lane, last) = (events[2].identity.lane.unwrap(), events[2].clone());
        fixture.store.accept(events).await.unwrap();
        fixture.sync().await;
        let survey = fixture.store.survey().unwrap();
        let sink = fixture.store.sink_id(&crate::config::SinkName("a".into())).unwrap();
        let found = survey.newest_of(sink, &HashSet::from([lane, 5])).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[&lane].body, found[&lane].row.is_named), (&last.body, false));
        let found = survey.with_ids(sink, &HashSet::from([last.identity.id])).unwrap();
        assert_eq!(found[&last.identity.id].body, last.body);
    }
}
