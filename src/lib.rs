//! cspr-relay carries events from CSPR.cloud to signed webhooks and message buses and loses none that it accepted.
//!
//! `ARCHITECTURE.md` has the path of an event and the map of the components.

pub mod app;
pub mod cli;
pub mod config;

mod admin;
mod backoff;
mod budget;
mod clock;
mod delivery;
mod emulator;
mod event;
mod intake;
mod lifecycle;
mod metrics;
mod notices;
mod operator;
mod ownership;
mod repair;
mod route;
mod signature;
mod sink;
mod source;
mod store;
