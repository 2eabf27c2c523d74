//! A stand-in for CSPR.cloud: the streaming API with made-up, realistic events, its known habits and faults on demand,
//! and what the REST API says of the same tokens.
//!
//! For tests (in process), demonstrations and measurements (`cspr-relay emulate`). Documented and observed behaviour
//! is the default; what is not known about the service is a knob in [`Settings`]. It knows what it sent:
//! [`hub::Tally`].
//!
//! The published events form one bounded log. Each connection reads it from a cursor of its own, as a persistent
//! session does across connections; a publisher waits for the slowest connected client, so none is cheated.

mod connection;
mod feed;
mod filter;
mod handshake;
mod hub;
mod message;
mod owned;
pub(crate) mod receiver;
mod rest;
mod server;
mod settings;
mod told;
mod world;

#[cfg(test)]
mod tests;

pub(crate) use feed::{Pace, play};
#[cfg(test)]
pub(crate) use filter::Filter;
pub(crate) use handshake::Refusal;
pub(crate) use message::{ExtraShape, MetadataShape, Shape, TrackingShape};
pub(crate) use server::Emulator;
pub(crate) use settings::{BadKey, Closing, Fault, RestSettings, Sessions, Settings, Trigger};
pub(crate) use world::World;

/// The text of a message; cheap to clone.
pub(crate) use tokio_tungstenite::tungstenite::Utf8Bytes as Text;
