//! Events as they are accepted, for whoever looks on.
//!
//! A looker-on reads from the ring of recent events in memory, at his own pace: nothing is queued for him, and who is
//! too slow is told how many events he missed. So delivery does not notice him.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::extract::Query;
use super::problem::Problem;
use crate::config::hash;
use crate::store::AcceptedEvent;

/// Who may look on at once.
const LOOKERS_ON_MAX: usize = 8;
/// How often the ring is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Events taken from the ring at a time.
const EVENTS_MAX: usize = 256;
/// After so long without an event an empty line shows that the relay is there.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The places of those who look on.
pub(crate) struct Audience(Arc<Semaphore>);

impl Default for Audience {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKERS_ON_MAX)))
    }
}

/// Which events; what is absent accepts all.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, Serialize)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TailQuery {
    pub(crate) stream: Option<String>,
    pub(crate) action: Option<String>,
    /// Hash of the contract package, with or without a prefix.
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    /// A sink that gets it.
    pub(crate) sink: Option<String>,
    /// A route that matched.
    pub(crate) route: Option<String>,
    /// With the messages themselves.
    pub(crate) messages: Option<bool>,
}

/// A line of the answer.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TailLine {
    Event(Box<TailEvent>),
    /// So many events came too fast to be shown; whether they were meant is not known.
    Skipped(u64),
}

/// An event that was just accepted.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct TailEvent {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) stream: String,
    pub(crate) origin: String,
    pub(crate) accepted_at: String,
    pub(crate) action: String,
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) deploy_hash: Option<String>,
    pub(crate) sinks: Vec<String>,
    pub(crate) routes: Vec<String>,
    /// If it was asked for.
    pub(crate) message: Option<String>,
}

impl TailQuery {
    fn means(&self, accepted: &AcceptedEvent) -> bool {
        let (event, facts) = (&accepted.event, &accepted.event.facts);
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        is(&self.stream, Some(event.stream.as_str()))
            && is(&self.action, Some(&facts.action))
            && is(&self.contract_package, facts.contract_package.as_deref())
            && is(&self.token_id, facts.token_id.as_deref())
            && accepted.targets.iter().any(|(sink, routes)| {
                is(&self.sink, Some(&sink.0))
                    && self.route.as_ref().is_none_or(|wanted| routes.iter().any(|route| **route == **wanted))
            })
    }
}

impl TailEvent {
    fn new(accepted: &AcceptedEvent, has_message: bool) -> Self {
        let (event, facts) = (&accepted.event, accepted.event.facts.clone());
        let mut routes: Vec<String> =
            accepted.targets.iter().flat_map(|(_, routes)| routes.iter().map(ToString::to_string)).collect();
        routes.sort_unstable();
        routes.dedup();
        Self {
            id: event.id.to_string(),
            sequence: event.sequence.number,
            stream: event.stream.as_str().to_owned(),
            origin: event.origin.as_str().to_owned(),
            accepted_at: event.accepted_at.to_string(),
            action: facts.action.to_string(),
            contract_package: facts.contract_package.map(Into::into),
            token_id: facts.token_id.map(Into::into),
            owner: facts.owner.map(Into::into),
            deploy_hash: facts.deploy_hash.map(Into::into),
            sinks: accepted.targets.iter().map(|(sink, _)| sink.to_string()).collect(),
            routes,
            message: has_message.then(|| String::from_utf8_lossy(&event.body).into_owned()),
        }
    }
}

/// One who looks on.
struct LookerOn {
    context: Shared,
    query: TailQuery,
    after: u64,
    ready: VecDeque<Bytes>,
    said_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl LookerOn {
    /// The next line; none once the relay stops.
    ///
    /// Woken ten times a second; stopped by the drain, or by being dropped when the client is gone.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.said_at = Instant::now();
                return Some(line);
            }
            if self.said_at.elapsed() >= SILENCE_MAX {
                self.ready.push_back(Bytes::from_static(b"\n"));
                continue;
            }
            if self.look() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = self.context.lifecycle.drain().cancelled() => return None,
                }
            }
        }
    }

    /// Takes what is new; whether that was all.
    fn look(&mut self) -> bool {
        let accepted = self.context.store.accepted_since(Some(self.after), EVENTS_MAX);
        self.after = accepted.last;
        let skipped = Some(TailLine::Skipped(accepted.skipped)).filter(|_| accepted.skipped > 0);
        let meant = accepted.events.iter().filter(|event| self.query.means(event));
        let has_message = self.query.messages == Some(true);
        let events = meant.map(|event| TailLine::Event(Box::new(TailEvent::new(event, has_message))));
        let lines = skipped.into_iter().chain(events).filter_map(|line| serde_json::to_string(&line).ok());
        self.ready.extend(lines.map(|line| Bytes::from(line + "\n")));
        accepted.events.len() < EVENTS_MAX
    }
}

/// Events as they are accepted, one JSON object a line
///
/// Begins with the next event and does not end by itself; empty lines only show that the relay is there. Who reads too
/// slowly is told how many events were skipped.
#[utoipa::path(
    get, path = "/api/v1/tail", tag = "events", params(TailQuery),
    responses(
        (status = 200, body = TailLine, content_type = "application/jsonl"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn tail(
    State(context): State<Shared>,
    Query(mut query): Query<TailQuery>,
) -> Result<Response, Problem> {
    query.contract_package = query.contract_package.as_deref().map(hash).transpose().map_err(Problem::bad_request)?;
    let Ok(place) = Arc::clone(&context.audience.0).try_acquire_owned() else {
        return Err(Problem::busy("too many look on already: close another one first"));
    };
    let after = context.store.accepted_since(None, 0).last;
    let looker_on = LookerOn { context, query, after, ready: VecDeque::new(), said_at: Instant::now(), _place: place };
    let lines = stream::unfold(looker_on, |mut looker_on| async move {
        let line = looker_on.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), looker_on))
    });
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}
