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
use crate::clock::Timestamp;
use crate::config::SinkName;
use crate::metrics::Row;
use crate::store::{Overview, SinkOverview};

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
    /// What these may take (`backlog.max_bytes`).
    pub(crate) backlog_max_bytes: u64,
    /// Of the pending: failed at least once, or replayed, and due later.
    pub(crate) waiting: u64,
    /// Of the pending: behind a waiting one of their lane.
    pub(crate) held: u64,
    /// Attempts under way.
    pub(crate) in_flight: u64,
    /// When the oldest pending event was accepted.
    pub(crate) oldest_pending_at: Option<String>,
    /// How long ago that was.
    pub(crate) oldest_pending_age_seconds: Option<f64>,
    /// Dead letters that are kept.
    pub(crate) dead_letters: u64,
    /// Only probes go through.
    pub(crate) breaker_open: bool,
    pub(crate) breaker_open_since: Option<String>,
    /// Nothing is attempted.
    pub(crate) paused: bool,
    /// Since when it is paused, by whom and why.
    pub(crate) pause: Option<PauseView>,
    /// When the next attempt may start; absent while there is nothing to attempt, or somebody has to act first.
    pub(crate) next_attempt_at: Option<String>,
    pub(crate) last_delivered_at: Option<String>,
    pub(crate) last_failure: Option<FailureStatus>,
    /// The share of the attempts of the last five minutes that delivered; absent if there were none.
    pub(crate) success_rate: Option<f64>,
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

/// The last attempt that did not end in a delivery.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FailureStatus {
    pub(crate) at: String,
    pub(crate) cause: String,
    pub(crate) detail: String,
}

impl Sinks {
    /// What the store says is read by whoever calls, since that takes a moment.
    pub(super) fn now(context: &Context, overview: &Overview) -> Self {
        let sinks = context.metrics.sinks();
        let status = |(name, row)| SinkStatus::now(name, row, context, overview);
        let parked = context.store.parked().into_iter().map(|(SinkName(name), pending)| (name.to_string(), pending));
        Self { sinks: sinks.iter().map(status).collect(), parked: parked.collect() }
    }
}

impl SinkStatus {
    fn now(name: &SinkName, row: &Row, context: &Context, overview: &Overview) -> Self {
        let Row { metrics, about } = row;
        let SinkOverview { oldest_pending_at, dead_letters } = overview.sinks.get(name).copied().unwrap_or_default();
        let (recently_delivered, recent) = metrics.recent();
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            name: name.to_string(),
            kind: about.kind.to_owned(),
            labels: about.labels.clone(),
            pending: metrics.pending.value(),
            pending_bytes: metrics.pending_bytes.value(),
            backlog_max_bytes: about.backlog_max_bytes,
            waiting: metrics.waiting.value(),
            held: metrics.held.value(),
            in_flight: metrics.in_flight.value(),
            oldest_pending_at: text(oldest_pending_at),
            oldest_pending_age_seconds: oldest_pending_at.map(|at| context.clock.now().since(at).as_secs_f64()),
            dead_letters,
            breaker_open: metrics.breaker_open.value() > 0,
            breaker_open_since: text(metrics.breaker_since.moment()),
            paused: metrics.paused.value() > 0,
            pause: context.operator.paused(name).map(Into::into),
            next_attempt_at: text(metrics.next_attempt_at.moment()),
            last_delivered_at: text(metrics.delivered_at.moment()),
            last_failure: metrics.last_failure().map(|(at, cause, detail)| FailureStatus {
                at: at.to_string(),
                cause: cause.to_owned(),
                detail,
            }),
            success_rate: share(recently_delivered, recent),
            accepted: metrics.obligations.value(),
            delivered: metrics.delivered.value(),
            failed_attempts: metrics.failed_attempts.value(),
            dead: metrics.dead.value(),
            expired: metrics.expired.value(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody makes 2^53 attempts in five minutes")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// All sinks
#[utoipa::path(get, path = "/api/v1/sinks", tag = "sinks", responses((status = 200, body = Sinks)))]
pub(super) async fn list(State(context): State<Shared>) -> Result<Json<Sinks>, Problem> {
    let overview = context.archive.overview(&context.metrics).await?;
    Ok(Json(Sinks::now(&context, &overview)))
}

/// One sink
#[utoipa::path(
    get, path = "/api/v1/sinks/{name}", tag = "sinks",
    params(("name" = String, Path, description = "As in the configuration")),
    responses(
        (status = 200, body = SinkStatus),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(context): State<Shared>, Path(name): Path<String>) -> Result<Json<SinkStatus>, Problem> {
    let overview = context.archive.overview(&context.metrics).await?;
    let name = SinkName(name.as_str().into());
    match context.metrics.sinks().get(&name) {
        Some(row) => Ok(Json(SinkStatus::now(&name, row, &context, &overview))),
        None => Err(Problem::not_found(format!("there is no sink `{name}` in the configuration"))),
    }
}
