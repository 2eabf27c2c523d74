//! The example receivers, run as real processes and put through one series of posts.
//!
//! They are what our users copy, so they have to keep the consumer's side of `docs/events.md` to the letter. The
//! posts are signed by the reference library, which shares no code with the relay.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEXT_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = include_str!("../fixtures/nft-tokens.created.json");

/// Long enough to fetch packages and compile, once.
const START_TIMEOUT: Duration = Duration::from_secs(240);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// What `scripts/receiver` ends with when a tool is missing.
pub(crate) const TOOL_MISSING: i32 = 69;

/// One post, and what has to come of it.
#[derive(Clone, Copy)]
struct Step {
    what: &'static str,
    id: &'static str,
    stream: &'static str,
    /// The token id as it travels in the header.
    token_header: Option<&'static str>,
    sequence: &'static str,
    /// What signs: all of them.
    secrets: &'static [&'static str],
    age_seconds: i64,
    is_tampered: bool,
    status: u16,
    verdict: &'static str,
    /// The token id that the receiver must have understood.
    token: &'static str,
}

const VALID: Step = Step {
    what: "a valid event is applied",
    id: "evt_first",
    stream: "nft-tokens",
    token_header: Some("119"),
    sequence: "018cac1a2b3c-0000000000000005",
    secrets: &[SECRET],
    age_seconds: 0,
    is_tampered: false,
    status: 204,
    verdict: "applied",
    token: "119",
};

const REFUSED: Step = Step { id: "evt_refused", status: 401, verdict: "bad_signature", token: "", ..VALID };

#[rustfmt::skip]
const SERIES: &[Step] = &[
    VALID,
    Step { what: "the same id again is dropped", verdict: "duplicate", ..VALID },
    Step { what: "an older state is not applied", id: "evt_older", sequence: "018cac1a2b3c-0000000000000004", verdict: "stale", ..VALID },
    Step { what: "a newer state is applied", id: "evt_newer", sequence: "018cac1a2b3c-000000000000000a", ..VALID },
    Step { what: "a changed body is refused", is_tampered: true, ..REFUSED },
    Step { what: "an old post is refused", age_seconds: 600, ..REFUSED },
    Step { what: "a post from the future is refused", age_seconds: -600, ..REFUSED },
    Step { what: "a foreign secret is refused", secrets: &[NEXT_SECRET], ..REFUSED },
    Step { what: "no signature is refused", secrets: &[], ..REFUSED },
    Step { what: "a refused id was not remembered", sequence: "018cac1a2b3c-000000000000000b", id: "evt_refused", ..VALID },
    Step { what: "one of two signatures fits", id: "evt_rotation", sequence: "018cac1a2b3c-000000000000000c", secrets: &[NEXT_SECRET, SECRET], ..VALID },
    Step { what: "a store made anew continues upwards", id: "evt_epoch", sequence: "018cac1a2b3d-0000000000000001", ..VALID },
    Step { what: "another stream has no newest state", id: "evt_action", stream: "nft-token-actions", ..VALID },
    Step { what: "hostile text is decoded", id: "evt_hostile", token_header: Some("%0D%0Ax:%20\"\\%25%00%F0%9F%9A%80"), token: "\r\nx: \"\\%\0🚀", ..VALID },
    Step { what: "a space is a space", id: "evt_space", token_header: Some("a%20b"), token: "a b", ..VALID },
    Step { what: "a plus is another token", id: "evt_plus", token_header: Some("a+b"), token: "a+b", ..VALID },
    Step { what: "a state of no known token is rejected", id: "evt_long", token_header: None, status: 422, verdict: "unusable", token: "", ..VALID },
];

#[tokio::test]
async fn node_keeps_the_contract() {
    check("node").await;
}

#[tokio::test]
async fn python_keeps_the_contract() {
    check("python").await;
}

#[tokio::test]
async fn java_keeps_the_contract() {
    check("java").await;
}

#[tokio::test]
async fn go_keeps_the_contract() {
    check("go").await;
}

async fn check(language: &str) {
    let Some(mut receiver) = Receiver::start(language, SECRET).await else { return };
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build().unwrap();
    for step in SERIES {
        let status = post(&client, &receiver.url(), step).await;
        let decision = receiver.decision().await;
        let context = format!("{language}: {}: {decision}", step.what);
        assert_eq!(status, step.status, "{context}");
        assert_eq!(decision["verdict"], step.verdict, "{context}");
        assert_eq!(decision["id"], step.id, "{context}");
        assert_eq!(decision["token"].as_str().unwrap_or_default(), step.token, "{context}");
    }
}

async fn post(client: &reqwest::Client, url: &str, step: &Step) -> u16 {
    let sent_at = jiff::Timestamp::now().as_second() - step.age_seconds;
    let sign = |secret: &&str| standardwebhooks::Webhook::new(secret).unwrap().sign(step.id, sent_at, BODY.as_bytes());
    let signatures: Vec<String> = step.secrets.iter().map(|secret| sign(secret).unwrap()).collect();
    let body = if step.is_tampered { BODY.replace("\"119\"", "\"911\"") } else { BODY.to_owned() };
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", step.id)
        .header("webhook-timestamp", sent_at)
        .header("cspr-relay-stream", step.stream)
        .header("cspr-relay-contract-package", "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508")
        .header("cspr-relay-sequence", step.sequence)
        .body(body);
    if !signatures.is_empty() {
        request = request.header("webhook-signature", signatures.join(" "));
    }
    if let Some(token) = step.token_header {
        request = request.header("cspr-relay-token-id", token);
    }
    request.send().await.unwrap().status().as_u16()
}

/// An example receiver that runs; it ends when this is dropped.
pub(crate) struct Receiver {
    decisions: Lines<BufReader<ChildStdout>>,
    port: u16,
    /// Held open, since a receiver that writes to a closed pipe may die of it.
    _messages: Lines<BufReader<ChildStderr>>,
    _process: Child,
}

impl Receiver {
    /// Starts a receiver of `node`, `python`, `java` or `go` on a free port. `None`: a tool is not there, which was
    /// said loudly and is a failure where `CI=true`.
    pub(crate) async fn start(language: &str, secret: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/receiver");
        let mut process = Command::new(script)
            .args([language, "0"])
            .env("WEBHOOK_SECRET", secret)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut messages = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while let Some(line) = timeout(START_TIMEOUT, messages.next_line()).await.expect("starts in time").unwrap() {
            said = said + &line + "\n";
            if let Some((_, port)) = line.split_once("listening on 127.0.0.1:") {
                let decisions = BufReader::new(stdout).lines();
                let port = port.parse().unwrap();
                return Some(Self { decisions, port, _messages: messages, _process: process });
            }
        }
        let status = process.wait().await.unwrap();
        assert_eq!(status.code(), Some(TOOL_MISSING), "the {language} receiver did not start:\n{said}");
        leave_out(&format!("the {language} receiver: {said}"));
        None
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The next decision it prints.
    pub(crate) async fn decision(&mut self) -> Value {
        let line = timeout(ANSWER_TIMEOUT, self.decisions.next_line()).await.expect("decides in time").unwrap();
        serde_json::from_str(&line.expect("the receiver still runs")).unwrap()
    }
}

/// Says what is not tested, past the capture of the test harness; where `CI=true` that is a failure.
pub(crate) fn leave_out(what: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!is_ci, "CI=true, and this could not be tested: {what}");
    let message = format!("\n*** NOT TESTED: {}\n\n", what.trim_end());
    std::io::stderr().write_all(message.as_bytes()).unwrap();
}
