//! What an operator can set to work, as it is asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::config::{duration, hash};
use crate::event::{EventId, Stream};
use crate::store::{EventChoice, LetterChoice, Order, QuarantineChoice};

/// What is to be done, and with what.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum OrderRequest {
    /// Dead letters wait again, due at once.
    ReplayDeadLetters {
        #[serde(default)]
        filter: LetterFilterRequest,
        /// Leave those alone that a newer event of their lane has followed to the same sink.
        #[serde(default)]
        skip_superseded: bool,
        /// Replays in a second; as fast as the sinks take them if absent.
        #[schema(minimum = 1)]
        rate: Option<u32>,
    },
    /// Dead letters go for good, with their messages.
    DropDeadLetters {
        #[serde(default)]
        filter: LetterFilterRequest,
    },
    /// Stored events go to a sink: again, or for the first time.
    ReplayEvents {
        sink: String,
        #[serde(default)]
        filter: EventFilterRequest,
        /// Also what was delivered already.
        #[serde(default)]
        again: bool,
        /// Replays in a second; as fast as the sink takes them if absent.
        #[schema(minimum = 1)]
        rate: Option<u32>,
    },
    /// Messages of the quarantine go through intake once more; those that are still unusable, or that no route wants,
    /// stay.
    RerouteQuarantined {
        #[serde(default)]
        filter: QuarantineFilterRequest,
    },
    /// Messages of the quarantine go for good.
    DropQuarantined {
        #[serde(default)]
        filter: QuarantineFilterRequest,
    },
    /// What CSPR.cloud's REST API knows of a contract package goes to a sink, whatever the routes say.
    Backfill {
        sink: String,
        /// Hash of the contract package, with or without a prefix.
        contract_package: String,
        /// All that was done with its tokens (`nft-token-actions`), instead of the tokens as they are (`nft-tokens`).
        #[serde(default)]
        history: bool,
        /// Also what was delivered already.
        #[serde(default)]
        again: bool,
        /// Events in a second; as fast as the sink takes them if absent.
        #[schema(minimum = 1)]
        rate: Option<u32>,
    },
    /// The deliveries of a sink that is not configured any more go for good; its dead letters stay.
    DropParked { sink: String },
}

/// Which dead letters; what is absent accepts all.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterFilterRequest {
    pub(crate) sink: Option<String>,
    /// A route that it was matched by.
    pub(crate) route: Option<String>,
    /// Such as `server`, `timeout`, `refused`.
    pub(crate) cause: Option<String>,
    /// Hash of the contract package, with or without a prefix.
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    /// An event id (`evt_…`).
    pub(crate) event: Option<String>,
    /// Given up at least this long ago, such as `1h`.
    pub(crate) older_than: Option<String>,
}

/// Which stored events; what is absent accepts all.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventFilterRequest {
    /// Accepted at this time or later, such as `2026-01-01T00:00:00Z`.
    pub(crate) from: Option<String>,
    /// Accepted before this time.
    pub(crate) until: Option<String>,
    pub(crate) stream: Option<String>,
    /// A route that it was matched by when it was accepted.
    pub(crate) route: Option<String>,
    /// Hash of the contract package, with or without a prefix.
    pub(crate) contract_package: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) action: Option<String>,
    /// An event id (`evt_…`).
    pub(crate) event: Option<String>,
}

/// Which messages of the quarantine; what is absent accepts all.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineFilterRequest {
    pub(crate) number: Option<u64>,
    pub(crate) stream: Option<String>,
    /// A part of the reason.
    pub(crate) reason: Option<String>,
}

impl OrderRequest {
    /// What is to be done; or what is wrong with it.
    pub(super) fn read(self, now: Timestamp) -> Result<Order, String> {
        Ok(match self {
            Self::ReplayDeadLetters { filter, skip_superseded, rate } => {
                Order::ReplayDeadLetters { choice: filter.read(now)?, skip_superseded, rate: positive(rate)? }
            }
            Self::DropDeadLetters { filter } => Order::DropDeadLetters { choice: filter.read(now)? },
            Self::ReplayEvents { sink, filter, again, rate } => {
                Order::ReplayEvents { sink, choice: filter.read()?, again, rate: positive(rate)? }
            }
            Self::RerouteQuarantined { filter } => Order::RerouteQuarantined { choice: filter.read()? },
            Self::DropQuarantined { filter } => Order::DropQuarantined { choice: filter.read()? },
            Self::Backfill { sink, contract_package, history, again, rate } => {
                let contract_package = hash(&contract_package)?;
                Order::Backfill { sink, contract_package, history, again, rate: positive(rate)? }
            }
            Self::DropParked { sink } => Order::DropParked { sink },
        })
    }
}

