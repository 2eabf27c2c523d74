//! What the destination answers, through the real client: good, bad, slow and endless.

use tokio::time::Instant;

use super::server::{Reply, Server, answer};
use super::*;

/// The outcome of an attempt against a server that replies so, and the number of requests it saw.
async fn outcome(reply: Reply) -> Outcome {
    let server = Server::start(&[reply]).await;
    let outcome = deliver(&webhook(config(&server.url()))).await;
    assert_eq!(server.seen().len(), 1, "a sink makes no second try of its own");
    outcome
}

#[tokio::test]
async fn statuses_are_judged_by_the_table() {
    let seconds = |n| Some(Duration::from_secs(n));
    // Status, headers, cause (`None`: delivered), whether it is rejected, pause.
    let cases = [
        (200, "", None, false, None),
        (202, "", None, false, None),
        (204, "", None, false, None),
        (299, "", None, false, None),
        (301, "location: /elsewhere\r\n", Some(Cause::Refused), false, None),
        (307, "location: /elsewhere\r\n", Some(Cause::Refused), false, None),
        (400, "", Some(Cause::Refused), true, None),
        (413, "", Some(Cause::Refused), true, None),
        (415, "", Some(Cause::Refused), true, None),
        (422, "", Some(Cause::Refused), true, None),
        (401, "", Some(Cause::Denied), false, None),
        (404, "", Some(Cause::Denied), false, None),
        (409, "", Some(Cause::Refused), false, None),
        (410, "", Some(Cause::Gone), false, None),
        (429, "", Some(Cause::Throttled), false, None),
        (429, "retry-after: 30\r\n", Some(Cause::Throttled), false, seconds(30)),
        (503, "Retry-After: 7\r\n", Some(Cause::Server), false, seconds(7)),
        (503, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(Cause::Server), false, seconds(0)),
        (500, "retry-after: 7\r\n", Some(Cause::Server), false, None),
    ];
    for (status, headers, cause, is_rejected, pause) in cases {
        let found = outcome(answer(status, headers, "")).await;
        let text = reqwest::StatusCode::from_u16(status).unwrap().to_string();
        let failure = |cause| Failure { cause, status: Some(status), detail: text };
        let expected = match cause {
            None => Outcome::Delivered { status: Some(status) },
            Some(cause) if is_rejected => Outcome::Reject { failure: failure(cause) },
            Some(cause) => Outcome::Retry { failure: failure(cause), after: pause },
        };
        assert_eq!(found, expected, "{status} {headers}");
    }
}

#[tokio::test]
async fn what_the_answer_says_is_kept_short_and_harmless() {
    let failure = retried(outcome(answer(500, "", "no \x1b[2J\nluck")).await);
    assert_eq!(failure.detail, "500 Internal Server Error: no \\u{1b}[2J\\nluck");
    let failure = retried(outcome(answer(500, "", &"x".repeat(60_000))).await);
    assert!(failure.detail.len() < 1100, "{}", failure.detail.len());
}

#[tokio::test]
async fn a_slow_body_takes_nothing_away_from_the_status() {
    let slow = |status| Reply::Endless {
        start: format!("HTTP/1.1 {status} X\r\ncontent-length: 100000\r\n\r\nbut "),
        piece: b"x".to_vec(),
        every: Duration::from_millis(200),
    };
    let began = Instant::now();
    assert_eq!(outcome(slow(200)).await, Outcome::Delivered { status: Some(200) });
    let gone = retried(outcome(slow(410)).await);
    assert_eq!((gone.cause, gone.status), (Cause::Gone, Some(410)));
    assert!(gone.detail.starts_with("410 Gone: but x"), "{}", gone.detail);
    assert!(matches!(outcome(slow(422)).await, Outcome::Reject { .. }));
    assert!(began.elapsed() < LONG / 2, "each is given a second");
}

#[tokio::test]
async fn slow_headers_end_with_the_deadline() {
    let start = "HTTP/1.1 200 OK\r\nx: ".to_owned();
    let drip = Reply::Endless { start, piece: b"x".to_vec(), every: Duration::from_millis(20) };
    for reply in [drip, Reply::Nothing] {
        let server = Server::start(&[reply]).await;
        let mut config = config(&server.url());
        config.timeout = Duration::from_millis(400);
        let began = Instant::now();
        let failure = retried(deliver(&webhook(config)).await);
        assert_eq!((failure.cause, failure.status), (Cause::Timeout, None));
        assert_eq!(failure.detail, "no complete answer within 400 ms");
        assert!(began.elapsed() < LONG / 2);
    }
}

#[tokio::test]
async fn an_endless_body_is_left_and_its_connection_with_it() {
    for (status, is_success) in [(200, true), (500, false)] {
        let start = format!("HTTP/1.1 {status} X\r\n\r\n");
        let endless = Reply::Endless { start, piece: vec![b'x'; 16 * 1024], every: Duration::ZERO };
        let server = Server::start(&[endless, answer(204, "", "")]).await;
        let sink = webhook(config(&server.url()));
        assert_eq!(is_delivered(&deliver(&sink).await), is_success);
        assert_eq!(deliver(&sink).await, Outcome::Delivered { status: Some(204) });
        assert_eq!(server.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [0, 1]);
    }
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let start = "HTTP/1.1 200 OK\r\nx: ".to_owned();
    let failure = retried(outcome(Reply::Endless { start, piece: vec![b'x'; 64 * 1024], every: Duration::ZERO }).await);
    assert_eq!(failure.cause, Cause::Connect);
    let many = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let failure = retried(outcome(answer(200, &many, "")).await);
    assert_eq!(failure.cause, Cause::Connect);
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure() {
    let whole = |text: &str| Reply::Whole(text.to_owned());
    for reply in [Reply::Close, whole("SSH-2.0-x\r\n\r\n"), whole("HTTP/1.1 99999 X\r\n\r\n")] {
        let failure = retried(outcome(reply).await);
        assert_eq!((failure.cause, failure.status), (Cause::Connect, None), "{}", failure.detail);
        assert!(!failure.detail.is_empty());
    }
}
