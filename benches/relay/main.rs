//! How fast the relay is on this machine: `make bench` (`BENCH_QUICK=1` for a shorter, rougher run).
//!
//! What runs is the release binary as its users run it (`emulate`, `run`), with a receiver that does next to nothing,
//! all on this machine, over loopback. A figure alone says little, so each stands beside a bare loop of the same run:
//! a reader of the same messages, a client of the same receiver, a file that is appended to and synced. Measurements
//! differ from run to run, on shared machines by half; ratios differ less.
//!
//! Directories are made below `BENCH_DIR`, by default the system's place for temporary files, and removed at the end:
//! it must lie on the kind of disk to be measured, so not on a tmpfs.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads clocks, waits and is no part of the relay")]

mod amqp;
mod bare;
mod broker;
mod buses;
mod kafka;
mod latency;
mod operate;
mod owners;
mod process;
mod receiver;
mod relay;
mod report;
mod routes;
mod scenarios;
mod source;

use std::time::Instant;

use report::Report;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Events of the runs that take all in memory.
    events: u64,
    /// Events of the large backlog.
    backlog: u64,
    /// Of the small one.
    backlog_small: u64,
    /// Seconds for each bare loop.
    bare_seconds: u64,
    /// Seconds for each measurement of latency.
    latency_seconds: u64,
    /// Dead letters, and five times as many events that wait, that an operator looks through.
    letters: u64,
}

const FULL: Size = Size {
    events: 200_000,
    backlog: 1_000_000,
    backlog_small: 30_000,
    bare_seconds: 5,
    latency_seconds: 15,
    letters: 1_000_000,
};
const QUICK: Size = Size {
    events: 60_000,
    backlog: 120_000,
    backlog_small: 30_000,
    bare_seconds: 2,
    latency_seconds: 8,
    letters: 200_000,
};
/// Of the messages of all runs.
const BODY_BYTES: usize = 1500;

fn main() -> anyhow::Result<()> {
    let is_quick = std::env::var_os("BENCH_QUICK").is_some();
    let size = if is_quick { QUICK } else { FULL };
    let only = std::env::var("BENCH_ONLY").ok();
    let began = Instant::now();
    let mut report = Report::default();
    scenarios::run(size, only.as_deref(), &mut report)?;
    println!("{report}");
    println!("measured in {:.0} s{}", began.elapsed().as_secs_f64(), if is_quick { ", quick and rough" } else { "" });
    Ok(())
}
