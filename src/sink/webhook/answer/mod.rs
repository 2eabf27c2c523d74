//! From what came back to an [`Outcome`].

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::sink::egress::{Forbidden, Unresolved};
use crate::sink::{Cause, Failure, KEPT_BYTES_MAX, Outcome, escape};

/// More of an answer is not read, and the connection is closed.
const READ_BYTES_MAX: usize = 64 * 1024;
/// A destination cannot put itself off for longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// What an answer is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) reject_on: &'a [u16],
    pub(super) now: Timestamp,
    /// The end of the attempt.
    pub(super) deadline: Instant,
}

/// The outcome of an answer whose headers have arrived. The status has told already: a body that is slow or breaks off
/// changes nothing.
pub(super) async fn judge(mut response: Response, by: Judge<'_>) -> Outcome {
    let status = response.status();
    if status.is_success() {
        // Read only so that the connection can be used again.
        read(&mut response, by.deadline).await;
        return Outcome::Delivered { status: Some(status.as_u16()) };
    }
    let after = retry_after(response.headers(), by.now);
    let body = read(&mut response, by.deadline).await;
    let failure = Failure { cause: cause(status), status: Some(status.as_u16()), detail: describe(status, &body) };
    match by.reject_on.contains(&status.as_u16()) {
        true => Outcome::Reject { failure },
        false => Outcome::Retry { failure, after },
    }
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

/// Reads to the end, the limit, the deadline or a failure, and returns what may be kept.
async fn read(response: &mut Response, deadline: Instant) -> Vec<u8> {
    let (mut total, mut kept) = (0, Vec::new());
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(deadline, response.chunk()).await {
        total += chunk.len();
        let room = KEPT_BYTES_MAX - kept.len();
        kept.extend(chunk.iter().take(room));
        if total >= READ_BYTES_MAX {
            break;
        }
    }
    kept
}

fn describe(status: StatusCode, body: &[u8]) -> String {
    let mut text = format!("answered {}", status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        text.push(' ');
        text.push_str(reason);
    }
    if status.is_redirection() {
        text.push_str(" (redirects are not followed)");
    }
    if !body.is_empty() {
        text.push_str(": ");
        text.push_str(&escape(body));
    }
    text
}

/// `Retry-After` in seconds or as a date, at most [`RETRY_AFTER_MAX`]; a date in the past means at once.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // Digits that do not fit are simply very many seconds.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        at.saturating_sub(Duration::from_millis(now.0))
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The failure of a request that got no answer.
pub(super) fn unanswered(error: &reqwest::Error) -> Failure {
    let cause = classify(error);
    let what = match cause {
        Cause::Forbidden => "not sent",
        Cause::Dns => "could not find the host",
        Cause::Tls => "TLS failed",
        Cause::Timeout => "no connection in time",
        _ if error.is_connect() => "could not connect",
        _ => "the connection broke before the answer",
    };
    let mut detail = what.to_owned();
    // The outermost text names the URL, whose query may be secret; the innermost says what happened.
    if let Some(innermost) = chain(error).skip(1).last() {
        // Writing into a string cannot fail.
        let _infallible = write!(detail, ": {}", escape(innermost.to_string().as_bytes()));
    }
    Failure { cause, status: None, detail }
}

fn classify(error: &reqwest::Error) -> Cause {
    let known = chain(error).find_map(|one| {
        if one.is::<Forbidden>() {
            return Some(Cause::Forbidden);
        }
        if one.is::<Unresolved>() {
            return Some(Cause::Dns);
        }
        one.is::<rustls::Error>().then_some(Cause::Tls)
    });
    match known {
        Some(cause) => cause,
        None if error.is_timeout() => Cause::Timeout,
        None => Cause::Connect,
    }
}

/// The error and its sources, seeing through I/O errors, which hide what they carry from `source`.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&one| {
        let carried = one.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match carried {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => one.source(),
        }
    })
}
