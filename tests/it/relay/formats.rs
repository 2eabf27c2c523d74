//! One stream in all formats: what receivers get, judged by the CloudEvents SDK, the reference library for signatures,
//! the schema that we ship, and our own commands.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{BINARY, NFT_TOKENS, SECRET, Scene, Setup, message, until};
use crate::receivers::leave_out;
use crate::schemas::validate;

const FORMATS: [&str; 3] = ["raw", "cloudevents", "cloudevents_binary"];
const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
/// As JSON has it in a text, and what it stands for.
const TOKENS: [(&str, &str); 4] =
    [("119", "119"), ("a b/%", "a b/%"), (r"\r\nce-id: x\u0000", "\r\nce-id: x\0"), ("Дім 🚀", "Дім 🚀")];

type Request = (HeaderMap, Bytes);
/// With the path it came to.
type Requests = Arc<Mutex<Vec<(String, Request)>>>;

/// A receiver that keeps whole requests, by the path they came to.
struct Keeper {
    address: String,
    requests: Requests,
    _serving: JoinSet<()>,
}

impl Keeper {
    async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let requests = Requests::default();
        let router = Router::new().route("/{format}", post(keep)).with_state(Arc::clone(&requests));
        let mut serving = JoinSet::new();
        serving.spawn(async { axum::serve(socket, router).await.unwrap() });
        Self { address, requests, _serving: serving }
    }

    fn url(&self, format: &str) -> String {
        format!("http://{}/{format}", self.address)
    }

    /// In the order of the tokens.
    fn requests(&self, format: &str) -> Vec<Request> {
        let all = self.requests.lock().unwrap();
        let mut requests: Vec<Request> =
            all.iter().filter(|(path, _)| path == format).map(|(_, request)| request.clone()).collect();
        requests.sort_by_key(|(headers, _)| text(headers, "cspr-relay-sequence").to_owned());
        requests
    }
}

async fn keep(
    State(requests): State<Requests>,
    path: axum::extract::Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    requests.lock().unwrap().push((path.0, (headers, body)));
    StatusCode::NO_CONTENT
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn messages() -> Vec<String> {
    (1..).zip(TOKENS).map(|(n, (token, _))| message(token, n)).collect()
}

#[tokio::test]
async fn receivers_get_all_three_formats_and_the_signature_fits_each() {
    let scene = Scene::new();
    let keeper = Keeper::start().await;
    let (mut emulator, url) = scene.emulator(&["--rate", "0", "--replay", &scene.lines(&messages())]).await;
    let urls = FORMATS.map(|format| keeper.url(format));
    let lines = FORMATS.map(|format| format!("    format: {format}\n"));
    let sinks: Vec<_> =
        FORMATS.iter().zip(&urls).zip(&lines).map(|((name, url), line)| (*name, &**url, &**line)).collect();
    let source = format!("url: \"{url}\"");
    let mut relay =
        scene.relay(&scene.configure(&Setup { source: &source, streams: NFT_TOKENS, more: "", sinks: &sinks }));
    until("all of it came", || FORMATS.iter().all(|format| keeper.requests(format).len() >= TOKENS.len())).await;
    relay.stop().await;
    emulator.stop().await;

    for format in FORMATS {
        check_bodies(format, &keeper.requests(format));
    }
    check_with_the_sdk(&keeper);
    check_with_the_schema(&keeper);
    check_with_verify(&scene, &keeper.requests("cloudevents")[1]);
}

/// Each event came once, with a good signature, and the message is there byte for byte.
fn check_bodies(format: &str, requests: &[Request]) {
    let key = standardwebhooks::Webhook::new(SECRET).unwrap();
    assert_eq!(requests.len(), TOKENS.len(), "{format}");
    for ((headers, body), message) in requests.iter().zip(messages()) {
        key.verify(body, headers).unwrap_or_else(|error| panic!("{format}: {error}"));
        let body = std::str::from_utf8(body).unwrap();
        let is_verbatim = match format {
            "cloudevents" => body.ends_with(&format!(",\"data\":{message}}}")),
            _ => body == message,
        };
        assert!(is_verbatim, "{format}: {body}");
    }
}

/// An SDK that shares no code with the relay understands both modes, and understands the same.
fn check_with_the_sdk(keeper: &Keeper) {
    let structured = keeper.requests("cloudevents");
    let Some(read) = understood(&structured) else { return };
    let from_headers = understood(&keeper.requests("cloudevents_binary")).unwrap();
    assert_eq!(read.len(), TOKENS.len());
    assert_eq!(read, from_headers);
    for (((event, (headers, _)), message), (_, token)) in read.iter().zip(&structured).zip(messages()).zip(TOKENS) {
        let message: Value = serde_json::from_str(&message).unwrap();
        let subject = event["subject"].as_str().unwrap();
        let decoded = percent_encoding::percent_decode_str(subject).decode_utf8().unwrap();
        assert_eq!(decoded, format!("{PACKAGE}/{token}"));
        let expected = json!({
            "specversion": "1.0",
            "id": text(headers, "webhook-id"),
            "source": "wss://streaming.testnet.cspr.cloud/nft-tokens",
            "type": "cloud.cspr.nft-tokens.updated",
            "subject": subject,
            "time": "2026-01-01 00:00:00+00:00",
            "sequence": text(headers, "cspr-relay-sequence"),
            "deployhash": message["extra"]["deploy_hash"],
            "origin": "stream",
            "datacontenttype": "application/json",
            "data": message,
        });
        assert_eq!(*event, expected);
    }
}

/// What the SDK makes of requests; `None` if it is not there.
fn understood(requests: &[Request]) -> Option<Vec<Value>> {
    let line = |(headers, body): &Request| {
        let headers: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
        format!("{}\n", json!({ "headers": headers, "body": std::str::from_utf8(body).unwrap() }))
    };
    let mut process = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cloudevents"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A script that gives up at once does not read; its exit code tells.
    let _unread = process.stdin.take().unwrap().write_all(requests.iter().map(line).collect::<String>().as_bytes());
    let output = process.wait_with_output().unwrap();
    if output.status.code() == Some(69) {
        leave_out("the CloudEvents SDK: it needs Python 3 with venv");
        return None;
    }
    assert!(output.status.success(), "scripts/cloudevents failed");
    let lines = String::from_utf8(output.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn check_with_the_schema(keeper: &Keeper) {
    let bodies = keeper.requests("cloudevents").into_iter().map(|(_, body)| serde_json::from_slice(&body).unwrap());
    let mut instances: Vec<Value> = bodies.collect();
    let mut broken = instances[0].clone();
    broken["sequence"] = json!(7);
    instances.push(broken);
    let Some(answers) = validate("cloudevents", &instances) else { return };
    assert_eq!(answers[..TOKENS.len()], ["valid"; TOKENS.len()]);
    assert_ne!(answers[TOKENS.len()], "valid");
}

fn check_with_verify(scene: &Scene, (headers, body): &Request) {
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    std::fs::write(scene.path("head"), head).unwrap();
    std::fs::write(scene.path("body"), body).unwrap();
    let output = Command::new(BINARY)
        .args(["verify", "--secret", SECRET, "--headers", "head", "--body", "body"])
        .current_dir(scene.directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("\nAUTHENTIC"), "{said}");
}
