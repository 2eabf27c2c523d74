//! The relay at a glance.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::sinks::Sinks;
use super::{Context, Shared};
use crate::metrics::{
    ConnectionMetrics, Gauge, IntakeMetrics, OwnershipMetrics, ReloadMetrics, RestMetrics, SourceMetrics, StoreMetrics,
};
use crate::store::Overview;

/// The whole relay.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// When this was so.
    pub(crate) at: String,
    /// A stop was asked for, or something broke.
    pub(crate) stopping: bool,
    pub(crate) source: SourceStatus,
    pub(crate) rest: RestStatus,
    pub(crate) gaps: GapStatus,
    pub(crate) events: EventCounts,
    pub(crate) store: StoreStatus,
    pub(crate) ownership: OwnershipStatus,
    pub(crate) reload: ReloadStatus,
    pub(crate) sinks: Sinks,
}

/// The connections to CSPR.cloud; the counts are since the relay started.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct SourceStatus {
    pub(crate) connections: Vec<ConnectionStatus>,
    /// Connections that are up.
    pub(crate) connected: u64,
    /// Handshakes that succeeded, those of connections that are no more included.
    pub(crate) connects: u64,
    /// Handshakes that failed and connections that ended.
    pub(crate) disconnects: u64,
    pub(crate) messages: u64,
    pub(crate) pings: u64,
    /// Texts that are neither events nor keep-alives.
    pub(crate) ignored_texts: u64,
}

/// One connection, with all its reconnects.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ConnectionStatus {
    pub(crate) stream: String,
    /// Tells the connections of one stream apart.
    pub(crate) number: u64,
    /// The query that narrows it; empty if it asks for the whole stream.
    pub(crate) filter: String,
    pub(crate) is_up: bool,
    /// When it came up, or went down.
    pub(crate) since: Option<String>,
    pub(crate) last_event_at: Option<String>,
    pub(crate) last_ping_at: Option<String>,
    /// Messages that look like events.
    pub(crate) messages: u64,
    pub(crate) connects: u64,
    pub(crate) disconnects: u64,
    /// Why it is not up.
    pub(crate) trouble: Option<String>,
}

/// The requests to CSPR.cloud's REST API.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct RestStatus {
    /// Those of the last 24 hours, of earlier runs included.
    pub(crate) day_requests: u64,
    /// `source.rest.requests_per_day`
    pub(crate) day_requests_max: u64,
    /// Requests that wait for their turn.
    pub(crate) waiting: u64,
    /// When the first of them has it.
    pub(crate) waiting_until: Option<String>,
    /// Requests without a usable answer, since the relay started.
    pub(crate) failures: u64,
    /// Why the last request brought none; absent once one was answered.
    pub(crate) trouble: Option<String>,
}

/// The spans in which events may have been missed, as far as nobody has seen to them.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct GapStatus {
    pub(crate) open: u64,
    /// When the oldest of them began.
    pub(crate) oldest_at: Option<String>,
}

/// What became of the messages since the relay started.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct EventCounts {
    pub(crate) accepted: u64,
    /// Dropped, since their ids are known.
    pub(crate) duplicates: u64,
    /// Same package, token and deploy as the last of their lane, but another state.
    pub(crate) variants: u64,
    /// Duplicates that are not the last of their lane.
    pub(crate) recurred: u64,
    /// No route wanted them.
    pub(crate) unmatched: u64,
    /// Kept raw, since they could not be handled.
    pub(crate) quarantined: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct StoreStatus {
    pub(crate) used_bytes: u64,
    /// `store.max_bytes`.
    pub(crate) max_bytes: u64,
    /// When the oldest event that is kept was accepted.
    pub(crate) oldest_event_at: Option<String>,
    /// Messages in quarantine.
    pub(crate) quarantined: u64,
    /// Ids held for deduplication.
    pub(crate) known_ids: u64,
    pub(crate) commits: u64,
    /// The mean since the relay started; absent before the first.
    pub(crate) commit_seconds_mean: Option<f64>,
    /// Rows met whose checksum did not fit.
    pub(crate) damaged_rows: u64,
    /// No events are taken, for want of space.
    pub(crate) intake_waiting: bool,
    /// Where it is missing, and what to do about it.
    pub(crate) intake_waits_for: Option<String>,
}

/// The stream `nft-token-ownership`; the counts are since the relay started.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct OwnershipStatus {
    /// Contract packages that are watched; 0: no route names the stream.
    pub(crate) packages: u64,
    /// Owners who are to be asked for.
    pub(crate) due: u64,
    /// Answers about one owner.
    pub(crate) looks: u64,
    /// Packages of which all owners were looked through, and when that was done last.
    pub(crate) walks: u64,
    pub(crate) last_walk_at: Option<String>,
    /// Numbers of tokens that were found to have changed.
    pub(crate) changes: u64,
    /// Questions that got no answer.
    pub(crate) failures: u64,
    /// Why CSPR.cloud does not answer; absent if it does.
    pub(crate) trouble: Option<String>,
}

