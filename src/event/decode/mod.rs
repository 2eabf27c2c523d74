//! From the bytes of a message to facts and identity.
//!
//! Tolerant where CSPR.cloud's documentation is vague (numbers for text, absent or `null` fields, unknown keys) and
//! strict where an event would lose its identity: a token event without package or token id is malformed. Nesting
//! beyond 64 levels inside a value that counts is malformed too.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::canonical;
use super::identity::{Identity, Subject};
use super::{ActionKind, Facts, Network, Stream};

/// A message that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    pub(crate) facts: Facts,
    pub(crate) identity: Identity,
    /// What of the message counts for its identity beside these facts: canonical JSON.
    pub(crate) state: Vec<u8>,
}

/// Why a message was not understood: one line, without its content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Malformed {
    pub(crate) reason: String,
}

impl Malformed {
    fn new(reason: String) -> Self {
        Self { reason }
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self { reason: error.to_string() }
    }
}

/// Facts and identity of a message of `stream`.
pub(crate) fn decode(network: Network, stream: Stream, body: &[u8]) -> Result<Decoded, Malformed> {
    let (facts, state) = match stream {
        Stream::NftTokens => nft_token(body).and_then(|message| Ok((message.facts(), message.state()?)))?,
        Stream::NftTokenActions => {
            nft_token_action(body).and_then(|message| Ok((message.facts(), message.state()?)))?
        }
        Stream::NftTokenOwnership => return ownership(network, body),
        _ => untyped(stream, body)?,
    };
    let identity = Subject { network, stream, facts: &facts, state: &state }.identity();
    Ok(Decoded { facts, identity, state })
}

/// Facts alone, for a message that was accepted before.
pub(crate) fn facts(stream: Stream, body: &[u8]) -> Result<Facts, Malformed> {
    match stream {
        Stream::NftTokens => nft_token(body).map(|message| message.facts()),
        Stream::NftTokenActions => nft_token_action(body).map(|message| message.facts()),
        _ => untyped(stream, body).map(|(facts, _state)| facts),
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "D: Deserialize<'de>, 'de: 'a"))]
struct Envelope<'a, D> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    data: D,
    #[serde(borrow, default)]
    extra: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Extra<'a> {
    #[serde(borrow, default)]
    deploy_hash: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    transaction_hash: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    owner_hash: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct NftToken<'a> {
    #[serde(borrow)]
    contract_package_hash: Cow<'a, str>,
    #[serde(borrow)]
    token_id: &'a RawValue,
    #[serde(default)]
    token_standard_id: Option<u64>,
    #[serde(default)]
    owner_type: Option<u8>,
    #[serde(borrow, default)]
    owner_hash: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    onchain_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    offchain_metadata: Option<&'a RawValue>,
    #[serde(default)]
    offchain_metadata_status: Option<i64>,
    #[serde(default)]
    is_burned: Option<bool>,
}

#[derive(Deserialize)]
struct NftTokenAction<'a> {
    #[serde(borrow)]
    contract_package_hash: Cow<'a, str>,
    #[serde(borrow)]
    token_id: &'a RawValue,
    #[serde(borrow, default)]
    deploy_hash: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    from_hash: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    to_hash: Option<Cow<'a, str>>,
    #[serde(default)]
    to_type: Option<u8>,
    nft_action_id: u64,
}

/// A typed message with its loosely typed parts resolved.
struct Typed<'a, D> {
    envelope: Envelope<'a, D>,
    extra: Extra<'a>,
    token_id: Box<str>,
}

fn nft_token(body: &[u8]) -> Result<Typed<'_, NftToken<'_>>, Malformed> {
    let envelope: Envelope<'_, NftToken<'_>> = serde_json::from_str(text(body)?)?;
    let token_id = required_text("data.token_id", envelope.data.token_id)?;
    required("data.contract_package_hash", &envelope.data.contract_package_hash)?;
    Ok(Typed { extra: extra(envelope.extra)?, token_id, envelope })
}

fn nft_token_action(body: &[u8]) -> Result<Typed<'_, NftTokenAction<'_>>, Malformed> {
    let envelope: Envelope<'_, NftTokenAction<'_>> = serde_json::from_str(text(body)?)?;
    let token_id = required_text("data.token_id", envelope.data.token_id)?;
    required("data.contract_package_hash", &envelope.data.contract_package_hash)?;
    Ok(Typed { extra: extra(envelope.extra)?, token_id, envelope })
}

