//! The spans in which a stream was not heard.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Body, Path};
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::store::{self, Gap, GapChange};

/// A longer note is refused.
const NOTE_BYTES_MAX: usize = 1024;

/// All gaps that are listed, newest first.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Gaps {
    pub(crate) gaps: Vec<GapView>,
}

/// A span in which a stream was not heard.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct GapView {
    pub(crate) number: u64,
    pub(crate) stream: String,
    /// When the stream was last heard.
    pub(crate) from: String,
    /// When it was heard again; absent while the gap goes on.
    pub(crate) to: Option<String>,
    /// `stopped` (the relay was not running), `disconnected`, `silent`, `intake_waited`, or
    /// `audit` (it was heard, and has not told everything).
    pub(crate) cause: String,
    /// The cause in words, if there are any.
    pub(crate) detail: Option<String>,
    /// `open`; `repaired`, `partial` or `unrepairable` once the relay has seen to it; `closed` once an operator has.
    pub(crate) state: String,
    /// Why it is in that state.
    pub(crate) note: Option<String>,
    /// Events that came back.
    pub(crate) returned: u64,
}

/// Why a gap needs no more attention.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseRequest {
    /// For whoever looks later: one line.
    pub(crate) note: String,
}

impl From<Gap> for GapView {
    fn from(gap: Gap) -> Self {
        Self {
            number: gap.number,
            stream: gap.stream,
            from: Timestamp(gap.from_ms).to_string(),
            to: gap.to_ms.map(|at| Timestamp(at).to_string()),
            cause: gap.cause.as_str().to_owned(),
            detail: gap.detail,
            state: gap.state.as_str().to_owned(),
            note: gap.note,
            returned: gap.returned,
        }
    }
}

/// The gaps
///
/// What happened in one may have been missed. The newest thousand are listed.
#[utoipa::path(get, path = "/api/v1/gaps", tag = "gaps", responses((status = 200, body = Gaps)))]
pub(super) async fn list(State(context): State<Shared>) -> Result<Json<Gaps>, Problem> {
    let found = context.archive.read(|directory| Ok(store::gaps(directory)?)).await?;
    Ok(Json(Gaps { gaps: found.into_iter().rev().map(Into::into).collect() }))
}

/// Close a gap
///
/// Says that somebody has seen to it. One that goes on cannot be closed.
#[utoipa::path(
    post, path = "/api/v1/gaps/{number}/close", tag = "gaps", request_body = CloseRequest,
    params(("number" = u64, Path, description = "As it is listed")),
    responses(
        (status = 200, body = GapView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn close(
    State(context): State<Shared>,
    Path(number): Path<u64>,
    Body(request): Body<CloseRequest>,
) -> Result<Json<GapView>, Problem> {
    let note = request.note.trim().to_owned();
    if note.is_empty() || note.len() > NOTE_BYTES_MAX || note.contains(char::is_control) {
        let wanted = format!("`note` says on one line of at most {NOTE_BYTES_MAX} bytes why the gap is closed");
        return Err(Problem::bad_request(wanted));
    }
    let gap = change(&context, number, GapChange::Close { number, note }).await?;
    tracing::info!(gap = number, "an operator closed a gap");
    Ok(Json(gap))
}

/// Repair a gap once more
///
/// The relay asks CSPR.cloud's REST API again what happened in it; the gap is open until then. What came back before is
/// not delivered again. One that goes on is repaired when it has ended, without being asked.
#[utoipa::path(
    post, path = "/api/v1/gaps/{number}/repair", tag = "gaps",
    params(("number" = u64, Path, description = "As it is listed")),
    responses(
        (status = 202, body = GapView),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn repair(
    State(context): State<Shared>,
    Path(number): Path<u64>,
) -> Result<(StatusCode, Json<GapView>), Problem> {
    let gap = change(&context, number, GapChange::Reopen { number }).await?;
    tracing::info!(gap = number, "an operator asked for a repair");
    Ok((StatusCode::ACCEPTED, Json(gap)))
}

async fn change(context: &Shared, number: u64, change: GapChange) -> Result<GapView, Problem> {
    let changed = context.store.change_gap(change).await;
    let changed = changed.map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping"))?;
    let none = || Problem::not_found(format!("there is no gap {number} that has ended: `gaps list` shows them"));
    changed.map(Into::into).ok_or_else(none)
}
