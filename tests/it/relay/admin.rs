//! What operators see of a running relay: an incident from its beginning to its end, secrets that are nowhere, and
//! clients that mean no good.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::listener::Listener;
use super::{BINARY, NFT_TOKENS, Process, SECRET, Scene, Setup, message, until};

pub(super) const TOKEN: &str = "planted-admin-token-7d1f";
/// Secrets of sinks, by the ways in which sinks take them.
const PLANTED: [&str; 4] = ["planted-header-51c0", "planted-sasl-9b3e", "planted-amqp-c77a", "planted-oauth-02fd"];
const POISONED: u32 = 5;
const EVENTS: u32 = 30;
/// Beyond what the relay lets in, and within what a process may open.
const CROWD: usize = 1000;

/// A relay with an admin side, and how to ask it.
pub(super) struct Watched {
    pub(super) relay: Process,
    config: std::path::PathBuf,
    base: String,
    http: reqwest::Client,
}

impl Watched {
    async fn start(scene: &Scene, source: &str, sinks: &[(&str, &str, &str)]) -> Self {
        let more = format!("admin: {{ listen: \"127.0.0.1:0\", token: {TOKEN} }}");
        let config = scene.configure(&Setup { source, streams: NFT_TOKENS, more: &more, sinks });
        Self::of(scene.relay(&config), config).await
    }

    pub(super) async fn of(relay: Process, config: std::path::PathBuf) -> Self {
        relay.logs("the relay is running").await;
        let log = relay.log();
        let address = log.split_once("admin=").unwrap().1.split_whitespace().next().unwrap().to_owned();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { relay, config, base: format!("http://{address}"), http }
    }