impl LetterFilterRequest {
    fn read(self, now: Timestamp) -> Result<LetterChoice, String> {
        let age = self.older_than.as_deref().map(duration).transpose()?;
        let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Ok(LetterChoice {
            sink: self.sink,
            route: self.route,
            cause: self.cause,
            contract_package: self.contract_package.as_deref().map(hash).transpose()?,
            token_id: self.token_id,
            event: self.event.map(event).transpose()?,
            died_until_ms: age_ms.map(|age| now.0.saturating_sub(age)),
        })
    }
}

impl EventFilterRequest {
    fn read(self) -> Result<EventChoice, String> {
        let (from_ms, until_ms) = (self.from.map(time).transpose()?, self.until.map(time).transpose()?);
        if let (Some(from), Some(until)) = (from_ms, until_ms)
            && from >= until
        {
            return Err("`from` is not before `until`: nothing lies between them".to_owned());
        }
        Ok(EventChoice {
            from_ms,
            until_ms,
            stream: self.stream.map(stream).transpose()?,
            route: self.route,
            contract_package: self.contract_package.as_deref().map(hash).transpose()?,
            token_id: self.token_id,
            action: self.action,
            event: self.event.map(event).transpose()?,
        })
    }
}

impl QuarantineFilterRequest {
    fn read(self) -> Result<QuarantineChoice, String> {
        let stream = self.stream.map(stream).transpose()?;
        Ok(QuarantineChoice { number: self.number, stream, reason: self.reason })
    }
}

fn positive(rate: Option<u32>) -> Result<Option<u32>, String> {
    match rate {
        Some(0) => Err("`rate` must be at least 1; without it there is no limit".to_owned()),
        other => Ok(other),
    }
}

fn event(text: String) -> Result<String, String> {
    let known: Result<EventId, _> = text.parse();
    known.map(|_| text.clone()).map_err(|_| format!("`{text}` is no event id: expected `evt_…`"))
}

fn stream(text: String) -> Result<String, String> {
    match Stream::from_name(&text) {
        Some(_) => Ok(text),
        None => Err(format!("there is no stream `{text}`")),
    }
}

fn time(text: String) -> Result<u64, String> {
    let failed = || format!("`{text}` is no time: expected RFC 3339, such as 2026-01-31T12:00:00Z");
    let time: jiff::Timestamp = text.parse().map_err(|_| failed())?;
    u64::try_from(time.as_millisecond()).map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Order, String> {
        let request: OrderRequest = serde_json::from_str(text).map_err(|error| error.to_string())?;
        request.read(Timestamp(10_000_000))
    }

    #[test]
    fn an_order_is_read_or_told_what_is_wrong() {
        let letters = LetterChoice {
            cause: Some("server".to_owned()),
            died_until_ms: Some(6_400_000),
            ..LetterChoice::default()
        };
        let order = Order::ReplayDeadLetters { choice: letters, skip_superseded: true, rate: Some(5) };
        let text = r#"{"kind":"replay_dead_letters","filter":{"cause":"server","older_than":"1h"},"skip_superseded":true,"rate":5}"#;
        assert_eq!(read(text), Ok(order));
        let choice = EventChoice { from_ms: Some(0), until_ms: Some(1000), ..EventChoice::default() };
        let order = Order::ReplayEvents { sink: "a".to_owned(), choice, again: false, rate: None };
        let text = r#"{"kind":"replay_events","sink":"a","filter":{"from":"1970-01-01T00:00:00Z","until":"1970-01-01T00:00:01Z"}}"#;
        assert_eq!(read(text), Ok(order));
        let bad = [
            (r#"{"kind":"replay_events"}"#, "missing field `sink`"),
            (r#"{"kind":"backfill","sink":"a"}"#, "missing field `contract_package`"),
            (r#"{"kind":"backfill","sink":"a","contract_package":"53"}"#, "64 hex digits"),
            (r#"{"kind":"replay_everything"}"#, "unknown variant"),
            (r#"{"kind":"drop_dead_letters","filter":{"snik":"a"}}"#, "unknown field `snik`"),
            (r#"{"kind":"drop_dead_letters","filters":{}}"#, "unknown field `filters`"),
            (r#"{"kind":"replay_dead_letters","rate":0}"#, "at least 1"),
            (r#"{"kind":"replay_dead_letters","filter":{"event":"x"}}"#, "`x` is no event id"),
            (r#"{"kind":"replay_dead_letters","filter":{"older_than":"soon"}}"#, "soon"),
            (r#"{"kind":"drop_dead_letters","filter":{"contract_package":"x"}}"#, "x"),
            (r#"{"kind":"replay_events","sink":"a","filter":{"from":"yesterday"}}"#, "`yesterday` is no time"),
            (r#"{"kind":"replay_events","sink":"a","filter":{"until":"1950-01-01T00:00:00Z"}}"#, "is no time"),
            (r#"{"kind":"replay_events","sink":"a","filter":{"stream":"nft"}}"#, "there is no stream `nft`"),
            (
                r#"{"kind":"replay_events","sink":"a","filter":{"from":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}}"#,
                "nothing lies between",
            ),
        ];
        for (text, reason) in bad {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
