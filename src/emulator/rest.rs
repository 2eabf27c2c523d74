//! The REST API, as far as it tells of tokens, what was done with them and who owns how many: the same key, refusals
//! and truth as the streams.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::handshake::{Refusal, check_key};
use super::hub::Hub;
use super::told::Of;

/// Requests with more than this in their head get no answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Between two looks at a head that has not come whole.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const PAGE_SIZE_DEFAULT: usize = 10;
const PAGE_SIZE_MAX: usize = 250;

/// Whether the first request on this connection wants a WebSocket. Reads nothing.
pub(super) async fn asks_for_upgrade(socket: &TcpStream) -> io::Result<bool> {
    let mut head = vec![0; HEAD_BYTES_MAX];
    loop {
        let length = socket.peek(&mut head).await?;
        let text = String::from_utf8_lossy(head.get(..length).unwrap_or_default()).to_ascii_lowercase();
        if length == 0 || length == HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            return Ok(head.lines().any(|line| line.starts_with("upgrade:")));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Answers the requests of one connection until either side ends it.
pub(super) async fn serve(socket: TcpStream, hub: Arc<Hub>) {
    let hub = &*hub;
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(hub, &request)) });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await {
        tracing::debug!(%error, "a connection to the emulated REST API ended");
    }
}

fn answer(hub: &Hub, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refused = hub.take_refusal().map_or_else(|| check_key(&hub.settings, request.headers()), Err);
    let query = request.uri().query().unwrap_or_default();
    match refused.and_then(|()| list(hub, request.uri().path(), query)) {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            let json = hyper::header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(refusal) => {
            hub.note(|tally| tally.refused += 1);
            refusal.into_response().map(|body| Full::from(body.unwrap_or_default()))
        }
    }
}

/// What a path and a query mean, as text.
fn list(hub: &Hub, path: &str, query: &str) -> Result<String, Refusal> {
    let unknown = || Refusal::text(404, "404 page not found\n");
    let (owned, told) = hub.owned.as_ref().zip(hub.told.as_ref()).ok_or_else(unknown)?;
    let segments: Vec<String> = path
        .trim_start_matches('/')
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = Query(query);
    match *segments.as_slice() {
        ["contract-packages", package, "nft-token-ownership"] => {
            query.page(&owned.rows(Some(package), query.value("owner_hash")), hub)
        }
        ["accounts", owner, "nft-token-ownership"] => {
            query.page(&owned.rows(query.value("contract_package_hash"), Some(owner)), hub)
        }
        ["contract-packages", package, "nft-tokens"] => query.page(&query.sorted(told.tokens(package)), hub),
        ["contract-packages", package, "nft-token-actions"] => {
            query.page(&query.sorted(told.actions(Of::Package(package))), hub)
        }
        ["contract-packages", package, "nft-tokens", id, "nft-token-actions"] => {
            query.page(&told.actions(Of::Token(package, id)), hub)
        }
        ["accounts", owner, "nft-token-actions"] => query.page(&told.actions(Of::Owner(owner)), hub),
        ["contract-packages", package, "nft-tokens", id] => match told.token(package, id) {
            Some(token) => Ok(json!({ "data": token }).to_string()),
            None => Err(Refusal::json(404, "not_found", "the token does not exist")),
        },
        _ => Err(unknown()),
    }
}

struct Query<'a>(&'a str);

impl Query<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The rows in the order that is asked for, where they are listed the newest first.
    fn sorted(&self, mut rows: Vec<Value>) -> Vec<Value> {
        if self.value("order_by") == Some("token_id") {
            rows.sort_by(|a, b| b["token_id"].as_str().cmp(&a["token_id"].as_str()));
        }
        if self.value("order_direction").is_some_and(|direction| direction.eq_ignore_ascii_case("asc")) {
            rows.reverse();
        }
        rows
    }

    /// The page of `rows` that is asked for.
    fn page(&self, rows: &[impl Serialize], hub: &Hub) -> Result<String, Refusal> {
        let number = |name: &str, default: usize, max: usize| match self.value(name).map_or(Ok(default), str::parse) {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => Err(Refusal::json(400, "invalid_input", &format!("{name} must be a number from 1 to {max}"))),
        };
        let page = number("page", 1, usize::MAX)?;
        let page_size = number("page_size", PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        let omits_counters = hub.settings.rest.is_some_and(|rest| rest.omits_counters);
        Ok(written(rows, page, page_size, omits_counters))
    }
}

fn written(rows: &[impl Serialize], page: usize, page_size: usize, omits_counters: bool) -> String {
    let data: Vec<_> = rows.iter().skip((page - 1).saturating_mul(page_size)).take(page_size).collect();
    if omits_counters {
        return json!({ "data": data }).to_string();
    }
    let pages = rows.len().div_ceil(page_size);
    json!({ "item_count": rows.len(), "page_count": pages, "data": data }).to_string()
}