/// Changed configurations.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ReloadStatus {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// When the newest one was read.
    pub(crate) last_at: Option<String>,
    /// The newest configuration was refused and an older one is at work: why.
    pub(crate) refused_because: Option<String>,
}

impl Status {
    pub(super) fn now(context: &Context, overview: &Overview) -> Self {
        let metrics = &context.metrics;
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: context.clock.now().to_string(),
            stopping: context.lifecycle.drain().is_cancelled(),
            source: source(&metrics.source),
            rest: rest(&metrics.rest),
            gaps: gaps(overview),
            events: events(&metrics.intake),
            store: store(&metrics.store, context.store_max_bytes, overview),
            ownership: ownership(&metrics.ownership),
            reload: reload(&metrics.reload),
            sinks: Sinks::now(context, overview),
        }
    }
}

fn source(source: &SourceMetrics) -> SourceStatus {
    SourceStatus {
        connections: source.connections().iter().map(|row| connection(row)).collect(),
        connected: source.connected(),
        connects: source.connects.value(),
        disconnects: source.disconnects.value(),
        messages: source.messages.value(),
        pings: source.pings.value(),
        ignored_texts: source.ignored_texts.value(),
    }
}

fn rest(rest: &RestMetrics) -> RestStatus {
    RestStatus {
        day_requests: rest.day.value(),
        day_requests_max: rest.per_day.value(),
        waiting: rest.waiting.value(),
        waiting_until: rest.waiting_until.moment().map(|at| at.to_string()),
        failures: rest.failed.value(),
        trouble: rest.trouble(),
    }
}

fn gaps(overview: &Overview) -> GapStatus {
    GapStatus { open: overview.gaps, oldest_at: overview.oldest_gap_at.map(|at| at.to_string()) }
}

fn connection(row: &ConnectionMetrics) -> ConnectionStatus {
    let text = |gauge: &Gauge| gauge.moment().map(|at| at.to_string());
    ConnectionStatus {
        stream: row.stream.to_owned(),
        number: row.number as u64,
        filter: row.filter.clone(),
        is_up: row.up.value() > 0,
        since: text(&row.changed_at),
        last_event_at: text(&row.message_at),
        last_ping_at: text(&row.ping_at),
        messages: row.messages.value(),
        connects: row.connects.value(),
        disconnects: row.disconnects.value(),
        trouble: row.trouble(),
    }
}

fn events(intake: &IntakeMetrics) -> EventCounts {
    EventCounts {
        accepted: intake.accepted.value(),
        duplicates: intake.duplicates.value(),
        variants: intake.variants.value(),
        recurred: intake.recurred.value(),
        unmatched: intake.unmatched.value(),
        quarantined: intake.quarantined.value(),
    }
}

fn store(store: &StoreMetrics, max_bytes: u64, overview: &Overview) -> StoreStatus {
    let commits = store.commits.count();
    let mean = || store.commits.sum().div_f64(u32::try_from(commits).unwrap_or(u32::MAX).into());
    StoreStatus {
        used_bytes: store.bytes.value(),
        max_bytes,
        oldest_event_at: overview.oldest_event_at.map(|at| at.to_string()),
        quarantined: overview.quarantined,
        known_ids: store.known_ids.value(),
        commits,
        commit_seconds_mean: (commits > 0).then(|| mean().as_secs_f64()),
        damaged_rows: store.damaged_rows.value(),
        intake_waiting: store.intake_waits.value() > 0,
        intake_waits_for: store.intake_waits_for(),
    }
}

fn ownership(ownership: &OwnershipMetrics) -> OwnershipStatus {
    OwnershipStatus {
        packages: ownership.packages.value(),
        due: ownership.due.value(),
        looks: ownership.looks.value(),
        walks: ownership.walks.value(),
        last_walk_at: ownership.walked_at.moment().map(|at| at.to_string()),
        changes: ownership.changes.value(),
        failures: ownership.failures.value(),
        trouble: ownership.trouble(),
    }
}

fn reload(reload: &ReloadMetrics) -> ReloadStatus {
    let last = reload.last();
    ReloadStatus {
        done: reload.done.value(),
        refused: reload.refused.value(),
        last_at: last.as_ref().map(|last| last.at.to_string()),
        refused_because: last.and_then(|last| last.refused),
    }
}

/// The relay at a glance
#[utoipa::path(get, path = "/api/v1/status", tag = "about", responses((status = 200, body = Status)))]
pub(super) async fn status(State(context): State<Shared>) -> Result<Json<Status>, Problem> {
    let overview = context.archive.overview(&context.metrics).await?;
    Ok(Json(Status::now(&context, &overview)))
}
