//! A request as it arrived: read whole, its signature judged, its headers understood.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::{HeaderMap, Method, Request};
use percent_encoding::percent_decode;

use super::Settings;
use crate::clock::Timestamp;
use crate::signature::{Check, Signed, verify};

/// A longer body is answered 413.
const BODY_BYTES_MAX: usize = 8 << 20;

/// A request, as it was and as it was answered. Texts are percent-decoded; what a request lacks is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// `webhook-id`.
    pub(crate) id: String,
    pub(crate) sequence: String,
    pub(crate) stream: String,
    pub(crate) action: String,
    pub(crate) contract_package: String,
    pub(crate) token_id: String,
    pub(crate) attempt: Option<u32>,
    pub(crate) is_replay: bool,
    pub(crate) form: Form,
    pub(crate) signature: Signature,
    pub(crate) body: Bytes,
    /// `None`: there was no answer, and there will be none.
    pub(crate) status: Option<u16>,
    pub(crate) received_at: Timestamp,
}

/// What the request says about the form of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Raw,
    /// An object with the attributes of CloudEvents, and the message in it.
    CloudEvents,
    /// The message, with the attributes of CloudEvents in headers.
    CloudEventsBinary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    Good,
    /// Wrong, too old or too new, or incomplete.
    Bad,
    /// No `webhook-signature`.
    Unsigned,
    /// There is one, and no key to check it with.
    Unchecked,
}

/// Why a request cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    NoPost,
    TooLong,
    BrokenOff,
}

pub(super) struct Arrived {
    headers: HeaderMap,
    body: Bytes,
    at: Timestamp,
    pub(super) signature: Signature,
    /// Whether it is to be treated as what it says it is.
    pub(super) is_welcome: bool,
}

impl Unusable {
    pub(super) fn status(self) -> u16 {
        match self {
            Self::NoPost => 405,
            Self::TooLong => 413,
            Self::BrokenOff => 400,
        }
    }
}

impl Arrived {
    pub(super) async fn read(request: Request<Incoming>, settings: &Settings, at: Timestamp) -> Result<Self, Unusable> {
        if request.method() != Method::POST {
            return Err(Unusable::NoPost);
        }
        let (parts, body) = request.into_parts();
        let body = read_body(body).await?;
        let signature = judge(&parts.headers, &body, settings, at);
        let is_welcome = settings.keys.is_empty() || signature == Signature::Good;
        Ok(Self { headers: parts.headers, body, at, signature, is_welcome })
    }

    pub(super) fn id(&self) -> Option<&str> {
        header(&self.headers, "webhook-id")
    }

    /// The body is copied, since as it came it keeps the whole buffer of the connection alive.
    pub(super) fn received(&self, status: Option<u16>) -> Received {
        Received {
            id: self.text("webhook-id"),
            sequence: self.text("cspr-relay-sequence"),
            stream: self.text("cspr-relay-stream"),
            action: self.text("cspr-relay-action"),
            contract_package: self.text("cspr-relay-contract-package"),
            token_id: self.text("cspr-relay-token-id"),
            attempt: header(&self.headers, "cspr-relay-attempt").and_then(|text| text.parse().ok()),
            is_replay: header(&self.headers, "cspr-relay-replay") == Some("true"),
            form: self.form(),
            signature: self.signature,
            body: Bytes::copy_from_slice(&self.body),
            status,
            received_at: self.at,
        }
    }

    fn form(&self) -> Form {
        let content_type = header(&self.headers, "content-type").unwrap_or_default();
        if content_type.to_ascii_lowercase().starts_with("application/cloudevents+json") {
            Form::CloudEvents
        } else if self.headers.contains_key("ce-specversion") {
            Form::CloudEventsBinary
        } else {
            Form::Raw
        }
    }

    fn text(&self, name: &'static str) -> String {
        let value = self.headers.get(name).map_or(&[][..], |value| value.as_bytes());
        percent_decode(value).decode_utf8_lossy().into_owned()
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, Unusable> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Unusable::TooLong);
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unusable::TooLong),
        Err(_) => Err(Unusable::BrokenOff),
    }
}

fn judge(headers: &HeaderMap, body: &[u8], settings: &Settings, at: Timestamp) -> Signature {
    let Some(signature) = header(headers, "webhook-signature") else { return Signature::Unsigned };
    if settings.keys.is_empty() {
        return Signature::Unchecked;
    }
    let (id, timestamp) = (header(headers, "webhook-id"), header(headers, "webhook-timestamp"));
    let (Some(id), Some(timestamp)) = (id, timestamp) else { return Signature::Bad };
    let check = Check { keys: &settings.keys, now: at.unix_seconds(), tolerance: settings.tolerance };
    match verify(Signed { id, timestamp, signature }, body, check) {
        Ok(()) => Signature::Good,
        Err(_) => Signature::Bad,
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
