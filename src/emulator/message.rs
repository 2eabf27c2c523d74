//! How tokens and actions look on the wire: keys in the order of the real samples, unknowns as knobs.

use std::fmt::Write;
use std::sync::Arc;

use data_encoding::BASE64;

/// The variants of the wire format that real messages were seen in, or may come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) tracking: TrackingShape,
    pub(crate) has_block_height: bool,
    pub(crate) metadata: MetadataShape,
    pub(crate) extra: ExtraShape,
    /// About how long a message of `nft-tokens` is.
    pub(crate) body_bytes: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            tracking: TrackingShape::Number,
            has_block_height: false,
            metadata: MetadataShape::Mixed,
            extra: ExtraShape::Null,
            body_bytes: 1350,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TrackingShape {
    Number,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MetadataShape {
    /// Mostly objects, one in eight as base64 of one.
    Mixed,
    Object,
    Base64,
    Null,
}

/// How an `extra` without content is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExtraShape {
    Null,
    Absent,
}

/// An account (kind 0) or a contract (kind 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) hash: Arc<str>,
    pub(super) kind: u8,
}

/// The state of a token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) package: Arc<str>,
    pub(super) id: String,
    pub(super) tracking: u64,
    pub(super) standard: u8,
    pub(super) owner: Party,
    /// JSON.
    pub(super) onchain: String,
    pub(super) is_base64: bool,
    /// JSON.
    pub(super) offchain: Option<String>,
    pub(super) offchain_status: u8,
    pub(super) is_burned: bool,
    pub(super) minted_ms: i64,
    pub(super) block: u64,
}

/// The envelope around a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause<'a> {
    pub(super) deploy: Option<&'a str>,
    pub(super) envelope_ns: i128,
}

/// What was done with a token; `kind` is CSPR.cloud's `nft_action_id`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action<'a> {
    pub(super) kind: u8,
    pub(super) from: Option<&'a Party>,
    pub(super) to: Option<&'a Party>,
    pub(super) at_ms: i64,
}

/// A message of `nft-tokens`.
pub(super) fn token_message(token: &Token, action: &str, cause: Cause<'_>, shape: &Shape) -> String {
    let extra = cause.deploy.map(|deploy| format!(r#"{{"deploy_hash":"{deploy}"}}"#));
    let data = format!(
        r#""contract_package_hash":"{}","token_id":{},"tracking_id":{},"token_standard_id":{},"owner_type":{},"owner_hash":"{}","onchain_metadata":{},"offchain_metadata":{},"offchain_metadata_status":{},"is_burned":{},"timestamp":"{}""#,
        token.package,
        quoted(&token.id),
        tracking(token, shape),
        token.standard,
        token.owner.kind,
        token.owner.hash,
        onchain(token, shape),
        token.offchain.as_deref().unwrap_or("null"),
        token.offchain_status,
        token.is_burned,
        milliseconds(token.minted_ms),
    );
    envelope(&data, block(token, shape), action, extra, cause.envelope_ns, shape)
}

/// A message of `nft-token-actions`.
pub(super) fn action_message(token: &Token, action: Action<'_>, cause: Cause<'_>, shape: &Shape) -> String {
    let (from_type, from_hash) = side(action.from);
    let (to_type, to_hash) = side(action.to);
    let data = format!(
        r#""deploy_hash":"{}","contract_package_hash":"{}","token_id":{},"from_type":{from_type},"from_hash":{from_hash},"to_type":{to_type},"to_hash":{to_hash},"nft_action_id":{},"token_tracking_id":{},"timestamp":"{}""#,
        cause.deploy.unwrap_or_default(),
        token.package,
        quoted(&token.id),
        action.kind,
        tracking(token, shape),
        milliseconds(action.at_ms),
    );
    let extra = format!(r#"{{"owner_hash":"{}"}}"#, token.owner.hash);
    envelope(&data, block(token, shape), "created", Some(extra), cause.envelope_ns, shape)
}

fn envelope(data: &str, block: String, action: &str, extra: Option<String>, time_ns: i128, shape: &Shape) -> String {
    let extra = match (extra, shape.extra) {
        (Some(extra), _) => format!(r#","extra":{extra}"#),
        (None, ExtraShape::Null) => r#","extra":null"#.to_owned(),
        (None, ExtraShape::Absent) => String::new(),
    };
    let time = nanoseconds(time_ns);
    format!(r#"{{"data":{{{data}{block}}},"action":"{action}"{extra},"timestamp":"{time}"}}"#)
}

/// The same message with another envelope timestamp, a second later; unchanged if it does not end with one.
pub(super) fn restamped(text: &str) -> String {
    const KEY: &str = r#","timestamp":""#;
    let Some((head, tail)) = text.rsplit_once(KEY) else { return text.to_owned() };
    let time = tail.strip_suffix(r#""}"#).and_then(|time| time.parse::<jiff::Timestamp>().ok());
    match time {
        Some(time) => format!(r#"{head}{KEY}{}"}}"#, nanoseconds(time.as_nanosecond() + 1_000_000_007)),
        None => text.to_owned(),
    }
}

fn onchain(token: &Token, shape: &Shape) -> String {
    let is_base64 = match shape.metadata {
        MetadataShape::Null => return "null".to_owned(),
        MetadataShape::Object => false,
        MetadataShape::Base64 => true,
        MetadataShape::Mixed => token.is_base64,
    };
    if is_base64 { format!(r#""{}""#, BASE64.encode(token.onchain.as_bytes())) } else { token.onchain.clone() }
}

fn tracking(token: &Token, shape: &Shape) -> String {
    match shape.tracking {
        TrackingShape::Number => token.tracking.to_string(),
        TrackingShape::Text => format!(r#""{}""#, token.tracking),
    }
}

fn block(token: &Token, shape: &Shape) -> String {
    if shape.has_block_height { format!(r#","block_height":{}"#, token.block) } else { String::new() }
}

fn side(party: Option<&Party>) -> (String, String) {
    match party {
        Some(party) => (party.kind.to_string(), format!(r#""{}""#, party.hash)),
        None => ("null".to_owned(), "null".to_owned()),
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn milliseconds(ms: i64) -> String {
    printed(jiff::Timestamp::from_millisecond(ms), 3)
}

fn nanoseconds(ns: i128) -> String {
    printed(jiff::Timestamp::from_nanosecond(ns), 9)
}

/// The generator's times are far from jiff's limits; one beyond them would show as an empty text.
fn printed(time: Result<jiff::Timestamp, jiff::Error>, digits: usize) -> String {
    let mut text = String::new();
    if let Ok(time) = time
        && write!(text, "{time:.digits$}").is_err()
    {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_envelope_timestamp_of_a_duplicate_changes() {
        let text = r#"{"data":{"timestamp":"2023-12-27T16:50:13.689Z"},"timestamp":"2024-02-07T10:21:29.557865809Z"}"#;
        let later = r#"{"data":{"timestamp":"2023-12-27T16:50:13.689Z"},"timestamp":"2024-02-07T10:21:30.557865816Z"}"#;
        assert_eq!(restamped(text), later);
        for odd in ["", "hello", r#"{"data":{},"timestamp":"soon"}"#, r#"{"timestamp":"x"#] {
            assert_eq!(restamped(odd), odd);
        }
    }
}
