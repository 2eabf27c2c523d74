//! Saved requests, what is said about them, and the exit code.

use clap::Parser;

use super::*;
use crate::signature::sign;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SIGNED_AT: u64 = 1_707_301_289;
const BODY: &str = "{\"data\":1}\n";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    verify: Args,
}

/// Runs the command `age` seconds after the request was signed.
fn verify_at(age: i64, flags: &[&str]) -> (u8, String) {
    let args = Command::try_parse_from([&["verify"], flags].concat()).unwrap().verify;
    let now = Timestamp(SIGNED_AT.saturating_add_signed(age) * 1000);
    let mut out = Vec::new();
    let code = run_at(&args, now, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn signature(secrets: &[&str]) -> String {
    let keys: Vec<_> = secrets.iter().map(|secret| SigningKey::parse(secret).unwrap()).collect();
    sign(&keys, "evt_1", SIGNED_AT, BODY.as_bytes())
}

fn head(secrets: &[&str]) -> String {
    let signature = signature(secrets);
    format!("Webhook-Id: evt_1\nwebhook-timestamp: {SIGNED_AT}\nwebhook-signature: {signature}\n")
}

fn request(secrets: &[&str]) -> String {
    format!("POST http://host:80/hook HTTP/1.1\nhost: host:80\n{}\n{BODY}", head(secrets))
}

fn saved(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn requests_are_judged_in_plain_words() {
    let good = request(&[SECRET]);
    let (head_only, _) = good.split_once("\n\n").unwrap();
    let with_length = |length: usize| good.replace("host: host:80", &format!("Content-Length: {length}"));
    #[rustfmt::skip]
    let cases: [(&str, String, i64, u8, &str); 18] = [
        ("good", good.clone(), 3, 0, "\nAUTHENTIC: the signature fits, and the time is within 5m of now."),
        ("CRLF", format!("{}\r\n\r\n{BODY}", head_only.replace('\n', "\r\n")), 3, 0, "\nAUTHENTIC"),
        ("two signatures", request(&[OTHER_SECRET, SECRET]), 3, 0, "\nAUTHENTIC"),
        ("what follows the length", with_length(BODY.len()) + "\n\n", 3, 0, "\nAUTHENTIC"),
        ("at the edge", good.clone(), 300, 0, "\nAUTHENTIC"),
        ("old", good.clone(), 7500, 1, "it is 2h 5m old, 2h more than the tolerance of 5m. The signature itself fits: --ignore-time accepts it."),
        ("new", good.clone(), -301, 1, "it is 5m 1s ahead of this machine's clock, 1s more than the tolerance of 5m."),
        ("old and foreign", request(&[OTHER_SECRET]), 7500, 1, "Besides, no signature fits."),
        ("foreign", request(&[OTHER_SECRET]), 3, 1, "NOT AUTHENTIC: no signature fits. The sender has another secret"),
        ("tampered", good.replace(":1}", ":2}"), 3, 1, "NOT AUTHENTIC: no signature fits."),
        ("a newline added", format!("{good}\n"), 3, 1, "a newline at its end that was not signed"),
        ("no signature header", good.replace("webhook-signature", "x"), 3, 1, "NOT AUTHENTIC: the request lacks webhook-signature."),
        ("two missing", good.replace("webhook-signature", "x").replace("Webhook-Id", "y"), 3, 1, "lacks webhook-id and webhook-signature."),
        ("no v1", good.replace("v1,", "v1a,"), 3, 1, "holds no `v1,…` signature"),
        ("no number", good.replace(&SIGNED_AT.to_string(), "noon"), 3, 1, "not a whole number of seconds"),
        ("cut", with_length(BODY.len() + 1), 3, 2, "CANNOT TELL: "),
        ("no body", head_only.to_owned(), 3, 2, "no empty line between headers and body"),
        ("twice", good.replace("host: host:80", "webhook-id: evt_2"), 3, 2, "webhook-id stands twice"),
    ];
    for (name, request, age, code, words) in cases {
        let file = saved(&request);
        let (got, said) = verify_at(age, &["--secret", SECRET, "--request", file.path().to_str().unwrap()]);
        assert_eq!(got, code, "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
    }
}

#[test]
fn what_was_checked_is_shown_and_cannot_steer_a_terminal() {
    let file = saved(&request(&[SECRET]).replace("evt_1", "evt_\u{1b}[2J"));
    let (_, said) = verify_at(90, &["--secret", SECRET, "--request", file.path().to_str().unwrap()]);
    let expected = "\
webhook-id         evt_\\u{1b}[2J
webhook-timestamp  1707301289 (2024-02-07T10:21:29.000Z, 1m 30s ago)
webhook-signature  v1,";
    assert!(said.starts_with(expected), "{said}");
    assert!(
        said.contains("\nbody               11 bytes, sha256 ") && said.contains("\nsecrets tried      1\n"),
        "{said}"
    );
}

#[test]
fn headers_and_body_may_come_apart_and_time_may_be_left_out() {
    let (headers, body, secret) = (saved(&head(&[SECRET])), saved(BODY), saved(SECRET));
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let (headers, body, secret) = (path(&headers), path(&body), path(&secret));
    let flags = ["--secret-file", &secret, "--headers", &headers, "--body", &body];
    assert_eq!(verify_at(900, &flags).0, 1);
    assert_eq!(verify_at(900, &[&flags[..], &["--tolerance", "15m"]].concat()).0, 0);
    let (code, said) = verify_at(9_999_999, &[&flags[..], &["--ignore-time"]].concat());
    assert!(code == 0 && said.contains("the time was not looked at"), "{said}");
}

#[test]
fn unusable_input_is_no_verdict() {
    let file = saved(&request(&[SECRET]));
    let path = file.path().to_str().unwrap();
    for (flags, words) in [
        (["--secret", "hunter2", "--request", path], "a webhook secret starts with `whsec_`"),
        (["--secret", SECRET, "--request", "no-such-file"], "opening no-such-file"),
    ] {
        let (code, said) = verify_at(0, &flags);
        assert!(code == 2 && said.contains(words) && !said.contains("hunter2"), "{said}");
    }
    for flags in [&["--secret", SECRET][..], &["--request", path], &["--secret", SECRET, "--headers", path]] {
        assert!(Command::try_parse_from([&["verify"], flags].concat()).is_err(), "{flags:?}");
    }
}