/// Checked as a whole: that is a fraction of checking each of its strings.
fn text(body: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(body).map_err(|error| Malformed { reason: error.to_string() })
}

impl Typed<'_, NftToken<'_>> {
    fn facts(&self) -> Facts {
        let data = &self.envelope.data;
        Facts {
            action: (*self.envelope.action).into(),
            timestamp: self.envelope.timestamp.as_deref().map(Into::into),
            contract_package: Some(lower(&data.contract_package_hash)),
            token_id: Some(self.token_id.clone()),
            deploy_hash: hash(self.extra.deploy_hash.as_deref().or(self.extra.transaction_hash.as_deref())),
            owner: hash(data.owner_hash.as_deref()),
            owner_type: data.owner_type,
            token_standard: data.token_standard_id,
            is_burned: data.is_burned,
            ..Facts::default()
        }
    }

    /// What may change about a token, as canonical JSON.
    fn state(&self) -> Result<Vec<u8>, Malformed> {
        let data = &self.envelope.data;
        let mut state = State::new(self.envelope.data.onchain_metadata.map_or(0, |raw| raw.get().len()));
        state.plain("is_burned", data.is_burned)?;
        state.json("offchain_metadata", data.offchain_metadata)?;
        state.plain("offchain_metadata_status", data.offchain_metadata_status)?;
        state.json("onchain_metadata", data.onchain_metadata)?;
        state.hash("owner_hash", data.owner_hash.as_deref())?;
        state.plain("owner_type", data.owner_type)?;
        Ok(state.end())
    }
}

impl Typed<'_, NftTokenAction<'_>> {
    fn facts(&self) -> Facts {
        let data = &self.envelope.data;
        let (from, to) = (hash(data.from_hash.as_deref()), hash(data.to_hash.as_deref()));
        let owner = hash(self.extra.owner_hash.as_deref());
        Facts {
            action: (*self.envelope.action).into(),
            timestamp: self.envelope.timestamp.as_deref().map(Into::into),
            contract_package: Some(lower(&data.contract_package_hash)),
            token_id: Some(self.token_id.clone()),
            deploy_hash: hash(data.deploy_hash.as_deref().or(self.extra.deploy_hash.as_deref())),
            owner: owner.or_else(|| to.clone()).or_else(|| from.clone()),
            owner_type: data.to_type,
            from,
            to,
            kind: action_kind(data.nft_action_id),
            ..Facts::default()
        }
    }

    /// What tells two actions of one deploy on one token apart.
    fn state(&self) -> Result<Vec<u8>, Malformed> {
        let data = &self.envelope.data;
        let mut state = State::new(0);
        state.hash("from_hash", data.from_hash.as_deref())?;
        state.plain("nft_action_id", Some(data.nft_action_id))?;
        state.hash("to_hash", data.to_hash.as_deref())?;
        Ok(state.end())
    }
}

/// Writes the state of an entity as canonical JSON: keys must come in their order.
struct State(Vec<u8>);

