//! Dead letters: pages of them by filter, and one with its attempts and its message.

use std::path::Path as Directory;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::archive::Which;
use super::events::AttemptView;
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::config::{SinkName, duration, hash};
use crate::store::{self, LetterFilter, Listed, Position};

/// Letters of a page.
const LIMIT: u16 = 50;
const LIMIT_MAX: u16 = 500;

/// Some dead letters, oldest event first.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct LetterList {
    pub(crate) dead_letters: Vec<LetterView>,
    /// The `cursor` of the next page; absent if that was all. A page may be short, or empty, and yet have a next one:
    /// looking for rare letters among many ends after a while, so that every page comes soon.
    pub(crate) next: Option<String>,
    /// The filter names a sink that never was.
    pub(crate) is_sink_unknown: bool,
}

/// Every dead letter of an event.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct LettersOfEvent {
    pub(crate) dead_letters: Vec<LetterDetails>,
}

/// A delivery that was given up.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LetterView {
    /// Of its event.
    pub(crate) sequence: u64,
    pub(crate) id: String,
    pub(crate) sink: String,
    pub(crate) routes: Vec<String>,
    pub(crate) stream: String,
    pub(crate) action: Option<String>,
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) deploy_hash: Option<String>,
    pub(crate) accepted_at: String,
    pub(crate) died_at: String,
    pub(crate) attempts: u32,
    pub(crate) cause: String,
    pub(crate) reason: String,
}

/// The same with what takes more room.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LetterDetails {
    pub(crate) letter: LetterView,
    /// The failed attempts, oldest first, those of replays among them.
    pub(crate) history: Vec<AttemptView>,
    /// As it came, what is no UTF-8 replaced; absent if its bytes are damaged.
    pub(crate) message: Option<String>,
}

/// Which letters; what is absent accepts all.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, PartialEq, Eq, Serialize)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterQuery {
    pub(crate) sink: Option<String>,
    /// A route that matched.
    pub(crate) route: Option<String>,
    /// Such as `server`, `timeout`, `refused`.
    pub(crate) cause: Option<String>,
    /// Hash of the contract package, with or without a prefix.
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    /// Given up at least this long ago, such as `1h`.
    pub(crate) older_than: Option<String>,
    /// From the page before.
    pub(crate) cursor: Option<String>,
    /// At most so many, up to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    pub(crate) limit: Option<u16>,
}

/// A query that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: LetterFilter,
    from: Option<Position>,
    limit: usize,
}

impl LetterQuery {
    pub(crate) fn read(self) -> Result<Wanted, String> {
        let filter = LetterFilter {
            sink: self.sink.map(|sink| SinkName(sink.into())),
            route: self.route,
            cause: self.cause,
            contract_package: self.contract_package.as_deref().map(hash).transpose()?,
            token_id: self.token_id,
            older_than: self.older_than.as_deref().map(duration).transpose()?,
            ..LetterFilter::default()
        };
        let from = self.cursor.as_deref().map(str::parse).transpose()?;
        Ok(Wanted { filter, from, limit: self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX).into() })
    }
}

/// A page of the letters that are wanted.
pub(crate) fn page(directory: &Directory, wanted: &Wanted, now: Timestamp) -> anyhow::Result<LetterList> {
    let page = store::dead_letters(directory)?.page(&wanted.filter, wanted.from, wanted.limit, now)?;
    let dead_letters = page.letters.iter().map(LetterView::from).collect();
    let (next, is_sink_unknown) = (page.next.map(|next| next.to_string()), page.is_sink_unknown);
    Ok(LetterList { dead_letters, next, is_sink_unknown })
}

/// Every letter of an event.
pub(crate) fn of_event(directory: &Directory, which: Which, now: Timestamp) -> anyhow::Result<LettersOfEvent> {
    let letters = store::dead_letters(directory)?;
    let seq = match which {
        Which::Sequence(seq) => Some(seq),
        Which::Id(id) => store::events(directory)?.find_id(id)?,
    };
    let mut listed = seq.map_or_else(|| Ok(Vec::new()), |seq| letters.of_event(seq))?;
    if let (true, Which::Id(id)) = (listed.is_empty(), which) {
        // A letter may outlive what finds its event.
        letters.each(&LetterFilter { id: Some(id), ..LetterFilter::default() }, now, |letter| {
            listed.push(letter);
            true
        })?;
    }
    let details = |listed: &Listed| {
        let history = letters.attempts(&listed.letter)?.into_iter().map(AttemptView::from).collect();
        let message = listed.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        Ok(LetterDetails { letter: LetterView::from(listed), history, message })
    };
    Ok(LettersOfEvent { dead_letters: listed.iter().map(details).collect::<anyhow::Result<_>>()? })
}

impl From<&Listed> for LetterView {
    fn from(listed: &Listed) -> Self {
        let (letter, facts) = (&listed.letter, listed.facts.clone().unwrap_or_default());
        Self {
            sequence: letter.seq,
            id: letter.id.to_string(),
            sink: listed.sink.to_string(),
            routes: listed.routes.clone(),
            stream: letter.stream.as_str().to_owned(),
            action: Some(facts.action.to_string()).filter(|action| !action.is_empty()),
            contract_package: facts.contract_package.map(Into::into),
            token_id: facts.token_id.map(Into::into),
            owner: facts.owner.map(Into::into),
            deploy_hash: facts.deploy_hash.map(Into::into),
            accepted_at: letter.accepted_at.to_string(),
            died_at: letter.died_at.to_string(),
            attempts: letter.attempts,
            cause: letter.cause.clone(),
            reason: letter.reason.clone(),
        }
    }
}

/// Dead letters by filter, oldest event first
#[utoipa::path(
    get, path = "/api/v1/dead-letters", tag = "dead letters", params(LetterQuery),
    responses(
        (status = 200, body = LetterList),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(context): State<Shared>,
    Query(query): Query<LetterQuery>,
) -> Result<Json<LetterList>, Problem> {
    let (wanted, now) = (query.read().map_err(Problem::bad_request)?, context.clock.now());
    context.archive.read(move |directory| page(directory, &wanted, now)).await.map(Json)
}

/// The dead letters of an event, with every attempt and the message
#[utoipa::path(
    get, path = "/api/v1/dead-letters/{which}", tag = "dead letters",
    params(("which" = String, Path, description = "Event id, sequence number, or sequence as on the wire")),
    responses(
        (status = 200, body = LettersOfEvent),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(context): State<Shared>,
    Path(which): Path<String>,
) -> Result<Json<LettersOfEvent>, Problem> {
    let which: Which = which.parse().map_err(Problem::bad_request)?;
    let now = context.clock.now();
    let found = context.archive.read(move |directory| of_event(directory, which, now)).await?;
    let is_empty = found.dead_letters.is_empty();
    if is_empty { Err(Problem::not_found("there is no such dead letter")) } else { Ok(Json(found)) }
}
