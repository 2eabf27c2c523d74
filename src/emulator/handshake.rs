//! Who is let in, and what the others are told: a pure decision over the upgrade request.

use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request};
use tokio_tungstenite::tungstenite::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::filter::Filter;
use super::settings::{BadKey, Sessions, Settings};
use crate::event::Stream;

/// An accepted subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) stream: Stream,
    pub(super) filter: Filter,
    /// The persistent session's key: its name, path and query.
    pub(super) session: Option<String>,
}

/// An answer other than 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) retry_after: Option<String>,
}

impl Refusal {
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, body: body.to_owned(), retry_after: None }
    }

    pub(super) fn json(status: u16, code: &str, message: &str) -> Self {
        Self::text(status, &format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#))
    }

    pub(super) fn into_response(self) -> ErrorResponse {
        let kind = if self.body.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
        let length = self.body.len();
        let mut response = Response::new(Some(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(Ok(wait)) = self.retry_after.map(HeaderValue::try_from) {
            headers.insert(RETRY_AFTER, wait);
        }
        response
    }
}

/// The key first, then the path, then the filter, then the session.
pub(super) fn admit(settings: &Settings, request: &Request) -> Result<Ticket, Refusal> {
    check_key(settings, request.headers())?;
    let path = request.uri().path();
    let stream = path.strip_prefix('/').and_then(Stream::from_name).filter(|stream| !stream.is_our_own());
    let stream = stream.ok_or_else(|| Refusal::text(404, "404 page not found\n"))?;
    let query = request.uri().query().unwrap_or_default();
    let filter = Filter::parse(stream, query).map_err(|fault| Refusal::json(400, "invalid_input", fault))?;
    let session = match (text(request.headers(), "persistent-session"), settings.sessions) {
        (None, _) | (_, Sessions::Ignore) => None,
        (Some(_), Sessions::Refuse) => {
            return Err(Refusal::json(403, "access_denied", "persistent sessions are not part of this tier"));
        }
        (Some(name), Sessions::Replay) => Some(format!("{name} {path}?{query}")),
    };
    Ok(Ticket { stream, filter, session })
}

/// The error is what a wrong key is told, at a stream as in the REST API.
pub(super) fn check_key(settings: &Settings, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = text(headers, "authorization").unwrap_or_default();
    if given == settings.api_key {
        return Ok(());
    }
    Err(match settings.bad_key {
        BadKey::Json => Refusal::json(401, "unauthorized", "the access key is missing or unknown"),
        BadKey::Echo => Refusal::text(401, &format!("access key not found error {given}")),
        BadKey::Forbidden => Refusal::json(403, "access_denied", "access denied"),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(address: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().uri(address);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn refusals_are_those_of_the_service() {
        let key = ("authorization", "emulator-key");
        let bearer = ("authorization", "Bearer emulator-key");
        let session = ("persistent-session", "prod");
        let default = Settings::default();
        let echo = Settings { bad_key: BadKey::Echo, ..Settings::default() };
        let forbidding = Settings { bad_key: BadKey::Forbidden, sessions: Sessions::Refuse, ..Settings::default() };
        let table = [
            (&default, "/nft-tokens", vec![], 401, "unauthorized"),
            (&default, "/nft-tokens", vec![bearer], 401, "unauthorized"),
            (&echo, "/nft-tokens", vec![bearer], 401, "access key not found error Bearer emulator-key"),
            (&forbidding, "/nft-tokens", vec![], 403, "access_denied"),
            (&forbidding, "/nft-tokens", vec![key, session], 403, "persistent sessions"),
            (&default, "/nfts", vec![key], 404, "404 page not found\n"),
            (&default, "/", vec![key], 404, "404 page not found\n"),
            (&default, "/contract-events", vec![key], 400, "invalid_input"),
        ];
        for (settings, address, headers, status, body) in table {
            let refusal = admit(settings, &request(address, &headers)).unwrap_err();
            assert_eq!(refusal.status, status, "{address}");
            assert!(refusal.body.contains(body), "{}", refusal.body);
        }
    }

    #[test]
    fn sessions_belong_to_a_stream_and_filter() {
        let headers = [("authorization", "emulator-key"), ("persistent-session", "prod")];
        let session = |address| admit(&Settings::default(), &request(address, &headers)).unwrap().session.unwrap();
        assert_eq!(session("/nft-tokens"), session("/nft-tokens"));
        assert_ne!(session("/nft-tokens"), session("/blocks"));
        assert_ne!(session("/nft-tokens"), session("/nft-tokens?owner_hash=e1"));
        let ignoring = Settings { sessions: Sessions::Ignore, ..Settings::default() };
        assert_eq!(admit(&ignoring, &request("/nft-tokens", &headers)).unwrap().session, None);
    }
}
