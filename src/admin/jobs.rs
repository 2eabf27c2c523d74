//! Work on what is stored: what it would do, setting it to work, how far it is, and ending it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Body, Path};
use super::orders::OrderRequest;
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::operator::Refusal;
use crate::store::{Counts, Job, JobState};

/// The jobs at work and those that ended lately, newest first.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Jobs {
    pub(crate) jobs: Vec<JobView>,
}

/// One job.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct JobView {
    pub(crate) number: u64,
    /// What it does and to what, in words.
    pub(crate) what: String,
    /// `running`, `done`, `cancelled` or `failed`.
    pub(crate) state: String,
    /// Why it failed.
    pub(crate) why: Option<String>,
    /// Why it does not move, while it does not: CSPR.cloud's REST API, which is asked again later.
    pub(crate) trouble: Option<String>,
    pub(crate) created_at: String,
    pub(crate) ended_at: Option<String>,
    pub(crate) counts: CountsView,
}

/// What an order would do.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Forecast {
    pub(crate) counts: CountsView,
    /// Not if there was no time to look at everything: then it is that much at least.
    pub(crate) complete: bool,
}

/// What was done, or would be.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CountsView {
    /// Looked at.
    pub(crate) seen: u64,
    /// Of these: meant by the filter. The sum of what follows, but for `superseded`.
    pub(crate) matched: u64,
    /// Sent, replayed, dropped, or accepted from quarantine.
    pub(crate) done: u64,
    /// Left alone: delivered already.
    pub(crate) delivered: u64,
    /// Left alone: on its way already.
    pub(crate) waiting: u64,
    /// Left alone: superseded, and `skip_superseded` was asked for.
    pub(crate) skipped: u64,
    /// Gone meanwhile, or its message is.
    pub(crate) gone: u64,
    /// Left alone: its sink is not configured, or the message is still unusable or wanted by no route.
    pub(crate) left: u64,
    /// Of those matched: a newer event of the lane went to the same sink since, so a consumer that goes by the
    /// sequence ignores the older one.
    pub(crate) superseded: u64,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        let Counts { seen, matched, done, delivered, waiting, skipped, gone, left, superseded } = counts;
        Self { seen, matched, done, delivered, waiting, skipped, gone, left, superseded }
    }
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let why = if let JobState::Failed(why) = &job.state { Some(why.clone()) } else { None };
        Self {
            number: job.number,
            what: job.order.to_string(),
            state: job.state.as_str().to_owned(),
            why,
            trouble: job.trouble,
            created_at: Timestamp(job.created_at_ms).to_string(),
            ended_at: job.ended_at_ms.map(|at| Timestamp(at).to_string()),
            counts: job.counts.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.to_string())
    }
}

/// All jobs
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", responses((status = 200, body = Jobs)))]
pub(super) async fn list(State(context): State<Shared>) -> Json<Jobs> {
    Json(Jobs { jobs: context.operator.jobs().into_iter().map(Into::into).collect() })
}

/// One job
#[utoipa::path(
    get, path = "/api/v1/jobs/{number}", tag = "jobs", params(("number" = u64, Path, description = "As it was answered")),
    responses((status = 200, body = JobView), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn one(State(context): State<Shared>, Path(number): Path<u64>) -> Result<Json<JobView>, Problem> {
    context.operator.job(number).map(|job| Json(job.into())).ok_or_else(|| unknown(number))
}

/// Set a job to work
///
/// Replays, drops and re-routings are done in small steps beside the traffic. A job survives restarts; what it has
/// done is durable with each step.
#[utoipa::path(
    post, path = "/api/v1/jobs", tag = "jobs", request_body = OrderRequest,
    responses(
        (status = 202, body = JobView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(context): State<Shared>,
    Body(request): Body<OrderRequest>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let order = request.read(context.clock.now()).map_err(Problem::bad_request)?;
    let job = context.operator.order(order).await?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

/// What a job would do
///
/// Counts and changes nothing. With very much to look at it stops after a while and says so.
#[utoipa::path(
    post, path = "/api/v1/jobs/dry-run", tag = "jobs", request_body = OrderRequest,
    responses(
        (status = 200, body = Forecast),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn dry_run(
    State(context): State<Shared>,
    Body(request): Body<OrderRequest>,
) -> Result<Json<Forecast>, Problem> {
    let order = request.read(context.clock.now()).map_err(Problem::bad_request)?;
    let (counts, complete) = context.operator.count(order).await?;
    Ok(Json(Forecast { counts: counts.into(), complete }))
}

/// End a job where it is
///
/// What it has done stays done, and that it has ended is durable when this is answered. A job that had ended before is
/// answered as it is.
#[utoipa::path(
    post, path = "/api/v1/jobs/{number}/cancel", tag = "jobs",
    params(("number" = u64, Path, description = "As it was answered")),
    responses(
        (status = 200, body = JobView),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(State(context): State<Shared>, Path(number): Path<u64>) -> Result<Json<JobView>, Problem> {
    Ok(Json(context.operator.cancel(number).await?.into()))
}

fn unknown(number: u64) -> Problem {
    Problem::not_found(format!("there is no job {number}, or it ended long ago"))
}
