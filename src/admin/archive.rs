//! The store as the admin side reads it: beside the traffic, on connections of its own that cannot write.
//!
//! What is read is a function of the data directory, so the command line reads the directory of a stopped relay by the
//! same functions.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::problem::Problem;
use crate::event::EventId;
use crate::metrics::Metrics;
use crate::store::{self, Overview};

/// Reads under way at once; others wait for their turn, as long as a request may take.
const READS_MAX: usize = 4;

/// Where to read, and how much at once. Clones share it.
#[derive(Clone)]
pub(crate) struct Archive {
    directory: Arc<Path>,
    slots: Arc<Semaphore>,
}

impl Archive {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory: directory.into(), slots: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// What the store holds at a glance; the metrics know which sinks are owed something.
    pub(super) async fn overview(&self, metrics: &Metrics) -> Result<Overview, Problem> {
        let sinks = metrics.sinks().into_iter();
        let owed = sinks.filter(|(_, row)| row.metrics.pending.value() > 0).map(|(name, _)| name).collect();
        self.read(move |directory| Ok(store::overview(directory, &owed)?)).await
    }

    /// Does blocking work on the directory. One that nobody waits for any more goes on to its end, in its slot.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return Err(Problem::internal()) };
        let directory = Arc::clone(&self.directory);
        let reading = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work(&directory)
        });
        match reading.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "the admin side cannot read the store");
                Err(Problem::internal())
            }
            // It panicked, which the log has.
            Err(_panic) => Err(Problem::internal()),
        }
    }
}

/// How an event is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Id(EventId),
    Sequence(u64),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Sequence(number) => write!(f, "{number}"),
        }
    }
}

/// Reads an event id, a number, or a sequence as it stands on the wire.
impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // On the wire a sequence is `<epoch>-<number>` in hex; in a store the number is enough.
        let on_wire = text.split_once('-').and_then(|(epoch, number)| {
            u64::from_str_radix(epoch, 16).ok()?;
            i64::from_str_radix(number, 16).ok()
        });
        let number = on_wire.or_else(|| text.parse().ok()).filter(|number| *number >= 0);
        let number = number.map(|number| Self::Sequence(number.unsigned_abs()));
        text.parse().ok().map(Self::Id).or(number).ok_or("expected an event id (`evt_…`) or a sequence number")
    }
}
