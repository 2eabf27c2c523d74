//! Every integration test, in one binary: one link, one list.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod amqp;
mod chart;
mod conformance;
mod consumers;
mod editors;
mod kafka;
mod neighbour;
mod receivers;
mod relay;
mod schemas;
mod servers;
mod tidy;