impl State {
    fn new(expected_bytes: usize) -> Self {
        let mut out = Vec::with_capacity(expected_bytes + 256);
        out.push(b'{');
        Self(out)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn plain(&mut self, key: &str, value: Option<impl Serialize>) -> Result<(), Malformed> {
        self.key(key);
        Ok(serde_json::to_writer(&mut self.0, &value)?)
    }

    fn hash(&mut self, key: &str, hash: Option<&str>) -> Result<(), Malformed> {
        self.key(key);
        match hash {
            Some(hash) => canonical::write_text(&hash.to_ascii_lowercase(), &mut self.0).map_err(Malformed::new)?,
            None => self.0.extend_from_slice(b"null"),
        }
        Ok(())
    }

    /// CSPR.cloud sends some metadata as base64 of a JSON object: that is the same as the object.
    fn json(&mut self, key: &str, raw: Option<&RawValue>) -> Result<(), Malformed> {
        self.key(key);
        let Some(raw) = raw else {
            self.0.extend_from_slice(b"null");
            return Ok(());
        };
        let decoded = from_base64(raw.get());
        canonical::write(decoded.as_deref().unwrap_or(raw), &mut self.0).map_err(Malformed::new)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// The object or array that a JSON text is base64 of.
pub(crate) fn from_base64(json: &str) -> Option<Box<RawValue>> {
    let code = json.strip_prefix('"')?.strip_suffix('"')?;
    let bytes = data_encoding::BASE64.decode(code.as_bytes()).ok()?;
    let inner: Box<RawValue> = serde_json::from_slice(&bytes).ok()?;
    inner.get().starts_with(['{', '[']).then_some(inner)
}

/// A change of ownership, which the relay itself has told. Numbers of tokens recur, so it bears a revision, by which it
/// is one of a kind; without one it is a message as any other.
fn ownership(network: Network, body: &[u8]) -> Result<Decoded, Malformed> {
    #[derive(Deserialize)]
    struct Revised {
        extra: Option<Revision>,
    }
    #[derive(Deserialize)]
    struct Revision {
        revision: Option<String>,
    }
    let stream = Stream::NftTokenOwnership;
    let (facts, untyped) = untyped(stream, body)?;
    let revised: Option<Revised> = serde_json::from_slice(body).ok();
    let Some(revision) = revised.and_then(|message| message.extra?.revision) else {
        let identity = Subject { network, stream, facts: &facts, state: &untyped }.identity();
        return Ok(Decoded { facts, identity, state: untyped });
    };
    let state = serde_json::json!({ "owner_hash": facts.owner, "revision": revision }).to_string().into_bytes();
    let identity = Subject { network, stream, facts: &facts, state: &state }.identity();
    Ok(Decoded { facts, identity: Identity { has_deploy: true, ..identity }, state })
}

fn untyped(stream: Stream, body: &[u8]) -> Result<(Facts, Vec<u8>), Malformed> {
    let message: Value = serde_json::from_str(text(body)?)?;
    let Some(action) = message.get("action").and_then(Value::as_str) else {
        return Err(missing("action"));
    };
    let Some(data) = message.get("data").filter(|data| data.is_object()) else {
        return Err(missing("data"));
    };
    // A tree prints in canonical form: its maps are sorted, since the feature `preserve_order` is off.
    let state = serde_json::json!({ "data": data, "extra": message.get("extra") }).to_string().into_bytes();
    let fields = stream.fields();
    let at = |pointer: &str| text_at(&message, pointer);
    let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| at(pointer));
    let facts = Facts {
        action: action.into(),
        timestamp: at("/timestamp"),
        contract_package: hash(at(fields.contract_package).as_deref()),
        token_id: at(fields.token_id),
        deploy_hash: hash(first(fields.deploy_hash).as_deref()),
        owner: hash(first(fields.owner).as_deref()),
        owner_type: at(fields.owner_type).and_then(|number| number.parse().ok()),
        from: hash(at(fields.from).as_deref()),
        to: hash(at(fields.to).as_deref()),
        ..Facts::default()
    };
    Ok((facts, state))
}

/// The text or number at `pointer`; an empty pointer stands for a field that the stream lacks.
fn text_at(message: &Value, pointer: &str) -> Option<Box<str>> {
    let found = message.pointer(pointer).filter(|_| !pointer.is_empty())?;
    match found {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// `extra` is documented as an object or `null`, and as mixed: anything but an object says nothing.
fn extra(raw: Option<&RawValue>) -> Result<Extra<'_>, Malformed> {
    match raw {
        Some(raw) if raw.get().starts_with('{') => Ok(serde_json::from_str(raw.get())?),
        _ => Ok(Extra::default()),
    }
}

/// A text, or a number taken as it was written; never empty.
fn required_text(name: &str, raw: &RawValue) -> Result<Box<str>, Malformed> {
    let written = raw.get();
    let text = match written.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Cow<'_, str>>(written)?,
        Some(b'0'..=b'9' | b'-') => Cow::Borrowed(written),
        _ => return Err(Malformed { reason: format!("{name} is neither a text nor a number") }),
    };
    required(name, &text)?;
    Ok(text.into())
}

fn required(name: &str, text: &str) -> Result<(), Malformed> {
    if text.is_empty() { Err(missing(name)) } else { Ok(()) }
}

fn missing(name: &str) -> Malformed {
    Malformed { reason: format!("{name} is missing or empty") }
}

fn hash(text: Option<&str>) -> Option<Box<str>> {
    text.filter(|text| !text.is_empty()).map(lower)
}

fn lower(text: &str) -> Box<str> {
    text.to_ascii_lowercase().into()
}

fn action_kind(id: u64) -> Option<ActionKind> {
    Some(match id {
        1 => ActionKind::Mint,
        2 => ActionKind::Burn,
        3 => ActionKind::Approve,
        4 => ActionKind::Transfer,
        5 => ActionKind::MetadataUpdate,
        6 => ActionKind::Revoke,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
