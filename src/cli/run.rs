//! `cspr-relay run`: the relay itself.

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::{ConfigFile, Reloads};
use crate::app::{App, Handle};
use crate::config::{self, Config};

/// Run the relay
///
/// Takes events from CSPR.cloud, keeps each on disk until its sinks have confirmed it, and goes on until SIGTERM or
/// Ctrl-C: then it takes no more, lets attempts in flight finish (`shutdown_timeout`) and ends. A second signal ends it
/// at once; that loses nothing either.
///
/// A changed configuration is taken up while it runs, at SIGHUP or when a file of it changes: as a whole, or not at all
/// if it has faults.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The configuration file [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until stopped. `Err(None)`: the configuration has faults, which were logged.
pub(crate) async fn run(args: Run) -> Result<(), Option<anyhow::Error>> {
    let mut file = ConfigFile::new(config::locate(args.config));
    let config = file.load().map_err(|_faults| None)?;
    serve(config, file).await.map_err(Some)
}

async fn serve(config: Config, file: ConfigFile) -> anyhow::Result<()> {
    let (store, sinks, routes) = (config.store.path.clone(), config.sinks.len(), config.routes.len());
    // From the first moment: as process 1 of a container an unhandled SIGTERM would be ignored.
    let mut signals = Signals::new()?;
    let reloads = Reloads::new(file)?;
    let opening = tokio::task::spawn_blocking(|| App::build(config));
    let app = tokio::select! {
        opened = opening => opened.context("opening the store")??,
        () = signals.next() => return Ok(()),
    };
    let running = app.start()?;
    let admin = running.admin_address();
    tracing::info!(store = %store.display(), %admin, sinks, routes, version = env!("CARGO_PKG_VERSION"), "the relay is running");
    let (handle, reloaded) = (running.handle(), running.handle());
    tokio::select! {
        ended = running.stopped() => ended,
        never = signals.turn_into(handle) => match never {},
        never = reloads.turn_into(reloaded) => match never {},
    }
}

/// What an orchestrator or a terminal sends to end the relay.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Each signal is a request to stop; the first one is polite.
    async fn turn_into(mut self, relay: Handle) -> Infallible {
        loop {
            self.next().await;
            relay.stop();
        }
    }
}
