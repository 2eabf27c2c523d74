//! The command line: the only part that prints and that decides exit codes.
//!
//! 0 good, 1 the relay failed, 2 usage or configuration.

mod check;
mod emulate;
mod events;
mod listen;
mod run;
mod secret;
mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Blocking work that is stuck (a full pipe) does not keep the process from ending.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(200);

/// Carry events from CSPR.cloud (Casper Network) to signed webhooks, and lose none
///
/// Start with `cspr-relay demo`, which needs nothing. Then write a configuration (see `config.example.yaml`), check it
/// with `cspr-relay check` and run it with `cspr-relay run`.
#[derive(Parser)]
#[command(name = "cspr-relay", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, or a filter such as `info,cspr_relay::source=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "CSPR_RELAY_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// Log as JSON, one object a line
    #[arg(long, global = true, env = "CSPR_RELAY_LOG_JSON")]
    log_json: bool,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Emulate(Box<emulate::Args>),
    Events(events::Args),
    Listen(listen::Args),
    Verify(verify::Args),
    Secret(secret::Args),
}

/// Parses the command line, does what it says and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_log(&cli) {
        return report(&error, USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("starting the runtime"), FAILED),
    };
    let code = runtime.block_on(execute(cli.command));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    code
}

async fn execute(command: Command) -> ExitCode {
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    match command {
        Command::Run(args) => match run::run(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(None) => USAGE.into(),
            Err(Some(error)) => report(&error, FAILED),
        },
        Command::Check(args) => match check::run(&args, &mut out, &mut errors) {
            Ok(code) => code.into(),
            Err(error) => report(&error.into(), FAILED),
        },
        Command::Emulate(args) => ended(emulate::run(*args, &mut out).await),
        Command::Events(args) => {
            events::run(args, &mut out, &mut errors).map_or_else(|error| report(&error, FAILED), ExitCode::from)
        }
        Command::Listen(args) => ended(listen::run(args, &mut out).await),
        Command::Verify(args) => {
            verify::run(&args, &mut out).map_or_else(|error| report(&error.into(), FAILED), ExitCode::from)
        }
        Command::Secret(args) => ended(secret::run(&args, &mut out)),
    }
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, FAILED),
    }
}

fn report(error: &anyhow::Error, code: u8) -> ExitCode {
    // With standard error gone there is nobody left to tell.
    let _unread = writeln!(std::io::stderr(), "error: {error:#}");
    code.into()
}

/// Logs go to standard error, so that standard output is for results and events.
fn start_log(cli: &Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&cli.log_level)
        .map_err(|error| anyhow::anyhow!("--log-level {}: {error}; try `info` or `debug`", cli.log_level))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if cli.log_json {
        subscriber.json().flatten_event(true).init();
    } else {
        subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
