//! What can be done to a sink at work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Body, Path};
use super::problem::Problem;
use crate::config::SinkName;
use crate::operator::{NotDone, Trial};
use crate::store::{Paused, PausedBy};

/// A longer reason is refused.
const REASON_BYTES_MAX: usize = 1024;

/// Why nothing is attempted at a sink.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PauseView {
    pub(crate) since: String,
    /// `operator`, or `destination` if it said that it is gone (410).
    pub(crate) by: String,
    pub(crate) reason: String,
}

/// Why a sink is to be paused.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseRequest {
    /// For whoever finds it paused: one line.
    pub(crate) reason: String,
}

/// What was changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PauseChange {
    pub(crate) sink: String,
    /// Absent: it was at work.
    pub(crate) before: Option<PauseView>,
    /// Absent: it is at work.
    pub(crate) after: Option<PauseView>,
}

/// What came of a test event.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TestResult {
    /// The id of the test event.
    pub(crate) id: String,
    pub(crate) delivered: bool,
    /// The HTTP status where there is one.
    pub(crate) status: Option<u16>,
    /// Why it failed, such as `timeout`.
    pub(crate) cause: Option<String>,
    /// The same in words.
    pub(crate) detail: Option<String>,
    pub(crate) took_ms: u64,
}

impl From<Paused> for PauseView {
    fn from(paused: Paused) -> Self {
        let by = match paused.by {
            PausedBy::Operator => "operator",
            PausedBy::Destination => "destination",
        };
        Self { since: paused.since.to_string(), by: by.to_owned(), reason: paused.reason }
    }
}

impl From<NotDone> for Problem {
    fn from(not_done: NotDone) -> Self {
        let status = match not_done {
            NotDone::NoSink(_) => StatusCode::NOT_FOUND,
            NotDone::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, not_done.to_string())
    }
}

impl From<Trial> for TestResult {
    fn from(trial: Trial) -> Self {
        let Trial { id, took, is_delivered, status, cause, detail } = trial;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { id: id.to_string(), delivered: is_delivered, status, cause: cause.map(str::to_owned), detail, took_ms }
    }
}

/// Pause a sink
///
/// Nothing more is attempted there; attempts under way end as they began, and its events wait. It lasts until the sink
/// is resumed, whatever restarts or is reloaded meanwhile.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/pause", tag = "sinks", request_body = PauseRequest,
    params(("name" = String, Path, description = "As in the configuration")),
    responses(
        (status = 200, body = PauseChange),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    State(context): State<Shared>,
    Path(name): Path<String>,
    Body(request): Body<PauseRequest>,
) -> Result<Json<PauseChange>, Problem> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        let wanted = format!("`reason` says on one line of at most {REASON_BYTES_MAX} bytes why the sink is paused");
        return Err(Problem::bad_request(wanted));
    }
    let sink = SinkName(name.as_str().into());
    let before = context.operator.pause(&sink, reason).await?;
    let after = context.operator.paused(&sink);
    Ok(Json(PauseChange { sink: name, before: before.map(Into::into), after: after.map(Into::into) }))
}

/// Resume a sink
///
/// Ends a pause, whoever began it. Whether the sink works again shows at once.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/resume", tag = "sinks",
    params(("name" = String, Path, description = "As in the configuration")),
    responses(
        (status = 200, body = PauseChange),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume(
    State(context): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<PauseChange>, Problem> {
    let sink = SinkName(name.as_str().into());
    let before = context.operator.resume(&sink).await?;
    let after = context.operator.paused(&sink);
    Ok(Json(PauseChange { sink: name, before: before.map(Into::into), after: after.map(Into::into) }))
}

/// Send a sink a test event
///
/// One attempt, paused or not, with an event that never was: its package is all zeros, and `cspr-relay-test: true`
/// goes with it. Nothing of it is stored.
#[utoipa::path(
    post, path = "/api/v1/sinks/{name}/test", tag = "sinks",
    params(("name" = String, Path, description = "As in the configuration")),
    responses(
        (status = 200, body = TestResult, description = "Also if the sink did not take it: see `delivered`"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test(State(context): State<Shared>, Path(name): Path<String>) -> Result<Json<TestResult>, Problem> {
    let trial = context.operator.test(&SinkName(name.as_str().into())).await?;
    Ok(Json(trial.into()))
}