    pub(super) async fn text(&self, path: &str) -> String {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(TOKEN);
        request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// What a command prints that asks this relay.
    pub(super) async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(&self.config).args(["--url", &self.base]).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a probe that knows only the address is told.
    pub(super) async fn health(&self) -> String {
        let output = Command::new(BINARY).args(["health", "--url", &self.base]).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The numbers of the sink: by the API, by the command line and by the metrics.
    async fn numbers(&self) -> [BTreeMap<&'static str, u64>; 3] {
        let names = ["pending", "waiting", "dead_letters", "breaker_open", "delivered", "expired"];
        let metrics = ["pending", "waiting", "dead_letters_kept", "breaker_open", "delivered_total", "expired_total"];
        let of = |sinks: &Value| {
            let read = |name| (name, number(&sinks["sinks"][0][name]));
            names.into_iter().map(read).collect()
        };
        let api = of(&self.json("/api/v1/sinks").await);
        let cli = of(&serde_json::from_str(&self.command(&["sinks", "list", "--json"]).await).unwrap());
        let text = self.text("/metrics").await;
        let sample = |metric: &str| {
            let begin = format!("cspr_relay_sink_{metric}{{sink=\"market\",kind=\"webhook\",label_team=\"nft\"}} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&begin))
                .unwrap_or_else(|| panic!("no {begin}"))
                .parse()
                .unwrap()
        };
        [api, cli, names.into_iter().zip(metrics.map(sample)).collect()]
    }

    /// Waits until all three say so.
    async fn agree(&self, expected: &[(&'static str, u64)]) {
        let deadline = tokio::time::Instant::now() + super::DEADLINE;
        loop {
            let numbers = self.numbers().await;
            if numbers.iter().all(|numbers| expected.iter().all(|(name, value)| numbers[name] == *value)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not {expected:?}, but {numbers:#?}");
            tokio::time::sleep(super::POLL).await;
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().or(value.as_bool().map(u64::from)).unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn an_incident_is_seen_alike_by_api_commands_and_metrics() {
    let scene = Scene::new();
    let token = |n: u32| if n < POISONED { format!("bad-{n}") } else { format!("good-{n}") };
    let lines: Vec<String> = (0..EVENTS).map(|n| message(&token(n), n + 1)).collect();
    let (_emulator, url) = scene.emulator(&["--replay", &scene.lines(&lines), "--rate", "100"]).await;
    let sink = Listener::answering(|arrival| if arrival.token.starts_with("bad") { 422 } else { 503 }).await;
    let labels = "    labels: { team: nft }\n    retry: { schedule: [1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s] }\n";
    let source = format!("url: \"{url}\"");
    let mut watched = Watched::start(&scene, &source, &[("market", sink.url(), labels)]).await;

    let (bad, good) = (u64::from(POISONED), u64::from(EVENTS - POISONED));
    watched.agree(&[("pending", good), ("dead_letters", bad), ("breaker_open", 1), ("delivered", 0)]).await;
    let status = watched.command(&["status"]).await;
    assert!(
        status.contains("BREAKER OPEN since") && status.contains("server: ") && status.contains("team=nft"),
        "{status}"
    );
    let letters = watched.json("/api/v1/dead-letters?cause=refused&sink=market").await;
    assert_eq!(letters["dead_letters"].as_array().unwrap().len(), POISONED as usize);

    sink.answer(|_| 204);
    watched.agree(&[("pending", 0), ("dead_letters", bad), ("breaker_open", 0), ("delivered", good)]).await;
    let would = watched.command(&["dead-letters", "replay", "--cause", "refused"]).await;
    assert!(would.contains(&format!("{POISONED} dead letters would be replayed")), "{would}");
    watched.command(&["dead-letters", "replay", "--cause", "refused", "--yes"]).await;
    watched.agree(&[("pending", 0), ("dead_letters", 0), ("delivered", good + bad), ("expired", 0)]).await;
    assert_eq!(sink.received(), EVENTS as usize, "the oracle has each event once");
    watched.relay.stop().await;

    // What a stopped relay knows is read from its directory by the same words.
    let data = scene.data();
    let output =
        Command::new(BINARY).args(["events", "show", "1", "--json", "--data", data.to_str().unwrap()]).output();
    let event: Value = serde_json::from_slice(&output.await.unwrap().stdout).unwrap();
    assert_eq!(event["deliveries"][0]["state"], "delivered");
}

/// A configuration with secrets wherever sinks take some. Only the webhook's receiver is there to be reached.
fn guarded(scene: &Scene, source: &str, receiver: &str) -> std::path::PathBuf {
    let [header, sasl, amqp, oauth] = PLANTED;
    let data = scene.data();
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\" }}\n\
         store: {{ path: \"{}\" }}\n\
         admin: {{ listen: \"127.0.0.1:0\", token: {TOKEN} }}\n\
         sinks:\n\
         \x20 market:\n\
         \x20   webhook: {{ url: \"{receiver}\", secrets: [\"{SECRET}\"], headers: {{ Authorization: Bearer {header} }} }}\n\
         \x20   retry: {{ schedule: [100ms] }}\n\
         \x20 bus:\n\
         \x20   kafka: {{ brokers: [\"127.0.0.1:1\"], topic: nft, timeout: 1s, properties: {{ security.protocol: \
         SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: relay, sasl.password: {sasl} }} }}\n\
         \x20 cloud:\n\
         \x20   kafka: {{ brokers: [\"127.0.0.1:1\"], topic: nft, timeout: 1s, oauth: {{ token_url: \
         \"http://127.0.0.1:1/token\", client_id: relay, client_secret: {oauth} }}, properties: {{ security.protocol: \
         SASL_PLAINTEXT, sasl.mechanism: OAUTHBEARER }} }}\n\
         \x20 queue:\n\
         \x20   amqp: {{ uri: \"amqp://127.0.0.1:1/%2f\", username: relay, password: {amqp}, exchange: nft, routing_key: \
         nft }}\n\
         routes: {{ all: {{ match: all, sinks: [market, bus, cloud, queue] }} }}\n",
        data.display()
    );
    let path = scene.path("guarded.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn secrets_are_in_nothing_that_anybody_can_read() {
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "50"]).await;
    let sink = Listener::answering(|arrival| if arrival.number % 3 == 0 { 422 } else { 500 }).await;
    let config = guarded(&scene, &url, sink.url());
    let mut watched = Watched::of(scene.relay(&config), config).await;
    for told in ["sink=bus", "sink=cloud", "sink=queue"] {
        watched.relay.logs(told).await;
    }
    let mut dead = false;
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    while !dead && tokio::time::Instant::now() < deadline {
        dead = watched.json("/api/v1/dead-letters").await["dead_letters"].as_array().is_some_and(|list| list.len() > 3);
    }
    assert!(dead);
    let mut read = Vec::new();
    for path in [
        "/metrics",
        "/healthz/ready",
        "/api/v1/status",
        "/api/v1/sinks",
        "/api/v1/events/1",
        "/api/v1/dead-letters",
        "/api/v1/openapi.json",
    ] {
        read.push((path.to_owned(), watched.text(path).await.into_bytes()));
    }
    // A configuration that is refused is quoted to the operator, without what is secret in it.
    let text = std::fs::read_to_string(&watched.config).unwrap();
    std::fs::write(&watched.config, text.replace("match: all", "match: al")).unwrap();
    watched.relay.logs("the configuration was not reloaded").await;
    let status = watched.text("/api/v1/status").await;
    assert!(status.contains("match"), "{status}");
    read.push(("status of a refused configuration".to_owned(), status.into_bytes()));
    watched.relay.stop().await;
    read.push(("log".to_owned(), watched.relay.log().into_bytes()));
    if cfg!(feature = "failpoints") {
        let config = guarded(&scene, &url, sink.url());
        let mut relay = scene.relay_in_life(&config, 2, "store-before-commit=2*off->panic");
        relay.logs("panicked").await;
        assert_ne!(relay.ended().await, Some(0));
        read.push(("log of a panic".to_owned(), relay.log().into_bytes()));
    }
    for entry in std::fs::read_dir(scene.data()).unwrap().map(Result::unwrap) {
        read.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
    }
    let secret = SECRET.strip_prefix("whsec_").unwrap();
    for (place, bytes) in &read {
        for planted in [TOKEN, secret, "emulator-key"].into_iter().chain(PLANTED) {
            let is_there = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!is_there, "{planted} is in {place}");
        }
    }
    assert!(read.len() >= 10);
}

#[tokio::test]
async fn a_thousand_slow_clients_hold_up_neither_delivery_nor_probes() {
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "300"]).await;
    let sink = Listener::start().await;
    let source = format!("url: \"{url}\"");
    let mut watched = Watched::start(&scene, &source, &[("market", sink.url(), "")]).await;
    until("it delivers", || sink.received() > 50).await;
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        let mut stream = TcpStream::connect(watched.base.strip_prefix("http://").unwrap()).await.unwrap();
        let begin: &[u8] =
            if n % 2 == 0 { b"GET /metrics HTTP/1.1\r\nX: " } else { b"GET /api/v1/tail HTTP/1.1\r\nHost: x\r\n\r\n" };
        // The relay may have closed it already.
        let _written = stream.write_all(begin).await;
        crowd.push(stream);
    }
    let before = sink.received();
    assert_eq!(watched.text("/healthz/live").await, r#"{"status":"ok"}"#);
    until("it goes on delivering", || sink.received() > before + 300).await;
    let id = watched.relay.child.id().unwrap();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
    assert!(open < CROWD / 2, "{open} open files");
    drop(crowd);
    watched.relay.stop().await;
}
