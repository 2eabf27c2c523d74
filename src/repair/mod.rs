//! Gaps: noticing the spans in which a stream was not heard, and writing them down.
//!
//! What it promises: whatever may have been missed lies in a gap that is on disk, whether a connection was lost, fell
//! silent, was not read for want of room, or the process was not there. A gap may be a little too long, never too
//! short: it begins where the last frame came, as far as that was written down.
//!
//! [`watch`] looks once a second at what the connections count; the decision is [`hearing::Hearing`], a pure structure.

mod hearing;
mod watch;

pub(crate) use watch::start;
