//! What makes two messages the same event, and which events keep their order.
//!
//! The identity never holds what differs between redeliveries of one event: the envelope's time, `data.timestamp`,
//! `tracking_id`, `block_height`.

use sha2::{Digest, Sha256};

use super::{EventId, Facts, Network, Sequence, Stream};

/// The first sixteen bytes of a SHA-256.
pub(crate) type Key = [u8; 16];

/// Equal for events that keep their order among themselves.
pub(crate) type LaneKey = u64;

/// What deduplication and order go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Network, stream, action, package, token, deploy and state.
    pub(crate) id: EventId,
    /// The literal rule's key: network, stream, package, token and deploy; equal to `id` where there is no token or
    /// no deploy.
    pub(crate) base: Key,
    /// `None`: unordered.
    pub(crate) lane: Option<LaneKey>,
    /// Without a deploy hash the same state may legitimately come again. Also set for what is one of a kind anyway.
    pub(crate) has_deploy: bool,
}

impl Identity {
    /// The id of a legitimate recurrence of an event without a deploy hash: unique to this store and place in it.
    pub(crate) fn recurrence(&self, place: Sequence) -> EventId {
        let Sequence { epoch, number } = place;
        let mut hash = Fields::new("recurrence");
        hash.field(Some(&self.id.0)).field(Some(&epoch.to_be_bytes())).field(Some(&number.to_be_bytes()));
        EventId(hash.key())
    }

    /// The id of an event that does not count as known when it is accepted. One without a deploy hash may come again,
    /// and who has had the same before must not drop it.
    pub(crate) fn apart(&self, place: Sequence) -> EventId {
        if self.has_deploy { self.id } else { self.recurrence(place) }
    }
}

/// What an identity is made of.
pub(super) struct Subject<'a> {
    pub(super) network: Network,
    pub(super) stream: Stream,
    pub(super) facts: &'a Facts,
    /// Canonical JSON of what may change.
    pub(super) state: &'a [u8],
}

impl Subject<'_> {
    pub(super) fn identity(&self) -> Identity {
        let has_deploy = self.facts.deploy_hash.is_some();
        let id = self.id();
        let has_base = has_deploy && self.facts.token_id.is_some();
        let base = if has_base { self.base() } else { id };
        Identity { id: EventId(id), base, lane: self.lane(), has_deploy }
    }

    fn id(&self) -> Key {
        let mut hash = self.place("event");
        hash.text(Some(&self.facts.action)).text(self.facts.deploy_hash.as_deref()).field(Some(self.state));
        hash.key()
    }

    fn base(&self) -> Key {
        let mut hash = self.place("base");
        hash.text(self.facts.deploy_hash.as_deref());
        hash.key()
    }

    fn place(&self, kind: &str) -> Fields {
        let mut hash = Fields::new(kind);
        hash.text(Some(self.network.as_str()))
            .text(Some(self.stream.as_str()))
            .text(self.facts.contract_package.as_deref())
            .text(self.facts.token_id.as_deref());
        hash
    }

    /// One lane per entity; the stream table says which fields name the entity.
    fn lane(&self) -> Option<LaneKey> {
        let facts = self.facts;
        let mut hash = Fields::new("lane");
        hash.text(Some(self.stream.as_str()));
        if self.stream.fields().lane.is_empty() {
            return None;
        }
        for pointer in self.stream.fields().lane {
            let part = match *pointer {
                "/data/contract_package_hash" => facts.contract_package.as_deref(),
                "/data/token_id" => facts.token_id.as_deref(),
                _ => facts.owner.as_deref(),
            };
            hash.text(Some(part?));
        }
        let [a, b, c, d, e, f, g, h, ..] = hash.key();
        // Zero stands for "no lane" in the store.
        Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1))
    }
}

/// The lane of a token, as events of `stream` have it; `None` for a stream whose lanes are not of single tokens.
pub(crate) fn token_lane(stream: Stream, contract_package: &str, token_id: &str) -> Option<LaneKey> {
    if !stream.fields().lane.contains(&"/data/token_id") {
        return None;
    }
    let facts =
        Facts { contract_package: Some(contract_package.into()), token_id: Some(token_id.into()), ..Facts::default() };
    Subject { network: Network::Mainnet, stream, facts: &facts, state: &[] }.lane()
}

/// A hash over fields that cannot run into each other, nor be confused with absent ones.
struct Fields(Sha256);

impl Fields {
    fn new(kind: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.text(Some(kind));
        fields
    }

    fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.field(text.map(str::as_bytes))
    }

    fn field(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes.unwrap_or_default());
        self
    }

    fn key(self) -> Key {
        let digest = self.0.finalize();
        let mut key = Key::default();
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recurrence_has_an_id_of_its_own() {
        let id = EventId([7; 16]);
        let identity = Identity { id, base: id.0, lane: None, has_deploy: false };
        let recurrence = |epoch, number| identity.recurrence(Sequence { epoch, number });
        assert_ne!(recurrence(1, 1), id);
        assert_ne!(recurrence(1, 1), recurrence(1, 2));
        assert_ne!(recurrence(1, 1), recurrence(2, 1));
    }
}
