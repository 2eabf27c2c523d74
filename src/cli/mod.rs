//! The command line: the only part that prints and that decides exit codes.
//!
//! 0 good, 1 it failed (or does not hold), 2 usage or configuration.

mod backfill;
mod check;
mod check_tests;
mod completions;
mod data;
mod dead_letters;
mod demo;
mod emulate;
mod events;
mod explain;
mod gaps;
mod health;
mod jobs;
mod listen;
mod ownership;
mod quarantine;
mod relay;
mod reload;
mod replay;
mod run;
mod schema;
mod secret;
mod sinks;
mod status;
mod store;
mod table;
mod tail;
mod token;
mod verify;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Blocking work that is stuck (a full pipe) does not keep the process from ending.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(200);

/// Carry events from CSPR.cloud (Casper Network) to webhooks, Kafka and AMQP, and lose none
///
/// Start with `cspr-relay demo`, which needs nothing. Then write a configuration (see `config.example.yaml`), check it
/// with `cspr-relay check` and run it with `cspr-relay run`.
#[derive(Parser)]
#[command(name = "cspr-relay", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: Log,
}

#[derive(clap::Args)]
struct Log {
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
    Status(status::Args),
    Sinks(sinks::Args),
    Tail(tail::Args),
    Check(check::Check),
    Completions(completions::Args),
    Demo(demo::Args),
    Emulate(Box<emulate::Args>),
    Events(events::Args),
    Explain(explain::Args),
    Gaps(gaps::Args),
    Health(health::Args),
    Listen(listen::Args),
    Ownership(ownership::Args),
    DeadLetters(Box<dead_letters::Args>),
    Jobs(jobs::Args),
    Quarantine(quarantine::Args),
    Replay(Box<replay::Args>),
    Backfill(Box<backfill::Args>),
    Schema(schema::Schema),
    Secret(secret::Args),
    Store(store::Args),
    Token(token::Args),
    Verify(verify::Args),
}

/// Parses the command line, does what it says and gives the exit code.
pub fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    let home = match prepare(&command, &log) {
        Ok(home) => home,
        Err(error) => return report(&error, USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("starting the runtime"), FAILED),
    };
    let code = runtime.block_on(execute(command, home));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    code
}

/// Starts the log: on standard error, so that standard output is for results and events; the demonstration has a
/// picture on the terminal, so it gets a directory with a file for its log.
fn prepare(command: &Command, log: &Log) -> anyhow::Result<Option<demo::Home>> {
    let Command::Demo(args) = command else {
        log.start(BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal())?;
        return Ok(None);
    };
    let home = demo::Home::new(args.keep())?;
    log.start(BoxMakeWriter::new(std::sync::Mutex::new(home.create_log()?)), false)?;
    Ok(Some(home))
}

async fn execute(command: Command, home: Option<demo::Home>) -> ExitCode {
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    match (command, home) {
        (Command::Demo(args), Some(home)) => coded(demo::run(args, home, &mut out).await),
        // Has a home always; see `prepare`.
        (Command::Demo(_), None) => FAILED.into(),
        (Command::Run(args), _) => match run::run(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(None) => USAGE.into(),
            Err(Some(error)) => report(&error, FAILED),
        },
        (Command::Check(args), _) => coded(check::run(&args, &mut out, &mut errors).map_err(Into::into)),
        (Command::Completions(args), _) => ended(completions::run(&args, &mut out)),
        (Command::Status(args), _) => coded(status::run(args, &mut out, &mut errors).await),
        (Command::Tail(args), _) => coded(tail::run(args, &mut out, &mut errors).await),
        (Command::Token(args), _) => coded(token::run(args, &mut out, &mut errors).await),
        (Command::Emulate(args), _) => ended(emulate::run(*args, &mut out).await),
        (Command::Events(args), _) => coded(events::run(args, &mut out, &mut errors).await),
        (Command::Explain(args), _) => coded(explain::run(&args, &mut std::io::stdin(), &mut out, &mut errors)),
        (Command::Gaps(args), _) => coded(gaps::run(args, &mut out, &mut errors).await),
        (Command::Health(args), _) => ended(health::run(args, &mut out).await),
        (Command::Listen(args), _) => ended(listen::run(args, &mut out).await),
        (Command::Ownership(args), _) => coded(ownership::run(args, &mut out, &mut errors).await),
        (Command::DeadLetters(args), _) => coded(dead_letters::run(*args, &mut out, &mut errors).await),
        (Command::Jobs(args), _) => coded(jobs::run(args, &mut out, &mut errors).await),
        (Command::Quarantine(args), _) => coded(quarantine::run(args, &mut out, &mut errors).await),
        (Command::Backfill(args), _) => coded(backfill::run(*args, &mut out, &mut errors).await),
        (Command::Replay(args), _) => coded(replay::run(*args, &mut out, &mut errors).await),
        (Command::Sinks(args), _) => coded(sinks::run(args, &mut out, &mut errors).await),
        (Command::Schema(args), _) => ended(schema::run(&args, &mut out).map_err(Into::into)),
        (Command::Secret(args), _) => ended(secret::run(&args, &mut out)),
        (Command::Store(args), _) => coded(store::run(args, &mut out, &mut errors)),
        (Command::Verify(args), _) => coded(verify::run(&args, &mut out).map_err(Into::into)),
    }
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    coded(outcome.map(|()| 0))
}

fn coded(outcome: anyhow::Result<u8>) -> ExitCode {
    match outcome {
        Ok(code) => code.into(),
        // Whoever read has seen enough, as `head` does.
        Err(error) if error.downcast_ref().is_some_and(|it: &std::io::Error| it.kind() == ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => report(&error, FAILED),
    }
}

fn report(error: &anyhow::Error, code: u8) -> ExitCode {
    // With standard error gone there is nobody left to tell.
    let _unread = writeln!(std::io::stderr(), "error: {error:#}");
    code.into()
}

/// What libraries say that would put payloads into the log; the sink that uses them says the rest. `--log-level` can
/// name them to hear them all the same.
const SILENCED: &str = "lapin=off";

impl Log {
    fn start(&self, writer: BoxMakeWriter, has_colours: bool) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(format!("{SILENCED},{}", self.log_level))
            .map_err(|error| anyhow::anyhow!("--log-level {}: {error}; try `info` or `debug`", self.log_level))?;
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        if self.log_json {
            subscriber.json().flatten_event(true).init();
        } else {
            subscriber.with_ansi(has_colours).with_target(false).init();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
