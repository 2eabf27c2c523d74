//! Statuses, waits and texts, as tables.

use super::*;

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Response {
    let mut builder = hyper::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap().into()
}

async fn judged(response: Response, reject_on: &[u16]) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60);
    judge(response, Judge { reject_on, now: Timestamp(0), deadline }).await
}

#[tokio::test]
async fn statuses_map_to_outcomes() {
    let cases = [
        (300, Some(Cause::Refused)),
        (302, Some(Cause::Refused)),
        (304, Some(Cause::Refused)),
        (401, Some(Cause::Denied)),
        (402, Some(Cause::Refused)),
        (403, Some(Cause::Denied)),
        (404, Some(Cause::Denied)),
        (408, Some(Cause::Refused)),
        (410, Some(Cause::Gone)),
        (429, Some(Cause::Throttled)),
        (500, Some(Cause::Server)),
        (503, Some(Cause::Server)),
        (599, Some(Cause::Server)),
        (600, Some(Cause::Refused)),
        (200, None),
        (202, None),
        (204, None),
        (299, None),
    ];
    for (status, expected) in cases {
        match (judged(response(status, &[], ""), &[400, 422]).await, expected) {
            (Outcome::Delivered { status: answered }, None) => assert_eq!(answered, Some(status)),
            (Outcome::Retry { failure, after: None }, Some(cause)) => {
                assert_eq!((failure.cause, failure.status), (cause, Some(status)));
            }
            (outcome, _) => panic!("{status}: {outcome:?}"),
        }
    }
    for status in [400, 422] {
        let outcome = judged(response(status, &[], "no such token\n"), &[400, 422]).await;
        let Outcome::Reject { failure } = outcome else { panic!("{status}: {outcome:?}") };
        assert!(failure.detail.ends_with(": no such token\\n"), "{}", failure.detail);
    }
}

#[test]
fn retry_after_is_read_in_both_forms_and_capped() {
    let now = Timestamp(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
    let cases = [
        ("0", Some(0)),
        ("120", Some(120)),
        (" 7 ", Some(7)),
        ("3601", Some(3600)),
        ("99999999999999999999999", Some(3600)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
        ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
        ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
    ];
    for (text, expected) in cases {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text:?}");
    }
}

#[tokio::test]
async fn any_failing_status_may_ask_to_wait() {
    for status in [302, 429, 500, 503] {
        let outcome = judged(response(status, &[("retry-after", "30")], ""), &[]).await;
        let Outcome::Retry { after, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(after, Some(Duration::from_secs(30)));
    }
}

#[tokio::test]
async fn little_of_an_answer_is_kept_and_it_is_safe_to_print() {
    let outcome = judged(response(500, &[], vec![0x1b; 100_000]), &[]).await;
    let Outcome::Retry { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert!(failure.detail.starts_with("answered 500 Internal Server Error: \\u{1b}\\u{1b}"));
    assert!(failure.detail.len() <= KEPT_BYTES_MAX + 40, "{}", failure.detail.len());

    assert_eq!(escape(b"a\r\n\t\xffb"), "a\\r\\n\\t\u{fffd}b");
    assert_eq!(escape("\u{202e}gnp.exe Дім".as_bytes()), "\\u{202e}gnp.exe Дім");
}
