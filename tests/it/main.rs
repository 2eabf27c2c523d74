//! Every integration test, in one binary: one link, one list.

mod receivers;
mod schemas;
mod tidy;
