//! What intake waits for, if there is no room for more events: shown in the metrics, and told in the log when it begins
//! and when it ends.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::monotonic;
use crate::config::SinkName;
use crate::metrics::Metrics;

/// A sink at the edge of its backlog has intake wait and go on many times in a second: that is told so often.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// Whether events may be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Some,
    None(Want),
}

/// What has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Quota,
    Disk,
    /// Of a sink that makes intake wait.
    Backlog(SinkName),
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota => write!(
                f,
                "the store is full (store.max_bytes), and all of it is still needed: heal the sink that holds the most \
                 (`cspr-relay sinks list`), or raise store.max_bytes together with the volume"
            ),
            Self::Disk => write!(f, "the disk is full: make room on the volume of store.path"),
            Self::Backlog(sink) => write!(
                f,
                "the backlog of sink `{sink}` is full (backlog.max_bytes), and its on_full is wait: heal it, raise its \
                 backlog.max_bytes, or have it expire"
            ),
        }
    }
}

/// Tells what intake waits for.
pub(super) struct Waits {
    metrics: Arc<Metrics>,
    now: Option<Want>,
    told_at: Option<Instant>,
    /// That it waits now was told, so that the end is to be told as well.
    is_told: bool,
}

impl Waits {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, now: None, told_at: None, is_told: false }
    }

    /// What it waits for from now on, if for anything.
    pub(super) fn set(&mut self, want: Option<Want>) {
        if want == self.now {
            return;
        }
        self.metrics.store.set_intake_waits_for(want.as_ref().map(ToString::to_string));
        match &want {
            // Whoever found the disk full has told, with the error.
            Some(Want::Disk) => {}
            Some(want) if self.told_at.is_none_or(|at| at.elapsed() >= TELL_PAUSE) => {
                tracing::error!("no room for more events, so intake waits: {want}");
                (self.told_at, self.is_told) = (Some(monotonic()), true);
            }
            None if std::mem::take(&mut self.is_told) => {
                tracing::info!("there is room for more events again: intake goes on");
            }
            Some(_) | None => {}
        }
        self.now = want;
    }
}
