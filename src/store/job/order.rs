//! What an operator can ask for.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::{EventId, Facts, Stream};

/// What is to be done, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Order {
    /// Dead letters wait again.
    ReplayDeadLetters {
        choice: LetterChoice,
        skip_superseded: bool,
        rate: Option<u32>,
    },
    DropDeadLetters {
        choice: LetterChoice,
    },
    /// Stored events go to a sink, again or for the first time.
    ReplayEvents {
        sink: String,
        choice: EventChoice,
        again: bool,
        rate: Option<u32>,
    },
    /// Messages of the quarantine go through intake once more.
    RerouteQuarantined {
        choice: QuarantineChoice,
    },
    DropQuarantined {
        choice: QuarantineChoice,
    },
    /// What CSPR.cloud knows of a package goes to a sink.
    Backfill {
        sink: String,
        contract_package: String,
        /// All that was done with its tokens, instead of the tokens as they are.
        history: bool,
        /// Also what the sink has had.
        again: bool,
        rate: Option<u32>,
    },
    /// The deliveries of a sink that is no longer configured.
    DropParked {
        sink: String,
    },
}

/// Which dead letters are meant; what is absent accepts all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LetterChoice {
    pub(crate) sink: Option<String>,
    /// A route that it was matched by.
    pub(crate) route: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    /// An event id.
    pub(crate) event: Option<String>,
    /// Given up at this time or earlier, in milliseconds since 1970.
    pub(crate) died_until_ms: Option<u64>,
}

/// Which stored events are meant; what is absent accepts all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventChoice {
    /// Accepted at this time or later, and before that one, in milliseconds since 1970.
    pub(crate) from_ms: Option<u64>,
    pub(crate) until_ms: Option<u64>,
    pub(crate) stream: Option<String>,
    /// A route that it was matched by when it was accepted.
    pub(crate) route: Option<String>,
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) action: Option<String>,
    /// An event id.
    pub(crate) event: Option<String>,
}

/// Which messages of the quarantine are meant; what is absent accepts all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantineChoice {
    pub(crate) number: Option<u64>,
    pub(crate) stream: Option<String>,
    /// A part of the reason.
    pub(crate) reason: Option<String>,
}

impl Order {
    /// Replays in a second, if that is limited.
    pub(crate) fn rate(&self) -> Option<u32> {
        match self {
            Self::ReplayDeadLetters { rate, .. } | Self::ReplayEvents { rate, .. } | Self::Backfill { rate, .. } => {
                *rate
            }
            _ => None,
        }
    }

    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Self::ReplayDeadLetters { .. } | Self::ReplayEvents { .. } | Self::Backfill { .. })
    }
}

/// In words, on one line: `replay dead letters, sink=search, cause=refused`.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else { return Err(fmt::Error) };
        let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
        f.write_str(&kind.replace('_', " "))?;
        let choice = fields.get("choice").and_then(Value::as_object).into_iter().flatten();
        let others = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "choice"));
        choice.chain(others).try_for_each(|(name, value)| write_field(name, value, f))
    }
}

/// Nothing if the field chooses nothing.
fn write_field(name: &str, value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (name.strip_suffix("_ms"), value) {
        (_, Value::Null | Value::Bool(false)) => Ok(()),
        (_, Value::Bool(true)) => write!(f, ", {name}"),
        (Some(name), Value::Number(at)) => write!(f, ", {name}={}", Timestamp(at.as_u64().unwrap_or_default())),
        (_, Value::String(text)) => write!(f, ", {name}={text}"),
        (_, other) => write!(f, ", {name}={other}"),
    }
}

fn is(wanted: Option<&str>, found: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| found == Some(wanted))
}

impl LetterChoice {
    /// Whether the message has to be looked at.
    pub(super) fn needs_facts(&self) -> bool {
        self.contract_package.is_some() || self.token_id.is_some()
    }

    pub(super) fn means_facts(&self, facts: Option<&Facts>) -> bool {
        is_token(self.contract_package.as_deref(), self.token_id.as_deref(), facts)
    }

    pub(super) fn means_id(&self, id: EventId) -> bool {
        self.event.as_deref().is_none_or(|wanted| id.to_string() == wanted)
    }
}

impl EventChoice {
    pub(super) fn needs_facts(&self) -> bool {
        self.contract_package.is_some() || self.token_id.is_some() || self.action.is_some()
    }

    pub(super) fn means_facts(&self, facts: Option<&Facts>) -> bool {
        is_token(self.contract_package.as_deref(), self.token_id.as_deref(), facts)
            && is(self.action.as_deref(), facts.map(|facts| &*facts.action))
    }

    pub(super) fn means(&self, id: EventId, stream: Stream) -> bool {
        is(self.stream.as_deref(), Some(stream.as_str()))
            && self.event.as_deref().is_none_or(|wanted| id.to_string() == wanted)
    }

    pub(super) fn means_time(&self, accepted_at_ms: u64) -> bool {
        self.from_ms.is_none_or(|from| accepted_at_ms >= from)
            && self.until_ms.is_none_or(|until| accepted_at_ms < until)
    }
}

impl QuarantineChoice {
    pub(super) fn means(&self, number: u64, stream: Stream, reason: &str) -> bool {
        self.number.is_none_or(|wanted| wanted == number)
            && is(self.stream.as_deref(), Some(stream.as_str()))
            && self.reason.as_deref().is_none_or(|part| reason.contains(part))
    }
}

fn is_token(package: Option<&str>, token: Option<&str>, facts: Option<&Facts>) -> bool {
    is(package, facts.and_then(|facts| facts.contract_package.as_deref()))
        && is(token, facts.and_then(|facts| facts.token_id.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_as_it_was_given() {
        let choice =
            LetterChoice { cause: Some("refused".to_owned()), died_until_ms: Some(0), ..LetterChoice::default() };
        let order = Order::ReplayDeadLetters { choice, skip_superseded: true, rate: Some(50) };
        let expected =
            "replay dead letters, cause=refused, died_until=1970-01-01T00:00:00.000Z, rate=50, skip_superseded";
        assert_eq!(order.to_string(), expected);
        assert_eq!(Order::DropParked { sink: "crm".to_owned() }.to_string(), "drop parked, sink=crm");
    }
}
