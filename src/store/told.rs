//! What stored events have told, for whoever holds it against what REST lists.
//!
//! Events are removed one by one, their records only from the oldest on: so from a certain event on it is known of
//! everything whether it was accepted.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::OptionalExtension;

use super::error::OpenError;
use super::format::{Batch, open_body};
use super::lookup::{newest_of_ids, newest_of_lanes};
use super::{Store, schema};
use crate::clock::Timestamp;
use crate::event::{EventId, Stream, token_lane};

/// The newest event of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastTold {
    Never,
    Kept(Bytes),
    /// It is not kept any more, or is one that came later.
    Other,
}

impl Store {
    /// The newest event of `nft-tokens` about a token, if that is none after the event `to`. Blocks for a moment.
    pub(crate) fn last_told(&self, package: &str, id: &str, to: u64) -> Result<LastTold, OpenError> {
        let connection = schema::open_to_look(&self.surveys.directory)?;
        let lanes = token_lane(Stream::NftTokens, package, id).into_iter().collect();
        let newest = newest_of_lanes(&connection, &lanes)?.into_values().next();
        let Some(seq) = newest else { return Ok(LastTold::Never) };
        let sql = "SELECT row FROM event WHERE seq = ?1 AND seq <= ?2";
        let row: Option<Vec<u8>> = connection.query_row(sql, [seq, to], |row| row.get(0)).optional()?;
        let body = row.and_then(|row| open_body(seq, &row).ok());
        Ok(body.map_or(LastTold::Other, LastTold::Kept))
    }

    /// Those of the ids that accepted events have. Blocks for a moment.
    pub(crate) fn accepted_of(&self, ids: &HashSet<EventId>) -> Result<HashSet<EventId>, OpenError> {
        let connection = schema::open_to_look(&self.surveys.directory)?;
        Ok(newest_of_ids(&connection, ids)?.into_keys().collect())
    }

    /// From when on it is known of each event whether it was accepted. Blocks for a moment.
    pub(crate) fn recorded_since(&self) -> Result<Timestamp, OpenError> {
        let connection = schema::open_to_look(&self.surveys.directory)?;
        let sql = "SELECT first, row FROM batch ORDER BY first LIMIT 1";
        let oldest = connection.query_row(sql, [], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let is_complete = |first: u64| first == 1;
        Ok(match oldest.optional()? {
            Some((first, _)) if is_complete(first) => Timestamp::default(),
            Some((first, row)) => Batch::decode(first, &row).map_or(Timestamp(u64::MAX), |batch| batch.accepted_at),
            None if self.newest() == 0 => Timestamp::default(),
            None => Timestamp(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::tests::{Fixture, candidate, settings};

    #[tokio::test]
    async fn what_was_accepted_is_known_though_its_message_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let store = fixture.store.clone();
        assert_eq!(store.recorded_since().unwrap(), Timestamp::default(), "nothing was ever accepted");
        let events: Vec<_> = (1..=3).map(|deploy| candidate(&store, 1, deploy, &["a"])).collect();
        let (last, unknown) = (events[2].clone(), candidate(&store, 1, 9, &["a"]).identity.id);
        let (package, token) = (last.facts.contract_package.clone().unwrap(), last.facts.token_id.clone().unwrap());
        store.accept(events.clone()).await.unwrap();
        fixture.sync().await;
        assert_eq!(store.recorded_since().unwrap(), Timestamp::default(), "from the first event on");
        assert_eq!(store.last_told(&package, &token, 3).unwrap(), LastTold::Kept(last.body));
        assert_eq!(store.last_told(&package, &token, 2).unwrap(), LastTold::Other);
        assert_eq!(store.last_told(&package, "another", 3).unwrap(), LastTold::Never);
        let ids: HashSet<EventId> = events.iter().map(|event| event.identity.id).chain([unknown]).collect();
        let accepted = store.accepted_of(&ids).unwrap();
        assert!(accepted.len() == 3 && !accepted.contains(&unknown));
        let writer = rusqlite::Connection::open(directory.path().join(schema::FILE)).unwrap();
        writer.execute("DELETE FROM event WHERE seq = 3", []).unwrap();
        assert_eq!(store.last_told(&package, &token, 3).unwrap(), LastTold::Other);
        writer.execute("DELETE FROM batch", []).unwrap();
        assert_eq!(store.recorded_since().unwrap(), Timestamp(u64::MAX), "nobody knows of what is past");
        fixture.close().await;
    }
}
