//! The binary: everything is in the library's `cli`.

use std::process::ExitCode;

/// Many small allocations cross threads here (messages, headers, requests); the system's allocator spends a fifth of
/// the relay's CPU on them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Takes up `FAILPOINTS` from the environment, for as long as this lives.
    #[cfg(feature = "failpoints")]
    let _kill_points = fail::FailScenario::setup();
    cspr_relay::cli::main()
}
