//! What the commands that look into a data directory have in common: where it is, and how an event is named.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::config;
use crate::event::EventId;

/// Where the data directory is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// The configuration file, for its store.path [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The relay's data directory; no configuration is needed then
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    /// The configuration file, if one is named.
    pub(super) fn config(self) -> Option<PathBuf> {
        self.config
    }

    /// The directory; `None` if the configuration has faults, which are written to `errors`.
    pub(super) fn directory(self, errors: &mut impl Write) -> io::Result<Option<PathBuf>> {
        if let Some(path) = self.data {
            return Ok(Some(path));
        }
        match config::load(&config::locate(self.config)) {
            Ok(loaded) => Ok(Some(loaded.config.store.path)),
            Err(faults) => {
                faults.0.iter().try_for_each(|fault| writeln!(errors, "{fault}\n"))?;
                writeln!(errors, "The data directory could not be learnt from there; --data names it directly.")?;
                Ok(None)
            }
        }
    }
}

/// How an event is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Id(EventId),
    Sequence(u64),
}

/// Reads an event id, a number, or a sequence as it stands on the wire.
pub(super) fn which(text: &str) -> Result<Which, String> {
    // On the wire a sequence is `<epoch>-<number>` in hex; in a store the number is enough.
    let on_wire = text.split_once('-').and_then(|(_, number)| u64::from_str_radix(number, 16).ok());
    let number = on_wire.or_else(|| text.parse().ok()).map(Which::Sequence);
    let id = text.parse().ok().map(Which::Id);
    id.or(number).ok_or_else(|| "expected an event id (`evt_…`) or a sequence number".to_owned())
}
