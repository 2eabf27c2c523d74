//! Reading the configuration of a running relay again: at SIGHUP, or when a file of it has changed.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Handle;
use crate::config::{self, Config, Faults, Loaded, Severity, Watch};

/// The configuration's file, and what was said of it.
pub(super) struct ConfigFile {
    path: PathBuf,
    watch: Watch,
    /// The warnings of the last reading.
    told: HashSet<String>,
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { watch: Watch::new(BTreeSet::from([path.clone()])), told: HashSet::new(), path }
    }

    /// Reads it, with all that it includes; or gives its faults, which are logged then. So are warnings that the last
    /// reading did not have. Blocks.
    pub(super) fn load(&mut self) -> Result<Config, Faults> {
        let (loaded, files) = config::load_with_files(&self.path);
        self.watch.follow(files);
        match loaded {
            Ok(Loaded { config, warnings, .. }) => {
                let warnings: HashSet<String> = warnings.iter().map(ToString::to_string).collect();
                warnings.difference(&self.told).for_each(|warning| tracing::warn!("{warning}"));
                self.told = warnings;
                Ok(config)
            }
            Err(faults) => {
                for fault in &faults.0 {
                    match fault.severity {
                        Severity::Error => tracing::error!("{fault}"),
                        Severity::Warning => tracing::warn!("{fault}"),
                    }
                }
                Err(faults)
            }
        }
    }
}

/// Requests to read the configuration again.
pub(super) struct Reloads {
    hang_up: Signal,
    file: ConfigFile,
}

impl Reloads {
    pub(super) fn new(file: ConfigFile) -> std::io::Result<Self> {
        Ok(Self { hang_up: signal(SignalKind::hangup())?, file })
    }

    /// Serves them for ever; those that come while one is served are served by one more.
    pub(super) async fn turn_into(mut self, relay: Handle) -> Infallible {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {}
                () = self.file.watch.changed() => {}
            }
            // The reading takes a moment, and others are served meanwhile.
            match tokio::task::block_in_place(|| self.file.load()) {
                Ok(config) => reload(&relay, config).await,
                Err(faults) => {
                    relay.refused(faults.to_string());
                    tracing::error!(
                        config = %self.file.path.display(),
                        "the configuration was not reloaded, for the faults above: the relay goes on with the one it has"
                    );
                }
            }
        }
    }
}

async fn reload(relay: &Handle, config: Config) {
    match relay.reload(config).await {
        Ok(changes) => tracing::info!("the configuration was reloaded: {changes}"),
        Err(error) => {
            tracing::error!("the configuration was not reloaded: {error:#}; the relay goes on with the one it has");
        }
    }
}
