//! An event as it is shown.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{Body, History, PastAttempt, PastDelivery, State};

/// An accepted event, with its deliveries.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EventView {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    /// As sinks get it.
    pub(crate) wire_sequence: String,
    pub(crate) stream: String,
    /// `stream`, `repair` or `backfill`.
    pub(crate) origin: String,
    pub(crate) accepted_at: String,
    /// The facts are absent where the message has none, or is no longer kept.
    pub(crate) action: Option<String>,
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) deploy_hash: Option<String>,
    pub(crate) deliveries: Vec<DeliveryView>,
    /// As it came, what is no UTF-8 replaced; absent when it is no longer kept.
    pub(crate) message: Option<String>,
    /// The message is there, but its bytes are damaged.
    pub(crate) is_damaged: bool,
}

/// What became of an event at one sink.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    pub(crate) sink: String,
    /// The routes that matched; none if it went there by a replay alone.
    pub(crate) routes: Vec<String>,
    /// `pending`, `waiting`, `held`, `delivered`, `dead`, `expired`, `over` (how is no longer kept) or `damaged`.
    pub(crate) state: String,
    pub(crate) ended_at: Option<String>,
    /// When it was delivered, if a replay of it waits or ended otherwise since.
    pub(crate) delivered_before: Option<String>,
    /// While it waits: when it is tried again.
    pub(crate) due_at: Option<String>,
    pub(crate) is_replay: Option<bool>,
    pub(crate) attempts: Option<u32>,
    /// Of the answer that confirmed it.
    pub(crate) status: Option<u16>,
    /// Of its dead letter.
    pub(crate) cause: Option<String>,
    pub(crate) reason: Option<String>,
    /// Oldest first.
    pub(crate) failed_attempts: Vec<AttemptView>,
}

/// An attempt that did not end in a delivery.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    pub(crate) number: u32,
    pub(crate) at: String,
    pub(crate) cause: String,
    pub(crate) status: Option<u16>,
    /// At most 1 KiB of what was answered, control characters escaped.
    pub(crate) detail: String,
}

impl From<History> for EventView {
    fn from(history: History) -> Self {
        let facts = history.facts.unwrap_or_default();
        let (message, is_damaged) = match history.body {
            Body::Kept(bytes) => (Some(String::from_utf8_lossy(&bytes).into_owned()), false),
            Body::Gone => (None, false),
            Body::Damaged => (None, true),
        };
        Self {
            id: history.id.to_string(),
            sequence: history.sequence.number,
            wire_sequence: history.sequence.to_string(),
            stream: history.stream.as_str().to_owned(),
            origin: history.origin.as_str().to_owned(),
            accepted_at: history.accepted_at.to_string(),
            action: Some(facts.action.to_string()).filter(|action| !action.is_empty()),
            contract_package: facts.contract_package.map(Into::into),
            token_id: facts.token_id.map(Into::into),
            owner: facts.owner.map(Into::into),
            deploy_hash: facts.deploy_hash.map(Into::into),
            deliveries: history.deliveries.into_iter().map(DeliveryView::from).collect(),
            message,
            is_damaged,
        }
    }
}

impl From<PastDelivery> for DeliveryView {
    fn from(delivery: PastDelivery) -> Self {
        Self {
            sink: delivery.sink.to_string(),
            routes: delivery.routes,
            delivered_before: delivery.delivered_before.map(|at| at.to_string()),
            failed_attempts: delivery.failed.into_iter().map(AttemptView::from).collect(),
            ..Self::of(delivery.state)
        }
    }
}

impl DeliveryView {
    fn of(state: State) -> Self {
        let named = |state: &str| Self { state: state.to_owned(), ..Self::default() };
        match state {
            State::Pending => named("pending"),
            State::Held => named("held"),
            State::Over => named("over"),
            State::Damaged => named("damaged"),
            State::Waiting(waiting) => Self {
                due_at: Some(waiting.due_at.to_string()),
                is_replay: Some(waiting.is_replay),
                attempts: Some(waiting.attempts),
                ..named("waiting")
            },
            State::Delivered { at, attempts, status } => {
                Self { ended_at: Some(at.to_string()), attempts: Some(attempts), status, ..named("delivered") }
            }
            State::Expired { at, attempts } => {
                Self { ended_at: Some(at.to_string()), attempts: Some(attempts), ..named("expired") }
            }
            State::Dead { at, attempts, letter } => {
                let (cause, reason) = letter.unzip();
                Self { ended_at: Some(at.to_string()), attempts: Some(attempts), cause, reason, ..named("dead") }
            }
        }
    }
}

impl From<PastAttempt> for AttemptView {
    fn from(attempt: PastAttempt) -> Self {
        let PastAttempt { number, at, cause, status, detail } = attempt;
        Self { number, at: at.to_string(), cause, status, detail }
    }
}
