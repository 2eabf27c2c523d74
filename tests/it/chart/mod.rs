//! The Helm chart, judged by the tools that its users have, and its pod started on this machine as a kubelet would.
//!
//! Where the tools cannot be had the tests say so loudly, as everywhere.

mod image;
mod kubelet;
mod monitoring;
mod pod;
mod render;
mod schema;
mod tools;
mod values;
