//! `cspr-relay store`: what is in a data directory, whether it is whole, what can be taken out of it, and a whole one
//! made of what can be read.

mod export;
mod inspect;
mod rebuild;
#[cfg(test)]
mod tests;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::{FAILED, USAGE};
use crate::clock::Clock;
use crate::{config, store};

/// Look into the data directory of a stopped relay, check it, take its events out, or rebuild it
///
/// Nothing here changes the directory. `inspect` and `export` also work beside a running relay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Show what is in it: format, epochs, events, sinks and what they are owed, sizes
    Inspect {
        /// The bytes of each table too; reads the whole file
        #[arg(long)]
        tables: bool,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Read all of it and say what is damaged or lost; exit code 1 if anything is
    Verify {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write events, dead letters or quarantined messages as lines of JSON
    Export(export::Args),
    /// Make a new directory of all that can be read, and report the rest
    Rebuild {
        /// The new directory; must not exist yet, or be empty
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// The report as one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Where the data directory is.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The relay's configuration, for its store.path [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The data directory; no configuration is needed then
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    /// The directory; `None` if the configuration has faults, which are written to `errors`.
    fn directory(self, errors: &mut impl Write) -> io::Result<Option<PathBuf>> {
        if self.data.is_some() {
            return Ok(self.data);
        }
        match config::contact(&config::locate(self.config)) {
            Ok(contact) => Ok(Some(contact.store)),
            Err(faults) => {
                faults.0.iter().try_for_each(|fault| writeln!(errors, "{fault}\n"))?;
                writeln!(errors, "The data directory could not be learnt from there; --data names it directly.")?;
                Ok(None)
            }
        }
    }
}

/// Does what the verb says and gives the exit code.
pub(crate) fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(path) = args.place.directory(errors)? else { return Ok(USAGE) };
    let is_good = match args.verb {
        Verb::Inspect { tables, json } => {
            let found = store::inspect(&path, tables).context("looking into the store")?;
            inspect::write(&found, json, out)?;
            true
        }
        Verb::Verify { json } => {
            let report = store::verify(&path).context("verifying the store")?;
            verify::write(&report, json, out)?;
            report.is_whole()
        }
        Verb::Export(args) => export::run(&args, &path, out, errors)?,
        Verb::Rebuild { to, json } => {
            let rebuilt = store::rebuild(&path, &to, &Clock::default()).context("rebuilding the store")?;
            rebuild::write(&rebuilt, &to, json, out)?;
            rebuilt.after.is_whole()
        }
    };
    out.flush()?;
    Ok(if is_good { 0 } else { FAILED })
}
