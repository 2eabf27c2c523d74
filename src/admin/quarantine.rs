//! Messages that could not be handled.

use std::path::Path as Directory;

use axum::Json;
use axum::extract::State;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::store::{self, QuarantinedMessage};

/// Messages of a page.
const LIMIT: u16 = 20;
const LIMIT_MAX: u16 = 200;

/// Some quarantined messages, newest first.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct QuarantineList {
    pub(crate) messages: Vec<QuarantinedView>,
    /// The `before` of the next page; absent if that was all.
    pub(crate) next: Option<u64>,
    /// How many there are in all.
    pub(crate) total: u64,
}

/// A message that could not be handled.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct QuarantinedView {
    pub(crate) number: u64,
    /// When it came; absent, as all that follows, if its row is damaged.
    pub(crate) at: Option<String>,
    pub(crate) stream: Option<String>,
    /// Why it could not be handled.
    pub(crate) reason: Option<String>,
    pub(crate) bytes: u64,
    /// Its beginning in a list, all of it alone; what is no UTF-8 is replaced.
    pub(crate) text: Option<String>,
    /// Alone, and if it is no UTF-8: all of it, in base64.
    pub(crate) base64: Option<String>,
}

/// Which part of the quarantine.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams, Serialize)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineQuery {
    /// Only messages with a lower number.
    pub(crate) before: Option<u64>,
    /// At most so many, up to 200; 20 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u16>,
}

/// Bytes of a message that a list shows.
const EXCERPT_BYTES: usize = 200;

pub(crate) fn page(directory: &Directory, query: QuarantineQuery) -> anyhow::Result<QuarantineList> {
    let quarantine = store::quarantine(directory)?;
    let limit = usize::from(query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX));
    // One more than is shown says whether there are more.
    let found = quarantine.page(query.before, limit + 1)?;
    let next = found.get(limit).and_then(|_more| found.get(limit - 1)).map(|message| message.number);
    let messages = found.iter().take(limit).map(|message| QuarantinedView::of(message, EXCERPT_BYTES)).collect();
    Ok(QuarantineList { messages, next, total: quarantine.count()? })
}

pub(crate) fn find(directory: &Directory, number: u64) -> anyhow::Result<Option<QuarantinedView>> {
    let found = store::quarantine(directory)?.find(number)?;
    Ok(found.map(|message| {
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let raw = message.content.as_ref().filter(|content| !is_text(&content.body));
        let base64 = raw.map(|content| BASE64.encode(&content.body));
        QuarantinedView { base64, ..QuarantinedView::of(&message, usize::MAX) }
    }))
}

impl QuarantinedView {
    fn of(message: &QuarantinedMessage, bytes_max: usize) -> Self {
        let content = message.content.as_ref();
        let excerpt = |body: &[u8]| String::from_utf8_lossy(body.get(..bytes_max).unwrap_or(body)).into_owned();
        Self {
            number: message.number,
            at: content.map(|content| content.at.to_string()),
            stream: content.map(|content| content.stream.as_str().to_owned()),
            reason: content.map(|content| content.reason.clone()),
            bytes: content.map_or(0, |content| content.body.len() as u64),
            text: content.map(|content| excerpt(&content.body)),
            base64: None,
        }
    }
}

/// Messages that could not be handled, newest first
#[utoipa::path(
    get, path = "/api/v1/quarantine", tag = "quarantine", params(QuarantineQuery),
    responses(
        (status = 200, body = QuarantineList),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(context): State<Shared>,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<QuarantineList>, Problem> {
    context.archive.read(move |directory| page(directory, query)).await.map(Json)
}

/// One of them, raw
#[utoipa::path(
    get, path = "/api/v1/quarantine/{number}", tag = "quarantine", params(("number" = u64, Path)),
    responses(
        (status = 200, body = QuarantinedView),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(context): State<Shared>,
    Path(number): Path<u64>,
) -> Result<Json<QuarantinedView>, Problem> {
    let found = context.archive.read(move |directory| find(directory, number)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("there is no such message in quarantine"))
}
