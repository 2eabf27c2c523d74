//! What an answer of the REST API means: pure decisions. No text of an answer is kept, but for the documented codes.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::source::retry::{Trouble, refusal};

/// The codes of the service's errors; what else stands there is not repeated.
const CODES: [&str; 5] = ["invalid_input", "unauthorized", "access_denied", "not_found", "duplicate_entity"];

/// Why there is no answer; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestError {
    #[error("CSPR.cloud refused the key (HTTP {status}): check source.api_key")]
    KeyRefused { status: u16 },
    /// Also what an address that is not the API's answers.
    #[error("CSPR.cloud does not know this (HTTP 404): check the hash, source.network and source.rest.url")]
    NotFound,
    #[error("CSPR.cloud refused the request (HTTP {status}{})", code.map(|code| format!(", {code}")).unwrap_or_default())]
    Refused { status: u16, code: Option<&'static str> },
    #[error("CSPR.cloud could not be understood: {0}")]
    Unusable(String),
    /// Passes by itself; it was tried several times.
    #[error("CSPR.cloud did not answer: {}", told(.0))]
    Passing(Trouble),
}

#[derive(Deserialize)]
struct Envelope {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|error| {
        // An error of serde_json may quote what it met; its place does not.
        let (line, column) = (error.line(), error.column());
        RestError::Unusable(format!("the answer does not have the documented shape (line {line}, column {column})"))
    })
}

/// The meaning of a status other than 200.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> RestError {
    match refusal(status, headers) {
        Trouble::KeyRefused { status } => RestError::KeyRefused { status },
        Trouble::RequestRefused { .. } if status == StatusCode::NOT_FOUND => RestError::NotFound,
        Trouble::RequestRefused { .. } => RestError::Refused { status: status.as_u16(), code: code(body) },
        _ if status.is_success() || status.is_redirection() => {
            RestError::Unusable(format!("it answered HTTP {}: check source.rest.url", status.as_u16()))
        }
        passing => RestError::Passing(passing),
    }
}

fn code(body: &[u8]) -> Option<&'static str> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    CODES.into_iter().find(|known| *known == envelope.error.code)
}

/// An exchange that did not come to its end.
pub(super) fn transport(error: reqwest::Error) -> RestError {
    let stage = if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "no connection could be made"
    } else {
        "the connection broke"
    };
    // Without the address: a proxy's may hold a password.
    let cause = anyhow::Error::new(error.without_url());
    RestError::Passing(Trouble::Transient { cause: format!("{stage} ({})", cause.root_cause()) })
}

fn told(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Throttled { status, retry_after: Some(wait) } => {
            format!("it wants fewer requests (HTTP {status}), and to be asked again in {} s", wait.as_secs())
        }
        Trouble::Throttled { status, retry_after: None } | Trouble::KeyRefused { status } => {
            format!("it wants fewer requests (HTTP {status}): wait, or lower source.rest.requests_per_minute")
        }
        Trouble::RequestRefused { cause } | Trouble::Transient { cause } => cause.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do_and_repeat_nothing() {
        let documented = r#"{"error":{"code":"invalid_input","message":"secret-key","description":"more"}}"#;
        let table = [
            (
                401,
                "access key not found error secret-key",
                "CSPR.cloud refused the key (HTTP 401): check source.api_key",
            ),
            (403, documented, "CSPR.cloud refused the key (HTTP 403): check source.api_key"),
            (400, documented, "CSPR.cloud refused the request (HTTP 400, invalid_input)"),
            (400, r#"{"error":{"code":"secret-key"}}"#, "CSPR.cloud refused the request (HTTP 400)"),
            (
                404,
                "404 page not found\n",
                "CSPR.cloud does not know this (HTTP 404): check the hash, source.network and source.rest.url",
            ),
            (302, "secret-key", "CSPR.cloud could not be understood: it answered HTTP 302: check source.rest.url"),
            (500, "secret-key", "CSPR.cloud did not answer: the server answered HTTP 500"),
            (
                429,
                "access limited",
                "CSPR.cloud did not answer: it wants fewer requests (HTTP 429): wait, or lower \
                 source.rest.requests_per_minute",
            ),
        ];
        for (status, body, expected) in table {
            let error = refused(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.to_string(), expected);
            assert!(!format!("{error:?}").contains("secret-key"));
        }
    }

    #[test]
    fn a_shape_that_is_not_the_documented_one_is_told_by_its_place() {
        let error = parsed::<Vec<u64>>(br#"["secret-key"]"#).unwrap_err();
        assert!(matches!(&error, RestError::Unusable(reason) if reason.contains("line 1, column 13")), "{error}");
        assert!(!format!("{error:?}").contains("secret-key"));
    }
}
