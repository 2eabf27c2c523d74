//! Gaps: noticing the spans in which a stream was not heard, writing them down, and asking REST what happened in them.
//!
//! What it promises: whatever may have been missed lies in a gap that is on disk, whether a connection was lost, fell
//! silent, was not read for want of room, or the process was not there. A gap may be a little too long, never too
//! short: it begins where the last frame came, as far as that was written down.
//!
//! [`watch`] looks once a second at what the connections count; the decision is [`hearing::Hearing`], a pure structure.

mod hearing;
mod mend;
mod message;
mod scope;
mod watch;

pub(crate) use mend::{Setup, start as start_mending};
pub(crate) use watch::start;
