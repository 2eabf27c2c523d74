//! One request as a line: for people, and as JSON for programs.
//!
//! Token ids and bodies are text from the chain: whatever could steer a terminal is escaped in both.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::emulator::receiver::{Form, Received, Signature};

/// Longer names are cut, with an ellipsis.
const SHOWN_CHARS_MAX: usize = 40;
const PACKAGE_CHARS: usize = 8;

/// Time, stream.action, package/token, id, sequence, attempt, form unless it is raw, signature, status.
pub(super) fn text(received: &Received) -> String {
    let attempt = received.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string());
    let signature = match received.signature {
        Signature::Good => "signature ok",
        Signature::Bad => "signature BAD",
        Signature::Unsigned => "unsigned",
        Signature::Unchecked => "unchecked",
    };
    let status = received.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    format!(
        "{} {}.{} {}/{} {} {} attempt {attempt}{}{} {signature} {status}",
        received.received_at,
        shown(&received.stream, SHOWN_CHARS_MAX),
        shown(&received.action, SHOWN_CHARS_MAX),
        shown(&received.contract_package, PACKAGE_CHARS),
        shown(&received.token_id, SHOWN_CHARS_MAX),
        shown(&received.id, SHOWN_CHARS_MAX),
        shown(&received.sequence, SHOWN_CHARS_MAX),
        if received.is_replay { " replay" } else { "" },
        match received.form {
            Form::Raw => String::new(),
            form => format!(" {}", name(form)),
        },
    )
}

/// As in `format` of a sink.
fn name(form: Form) -> &'static str {
    match form {
        Form::Raw => "raw",
        Form::CloudEvents => "cloudevents",
        Form::CloudEventsBinary => "cloudevents_binary",
    }
}

#[derive(Serialize)]
struct Line<'a> {
    received_at_ms: u64,
    id: &'a str,
    sequence: &'a str,
    stream: &'a str,
    action: &'a str,
    package: &'a str,
    token: &'a str,
    attempt: Option<u32>,
    replay: bool,
    format: &'static str,
    signature: &'static str,
    /// Null: no answer.
    status: Option<u16>,
    body_sha256: String,
    /// Bytes that are not UTF-8 are replaced; the hash is of the bytes as they came.
    body: &'a str,
}

/// The line of `--log` and `--json`, without a newline.
pub(super) fn json(received: &Received) -> String {
    let line = Line {
        received_at_ms: received.received_at.0,
        id: &received.id,
        sequence: &received.sequence,
        stream: &received.stream,
        action: &received.action,
        package: &received.contract_package,
        token: &received.token_id,
        attempt: received.attempt,
        replay: received.is_replay,
        format: name(received.form),
        signature: match received.signature {
            Signature::Good => "ok",
            Signature::Bad => "bad",
            Signature::Unsigned => "unsigned",
            Signature::Unchecked => "unchecked",
        },
        status: received.status,
        body_sha256: HEXLOWER.encode(&Sha256::digest(&received.body)),
        body: &String::from_utf8_lossy(&received.body),
    };
    // Texts and numbers always have a JSON form.
    let json = serde_json::to_string(&line).unwrap_or_default();
    escaped_in_json(&json)
}

