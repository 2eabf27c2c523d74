//! x
/// Sixteen bytes of SHA-256.
pub(crate) type Key = [u8; 16];
/// The lane of an event: equal for events that keep their order.
pub(crate) type LaneKey = u64;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: super::EventId,
    pub(crate) base: Key,
    pub(crate) lane: Option<LaneKey>,
    pub(crate) has_deploy: bool,
}
