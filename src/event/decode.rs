//! x
use super::*;
pub(crate) struct Decoded {
    pub(crate) facts: Facts,
    pub(crate) identity: Identity,
}
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Malformed {
    pub(crate) reason: String,
}
pub(crate) fn decode(network: Network, stream: Stream, body: &[u8]) -> Result<Decoded, Malformed> {
    let _ = (network, stream, body);
    unimplemented!()
}
pub(crate) fn facts(stream: Stream, body: &[u8]) -> Result<Facts, Malformed> {
    let _ = (stream, body);
    unimplemented!()
}
