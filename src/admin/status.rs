//! The relay at a glance.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sinks::Sinks;
use super::{Context, Shared};

/// The whole relay.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// When this was so.
    pub(crate) at: String,
    /// A stop was asked for, or something broke.
    pub(crate) stopping: bool,
    pub(crate) source: SourceStatus,
    pub(crate) events: EventCounts,
    pub(crate) store: StoreStatus,
    pub(crate) reload: ReloadStatus,
    pub(crate) sinks: Sinks,
}

/// The connections to CSPR.cloud.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct SourceStatus {
    /// Connections that are up.
    pub(crate) connected: u64,
    /// Handshakes that succeeded since the relay started.
    pub(crate) connects: u64,
    /// Handshakes that failed and connections that ended.
    pub(crate) disconnects: u64,
    pub(crate) messages: u64,
    pub(crate) pings: u64,
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
    /// Ids held for deduplication.
    pub(crate) known_ids: u64,
    pub(crate) commits: u64,
    pub(crate) damaged_rows: u64,
    /// No events are taken, for want of space.
    pub(crate) intake_waiting: bool,
}

/// Changed configurations.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct ReloadStatus {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// The newest configuration was refused and an older one is at work.
    pub(crate) stale: bool,
}

impl Status {
    pub(super) fn now(context: &Context) -> Self {
        let metrics = &context.metrics;
        let (source, intake, store, reload) = (&metrics.source, &metrics.intake, &metrics.store, &metrics.reload);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: context.clock.now().to_string(),
            stopping: context.lifecycle.drain().is_cancelled(),
            source: SourceStatus {
                connected: source.connected.value(),
                connects: source.connects.value(),
                disconnects: source.disconnects.value(),
                messages: source.messages.value(),
                pings: source.pings.value(),
            },
            events: EventCounts {
                accepted: intake.accepted.value(),
                duplicates: intake.duplicates.value(),
                variants: intake.variants.value(),
                recurred: intake.recurred.value(),
                unmatched: intake.unmatched.value(),
                quarantined: intake.quarantined.value(),
            },
            store: StoreStatus {
                used_bytes: store.bytes.value(),
                known_ids: store.known_ids.value(),
                commits: store.commits.count(),
                damaged_rows: store.damaged_rows.value(),
                intake_waiting: store.intake_waits.value() > 0,
            },
            reload: ReloadStatus {
                done: reload.done.value(),
                refused: reload.refused.value(),
                stale: reload.is_stale.value() > 0,
            },
            sinks: Sinks::now(context),
        }
    }
}

/// The relay at a glance
#[utoipa::path(get, path = "/api/v1/status", tag = "about", responses((status = 200, body = Status)))]
pub(super) async fn status(State(context): State<Shared>) -> Json<Status> {
    Json(Status::now(&context))
}
