//! Accepted events: one with all that became of it, and the history of a token.

mod view;

use std::path::Path as Directory;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::archive::Which;
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::config::hash;
use crate::store::{self, Token};

pub(crate) use view::{AttemptView, DeliveryView, EventView};

/// Events of a page.
const LIMIT: u16 = 20;
const LIMIT_MAX: u16 = 200;

/// Events of a token, newest first.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TokenHistory {
    pub(crate) events: Vec<EventView>,
    /// The `before` of the next page; absent if that was all.
    pub(crate) next: Option<u64>,
    /// Parts of the store are damaged: there may be more than was found.
    pub(crate) damaged: bool,
}

/// Which part of a history.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams, Serialize)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// Only events with a lower sequence number.
    pub(crate) before: Option<u64>,
    /// At most so many, up to 200; 20 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u16>,
}

/// An event, as far as the directory knows it.
pub(crate) fn find(directory: &Directory, which: Which) -> anyhow::Result<Option<EventView>> {
    let events = store::events(directory)?;
    let seq = match which {
        Which::Id(id) => events.find_id(id)?,
        Which::Sequence(seq) => Some(seq),
    };
    let Some(seq) = seq else { return Ok(None) };
    Ok(events.history(seq)?.map(EventView::from))
}

/// A page of the history of a token.
pub(crate) fn of_token(directory: &Directory, token: Token<'_>, query: HistoryQuery) -> anyhow::Result<TokenHistory> {
    let events = store::events(directory)?;
    let limit = usize::from(query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX));
    let last = query.before.map(|before| before.saturating_sub(1));
    // One more than is shown says whether there are more.
    let found = events.find_token(token, last, limit + 1)?;
    let mut views = Vec::new();
    for seq in found.iter().take(limit) {
        views.extend(events.history(*seq)?.map(EventView::from));
    }
    let next = found.get(limit).and_then(|_more| found.get(limit - 1)).copied();
    Ok(TokenHistory { events: views, next, damaged: events.damaged_rows() > 0 })
}

/// One event, with its deliveries and every failed attempt
#[utoipa::path(
    get, path = "/api/v1/events/{which}", tag = "events",
    params(("which" = String, Path, description = "Event id, sequence number, or sequence as on the wire")),
    responses(
        (status = 200, body = EventView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(context): State<Shared>, Path(which): Path<String>) -> Result<Json<EventView>, Problem> {
    let which: Which = which.parse().map_err(Problem::bad_request)?;
    let found = context.archive.read(move |directory| find(directory, which)).await?;
    found
        .map(Json)
        .ok_or_else(|| Problem::not_found("there is no such event: none was accepted, or retention has removed it"))
}

/// The events of a token, newest first
#[utoipa::path(
    get, path = "/api/v1/tokens/{contract_package}/{token_id}/events", tag = "events",
    params(
        ("contract_package" = String, Path, description = "Hash of the contract package, with or without a prefix"),
        ("token_id" = String, Path, description = "The token's id, percent-encoded"),
        HistoryQuery,
    ),
    responses(
        (status = 200, body = TokenHistory),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn history(
    State(context): State<Shared>,
    Path((contract_package, token_id)): Path<(String, String)>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<TokenHistory>, Problem> {
    let contract_package = hash(&contract_package).map_err(Problem::bad_request)?;
    let read = move |directory: &Directory| {
        of_token(directory, Token { contract_package: &contract_package, token_id: &token_id }, query)
    };
    context.archive.read(read).await.map(Json)
}
