//! Gaps: noticing the spans in which a stream was not heard, writing them down, and asking REST what happened in them.
//!
//! What it promises: whatever may have been missed lies in a gap that is on disk, whether a connection was lost, fell
//! silent, was not read for want of room, or the process was not there. A gap may be a little too long, never too
//! short: it begins where the last frame came, as far as that was written down.
//!
//! A stream may also be connected and not tell everything: [`audit`] looks for that now and then.
//!
//! [`Present`] reads what REST knows of a whole package, for backfills.
//!
//! [`watch`] looks once a second at what the connections count; the decision is [`hearing::Hearing`], a pure structure.

mod audit;
mod found;
mod hearing;
mod listing;
mod mend;
mod message;
mod past;
mod present;
mod recurred;
mod rounds;
mod scope;
mod token;
mod waiting;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch as channel;

use crate::budget::Purpose;
use crate::clock::{Clock, Timestamp};
use crate::config::{RepairConfig, RouteConfig};
use crate::event::Stream;
use crate::intake::Reroute;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::notices::{GapNotice, Notices};
use crate::source::rest::{Rest, RestError};
use crate::store::{GapCause, GapChange, Stopped, Store, ToldOf};
use audit::Auditor;
use mend::Mender;
pub(crate) use past::Past;
pub(crate) use present::{Present, Told};
use recurred::Doubts;
use token::Key;

/// What the tasks work with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) rest: Rest,
    pub(crate) store: Store,
    pub(crate) intake: Reroute,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) notices: Notices,
}

impl Setup {
    /// What the relay's events tell of these tokens; nothing if the store cannot be read.
    async fn told(&self, stream: Stream, keys: Vec<Key>) -> HashMap<Key, ToldOf> {
        let store = self.store.clone();
        let look = move || store.told_of(stream, &keys).map(|told| keys.into_iter().zip(told).collect());
        tokio::task::spawn_blocking(look).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Writes down that a gap has begun, and says so. Its number; `None` if that cannot be written.
    async fn open_gap(
        &self,
        stream: Stream,
        from: Timestamp,
        cause: GapCause,
        detail: Option<String>,
    ) -> Result<Option<u64>, Stopped> {
        let Some(gap) = self.store.change_gap(GapChange::Open { stream, from, cause, detail }).await? else {
            return Ok(None);
        };
        let (number, word) = (gap.number, cause.as_str());
        tracing::warn!(%stream, gap = number, %from, cause = word, "a gap is open: what happens may be missed");
        self.metrics.gaps.increment();
        let notice = GapNotice { number, from, word, reason: gap.detail, returned: 0 };
        self.notices.gap_opened(stream, notice);
        Ok(Some(number))
    }
}

/// What is repaired, and how.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) config: RepairConfig,
    pub(crate) routes: Vec<RouteConfig>,
    /// Whether CSPR.cloud is asked to keep what it cannot send.
    pub(crate) has_session: bool,
}

/// Why a repair did not come to its end.
enum Trouble {
    Rest(RestError),
    Stopped,
}

impl From<RestError> for Trouble {
    fn from(error: RestError) -> Self {
        Self::Rest(error)
    }
}

impl From<Stopped> for Trouble {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// The tasks that write gaps down, that repair them, that look for what no gap tells, and at states that may have
/// come back.
pub(crate) struct Repair {
    wanted: channel::Sender<Wanted>,
    tasks: [Task; 4],
}

impl Repair {
    /// To be called once the connections exist: those of streams that earlier runs heard are there to be looked at.
    pub(crate) fn start(setup: Setup, wanted: Wanted, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let (sender, wanted) = channel::channel(wanted);
        let watching = watch::start(&setup, lifecycle)?;
        let auditor = Auditor::new(Setup { rest: setup.rest.at(Purpose::Backfill), ..setup.clone() }, wanted.clone());
        let auditing = lifecycle.spawn("audit", auditor.run(lifecycle.clone()));
        let doubts = Doubts::new(&setup, wanted.clone());
        let doubting = lifecycle.spawn("recurred", doubts.run(lifecycle.clone()));
        let mender = Mender::new(setup, wanted);
        let mending = lifecycle.spawn("repair", mender.run(lifecycle.clone()));
        Ok(Self { wanted: sender, tasks: [watching, mending, auditing, doubting] })
    }

    /// Takes up other settings, and other routes: they say whom there is to ask about.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }

    /// Waits for their end, after the drain.
    pub(crate) async fn ended(self) {
        for mut task in self.tasks {
            task.ended().await;
        }
    }
}
