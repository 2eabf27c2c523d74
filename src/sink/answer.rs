//! What an HTTP answer means, and how much of it is read.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::{Cause, Failure, Outcome};
use crate::clock::Timestamp;

/// Bytes of an answer that are read at most; a longer one costs the connection.
const READ_BYTES_MAX: usize = 64 * 1024;
const SNIPPET_BYTES_MAX: usize = 1024;
/// How long the body is waited for. The status has said what matters; reading to the end lets the connection be used
/// again.
const BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// Reads the answer and judges it. A body that is slow or breaks off takes nothing away from what the status says.
pub(super) async fn judge(mut response: Response, reject_on: &[u16], now: Timestamp) -> Outcome {
    let status = response.status();
    if status.is_success() {
        read(&mut response, 0).await;
        return Outcome::Delivered { status: Some(status.as_u16()) };
    }
    let after = retry_after(status, response.headers(), now);
    let snippet = read(&mut response, SNIPPET_BYTES_MAX).await;
    let failure = Failure { cause: cause(status), status: Some(status.as_u16()), detail: detail(status, &snippet) };
    if reject_on.contains(&status.as_u16()) { Outcome::Reject { failure } } else { Outcome::Retry { failure, after } }
}

fn cause(status: StatusCode) -> Cause {
    match status.as_u16() {
        410 => Cause::Gone,
        429 => Cause::Throttled,
        401 | 403 | 404 => Cause::Denied,
        500..=599 => Cause::Server,
        _ => Cause::Refused,
    }
}

/// What `Retry-After` says, in seconds or as a date. Only 429 and 503 speak for the whole destination.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(status.as_u16(), 429 | 503) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_millis(now.0)))
}

/// Reads to the end, at most [`READ_BYTES_MAX`] and for [`BODY_TIME_MAX`], and keeps the first `keep` bytes.
async fn read(response: &mut Response, keep: usize) -> Vec<u8> {
    let (mut kept, mut total) = (Vec::new(), 0);
    let until = Instant::now() + BODY_TIME_MAX;
    while let Ok(Ok(Some(chunk))) = timeout_at(until, response.chunk()).await {
        let wanted = keep.saturating_sub(kept.len()).min(chunk.len());
        kept.extend_from_slice(chunk.get(..wanted).unwrap_or_default());
        total += chunk.len();
        if total > READ_BYTES_MAX {
            break;
        }
    }
    kept
}

fn detail(status: StatusCode, snippet: &[u8]) -> String {
    let mut detail = status.to_string();
    let text = String::from_utf8_lossy(snippet);
    let text = text.trim();
    if !text.is_empty() {
        detail.push_str(": ");
        for character in text.chars() {
            if detail.len() >= SNIPPET_BYTES_MAX {
                detail.push('…');
                break;
            }
            match character.is_control() {
                true => detail.extend(character.escape_default()),
                false => detail.push(character),
            }
        }
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_causes() {
        let cases = [
            (301, Cause::Refused),
            (400, Cause::Refused),
            (401, Cause::Denied),
            (403, Cause::Denied),
            (404, Cause::Denied),
            (408, Cause::Refused),
            (410, Cause::Gone),
            (429, Cause::Throttled),
            (500, Cause::Server),
            (502, Cause::Server),
            (503, Cause::Server),
            (599, Cause::Server),
        ];
        for (status, expected) in cases {
            assert_eq!(cause(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = Timestamp(784_111_777_000);
        let after = |status: u16, text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(StatusCode::from_u16(status).unwrap(), &headers, now)
        };
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(after(429, "30"), seconds(30));
        assert_eq!(after(503, " 7 "), seconds(7));
        assert_eq!(after(503, "Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60));
        assert_eq!(after(503, "Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0), "in the past");
        assert_eq!(after(429, "soon"), None);
        assert_eq!(after(429, "-1"), None);
        assert_eq!(after(500, "30"), None, "a 500 speaks for one request");
    }

    #[test]
    fn snippets_are_short_and_harmless() {
        let status = StatusCode::BAD_GATEWAY;
        assert_eq!(detail(status, b""), "502 Bad Gateway");
        assert_eq!(detail(status, b"no\x1b[31m\r\nway"), "502 Bad Gateway: no\\u{1b}[31m\\r\\nway");
        assert_eq!(detail(status, b"\xff\xfe"), "502 Bad Gateway: \u{fffd}\u{fffd}");
        assert!(detail(status, &[0; 1024]).len() <= SNIPPET_BYTES_MAX + 16);
    }
}
