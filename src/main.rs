//! The binary: everything is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Takes up `FAILPOINTS` from the environment, for as long as this lives.
    #[cfg(feature = "failpoints")]
    let _kill_points = fail::FailScenario::setup();
    cspr_relay::cli::main()
}
