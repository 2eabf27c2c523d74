//! Probes for an orchestrator. None of them depends on a sink or on CSPR.cloud: a restart would help neither.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::problem::Problem;

/// That all is well.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `no_room` if the relay is well but takes no events.
    status: String,
    /// Where room is missing, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl Health {
    fn ok() -> Json<Self> {
        Json(Self { status: "ok".to_owned(), detail: None })
    }
}

/// Whether the process is alive
///
/// It answers as long as it runs, also while it stops.
#[utoipa::path(get, path = "/healthz/live", tag = "health", security(()), responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Health::ok()
}

/// Whether the relay takes events
///
/// Not any more once it stops. A sink that is down, or a source that is away, changes nothing here. A relay that has no
/// room for more events says so and counts as ready all the same: it delivers, and its API is what helps.
#[utoipa::path(
    get, path = "/healthz/ready", tag = "health", security(()),
    responses((status = 200, body = Health), (status = 503, body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn ready(State(context): State<Shared>) -> Result<Json<Health>, Problem> {
    if context.lifecycle.drain().is_cancelled() {
        let why = context.lifecycle.failure().map_or_else(|| "by request".to_owned(), |why| format!("because {why}"));
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the relay is stopping, {why}")));
    }
    match context.metrics.store.intake_waits_for() {
        Some(detail) => Ok(Json(Health { status: "no_room".to_owned(), detail: Some(detail) })),
        None => Ok(Health::ok()),
    }
}

/// Whether the relay has started
///
/// Its store is open and its parts run: before that nobody answers here.
#[utoipa::path(get, path = "/healthz/startup", tag = "health", security(()), responses((status = 200, body = Health)))]
pub(super) async fn startup() -> Json<Health> {
    Health::ok()
}
