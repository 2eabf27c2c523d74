//! The sinks, as they are at this moment.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Path;
use super::problem::Problem;
use super::verbs::PauseView;
use super::{Context, Shared};
use crate::config::SinkName;
use crate::metrics::Row;

/// The configured sinks, and those that are not but are still owed deliveries.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Sinks {
    /// In the order of their names.
    pub(crate) sinks: Vec<SinkStatus>,
    /// Removed sinks with the number of deliveries that are kept for them until the name returns.
    pub(crate) parked: BTreeMap<String, u64>,
}

/// One sink.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct SinkStatus {
    pub(crate) name: String,
    /// `webhook`, `kafka`, `amqp` or `stdout`.
    pub(crate) kind: String,
    /// As configured.
    pub(crate) labels: BTreeMap<String, String>,
    /// Deliveries that are not settled.
    pub(crate) pending: u64,
    /// The bytes of their messages.
    pub(crate) pending_bytes: u64,
    /// Of the pending: failed at least once, or replayed, and due later.
    pub(crate) waiting: u64,
    /// Of the pending: behind a waiting one of their lane.
    pub(crate) held: u64,
    /// Attempts under way.
    pub(crate) in_flight: u64,
    /// Only probes go through.
    pub(crate) breaker_open: bool,
    /// Nothing is attempted.
    pub(crate) paused: bool,
    /// Since when it is paused, by whom and why.
    pub(crate) pause: Option<PauseView>,
    /// Since the relay started, as all that follows: deliveries accepted for it.
    pub(crate) accepted: u64,
    /// Deliveries that it confirmed.
    pub(crate) delivered: u64,
    /// Attempts that did not end in a delivery.
    pub(crate) failed_attempts: u64,
    /// Deliveries given up.
    pub(crate) dead: u64,
    /// Deliveries dropped by the policy of its backlog.
    pub(crate) expired: u64,
}

impl Sinks {
    pub(super) fn now(context: &Context) -> Self {
        let sinks = context.metrics.sinks();
        let parked = context.store.parked().into_iter().map(|(SinkName(name), pending)| (name.to_string(), pending));
        Self {
            sinks: sinks.iter().map(|(name, row)| SinkStatus::now(context, name, row)).collect(),
            parked: parked.collect(),
        }
    }
}

impl SinkStatus {
    fn now(context: &Context, name: &SinkName, row: &Row) -> Self {
        let Row { metrics, about } = row;
        Self {
            name: name.to_string(),
            kind: about.kind.to_owned(),
            labels: about.labels.clone(),
            pending: metrics.pending.value(),
            pending_bytes: metrics.pending_bytes.value(),
            waiting: metrics.waiting.value(),
            held: metrics.held.value(),
            in_flight: metrics.in_flight.value(),
            breaker_open: metrics.breaker_open.value() > 0,
            paused: metrics.paused.value() > 0,
            pause: context.operator.paused(name).map(Into::into),
            accepted: metrics.obligations.value(),
            delivered: metrics.delivered.value(),
            failed_attempts: metrics.failed_attempts.value(),
            dead: metrics.dead.value(),
            expired: metrics.expired.value(),
        }
    }
}

/// All sinks
#[utoipa::path(get, path = "/api/v1/sinks", tag = "sinks", responses((status = 200, body = Sinks)))]
pub(super) async fn list(State(context): State<Shared>) -> Json<Sinks> {
    Json(Sinks::now(&context))
}

/// One sink
#[utoipa::path(
    get, path = "/api/v1/sinks/{name}", tag = "sinks", params(("name" = String, Path, description = "As in the configuration")),
    responses((status = 200, body = SinkStatus), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn one(State(context): State<Shared>, Path(name): Path<String>) -> Result<Json<SinkStatus>, Problem> {
    let name = SinkName(name.as_str().into());
    match context.metrics.sinks().get(&name) {
        Some(row) => Ok(Json(SinkStatus::now(&context, &name, row))),
        None => Err(Problem::not_found(format!("there is no sink `{name}` in the configuration"))),
    }
}
