//! To come.

use bytes::Bytes;

use crate::event::Stream;

/// One message that looks like an event, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) stream: Stream,
    pub(crate) bytes: Bytes,
    pub(crate) received_at: tokio::time::Instant,
}