/// `text` with what does not print escaped, cut at `max` characters; `-` if empty.
pub(in crate::cli) fn shown(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max));
    for (index, character) in text.chars().enumerate() {
        if index == max {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    if shown.is_empty() { "-".to_owned() } else { shown }
}

/// JSON with whatever could steer a terminal escaped: it can stand inside strings only, so this is the same JSON. White
/// space between the parts stays.
pub(in crate::cli) fn escaped_in_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        let code = u32::from(character);
        match code {
            0..=0x08 | 0x0b..=0x1f | 0x7f..=0x9f | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff => {
                // Writing to a String cannot fail.
                let _written = write!(escaped, "\\u{code:04x}");
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json as value};

    use super::*;
    use crate::clock::Timestamp;

    const HASH: &str = "5341882b0d1e4b0f9c2f7b5f2f3c0f7b5f2f3c0f7b5f2f3c0f7b5f2f3c0f7b5f";

    fn received() -> Received {
        Received {
            id: "evt_aaaqeayeaudaocajbifqydiob4".to_owned(),
            sequence: "018cac1a2b3c-0000000000000005".to_owned(),
            stream: "nft-tokens".to_owned(),
            action: "created".to_owned(),
            contract_package: HASH.to_owned(),
            token_id: "119".to_owned(),
            attempt: Some(1),
            is_replay: false,
            form: Form::Raw,
            signature: Signature::Good,
            body: "{\"data\":1}".into(),
            status: Some(204),
            received_at: Timestamp(1_707_301_289_557),
        }
    }

    #[test]
    fn a_line_says_what_came_and_what_it_got() {
        let bare = Received {
            sequence: String::new(),
            stream: String::new(),
            action: String::new(),
            contract_package: String::new(),
            token_id: String::new(),
            attempt: None,
            signature: Signature::Unsigned,
            status: None,
            ..received()
        };
        let again = Received {
            attempt: Some(3),
            is_replay: true,
            form: Form::CloudEventsBinary,
            signature: Signature::Bad,
            status: Some(401),
            token_id: "x".repeat(50),
            ..received()
        };
        #[rustfmt::skip]
        let cases = [
            (received(), "2024-02-07T10:21:29.557Z nft-tokens.created 5341882b…/119 evt_aaaqeayeaudaocajbifqydiob4 018cac1a2b3c-0000000000000005 attempt 1 signature ok 204"),
            (again, "2024-02-07T10:21:29.557Z nft-tokens.created 5341882b…/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… evt_aaaqeayeaudaocajbifqydiob4 018cac1a2b3c-0000000000000005 attempt 3 replay cloudevents_binary signature BAD 401"),
            (bare, "2024-02-07T10:21:29.557Z -.- -/- evt_aaaqeayeaudaocajbifqydiob4 - attempt - unsigned no answer"),
        ];
        for (received, expected) in cases {
            assert_eq!(text(&received), expected);
        }
    }

    #[test]
    fn the_log_has_everything() {
        let line: Value = serde_json::from_str(&json(&received())).unwrap();
        let expected = value!({
            "received_at_ms": 1_707_301_289_557_u64,
            "id": "evt_aaaqeayeaudaocajbifqydiob4",
            "sequence": "018cac1a2b3c-0000000000000005",
            "stream": "nft-tokens",
            "action": "created",
            "package": HASH,
            "token": "119",
            "attempt": 1,
            "replay": false,
            "format": "raw",
            "signature": "ok",
            "status": 204,
            "body_sha256": "5e0555215395381d3c3f0eec84352b7b860ad92d2a58ab9afa369ffc1cf7c565",
            "body": "{\"data\":1}",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_from_the_chain_cannot_steer_a_terminal() {
        let hostile = "a\x1b[2J\r\n\u{9b}31m\u{202e}\u{7f}é\"";
        let received = Received { token_id: hostile.to_owned(), body: hostile.into(), ..received() };
        for line in [text(&received), json(&received)] {
            let is_tame = |c: char| !c.is_control() && c != '\u{202e}';
            assert!(line.chars().all(is_tame), "{line:?}");
            assert!(line.contains('é'));
        }
        let parsed: Value = serde_json::from_str(&json(&received)).unwrap();
        assert_eq!((&parsed["token"], &parsed["body"]), (&hostile.into(), &hostile.into()));
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_told_by_its_hash() {
        let received = Received { body: b"\xff"[..].into(), ..received() };
        let parsed: Value = serde_json::from_str(&json(&received)).unwrap();
        assert_eq!(parsed["body"], "\u{fffd}");
        assert_eq!(parsed["body_sha256"], "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89");
    }
}
