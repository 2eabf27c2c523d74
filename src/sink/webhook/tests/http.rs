//! Plain HTTP: what arrives, what comes back, and destinations that misbehave.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::sink::tests::delivery;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// One request as it came over the wire: the head in lower case, and the body.
#[derive(Clone, Debug, Default)]
struct Seen {
    head: String,
    body: Vec<u8>,
    /// Tells connections apart.
    client_port: u16,
}

/// A server that reads requests and answers each with the same bytes; with `None` it says nothing. After `then` it
/// goes on with that, again and again, until the client leaves.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Ends with the test.
    _tasks: tokio::task::JoinSet<()>,
}

impl Server {
    async fn start(answer: Option<&'static [u8]>, then: Option<(&'static [u8], Duration)>) -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        let log = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log), answer, then));
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    log: Arc<Mutex<Vec<Seen>>>,
    answer: Option<&'static [u8]>,
    then: Option<(&'static [u8], Duration)>,
) {
    while let Some(request) = read_request(&mut stream).await {
        log.lock().unwrap().push(request);
        let Some(answer) = answer else { return std::future::pending().await };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        while let Some((bytes, pause)) = then {
            tokio::time::sleep(pause).await;
            if stream.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split_once("content-length: ")?.1.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { head, body, client_port: stream.peer_addr().ok()?.port() })
}

fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn the_message_arrives_verbatim_with_its_facts_and_own_headers_cannot_replace_them() {
    let server = Server::start(Some(OK), None).await;
    let mut config = at(server.address);
    let own = [("X-Env", "prod"), ("Webhook-Id", "forged"), ("cspr-relay-stream", "forged")];
    config.headers = own.map(|(name, value)| (name.to_owned(), HeaderText::Fixed(Secret::literal(value)))).to_vec();
    let delivery = delivery("x\r\nhost: evil\u{1f480}");
    assert_eq!(webhook(&config).deliver(&delivery).await, Outcome::Delivered { status: Some(200) });
    let seen = server.seen().remove(0);
    assert_eq!(seen.body, delivery.event.body);
    assert!(seen.head.starts_with("post /hook?token=confidential http/1.1\r\n"), "{}", seen.head);
    let id = delivery.event.id.to_string();
    let agent = format!("cspr-relay/{}", env!("CARGO_PKG_VERSION"));
    let expected = [
        ("host", server.address.to_string()),
        ("content-type", "application/json".to_owned()),
        ("user-agent", agent),
        ("webhook-id", id),
        ("x-env", "prod".to_owned()),
        ("cspr-relay-stream", "nft-tokens".to_owned()),
        ("cspr-relay-token-id", "x%0d%0ahost:%20evil%f0%9f%92%80".to_owned()),
        ("cspr-relay-routes", "bucha-city,a%2cb".to_owned()),
        ("cspr-relay-attempt", "2".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(header(&seen, name), Some(value.as_str()), "{name}");
        assert_eq!(seen.head.matches(&format!("\r\n{name}: ")).count(), 1, "{name}");
    }
    assert_eq!(header(&seen, "webhook-signature"), None);
    assert_eq!(header(&seen, "cspr-relay-replay"), None);
}

#[tokio::test]
async fn every_secret_signs_and_a_broken_one_is_named_but_not_shown() {
    let listener = Server::start(Some(OK), None).await;
    let mut config = at(listener.address);
    let secrets = [crate::signature::generate().unwrap(), crate::signature::generate().unwrap()];
    config.secrets = secrets.iter().map(|secret| Secret::literal(secret.clone())).collect();
    let delivery = delivery("119");
    assert_eq!(webhook(&config).deliver(&delivery).await, Outcome::Delivered { status: Some(200) });
    let request = listener.seen().remove(0);
    // The head was put in lower case, so only the form can be seen here; receivers verify it elsewhere.
    assert_eq!(header(&request, "webhook-signature").unwrap().matches("v1,").count(), 2);

    config.secrets.push(Secret::literal("hunter2"));
    let (failure, _) = failure(&config).await;
    assert_eq!(failure.cause, Cause::Denied);
    assert_eq!(failure.detail, "not sent: secret 3 of this sink: a webhook secret starts with `whsec_`");
    assert_eq!(listener.seen().len(), 1);
}

#[tokio::test]
async fn a_signature_is_good_for_a_receiver_with_either_secret() {
    let old = crate::signature::generate().unwrap();
    let new = crate::signature::generate().unwrap();
    let clock = Clock::default();
    let mut config = at(LOOPBACK);
    config.secrets = [&old, &new].map(|secret| Secret::literal(secret.clone())).to_vec();
    let delivery = delivery("119");
    let sink = Webhook::new(encoder(Format::Raw), &config, 1, &EgressConfig::default(), &clock).unwrap();
    let headers = sink.request(&delivery).unwrap().headers().clone();
    for secret in [old, new] {
        standardwebhooks::Webhook::new(&secret).unwrap().verify(&delivery.event.body, &headers).unwrap();
    }
    clock.shift(1_000_000);
    let later = sink.request(&delivery).unwrap().headers().clone();
    assert_eq!(headers[WEBHOOK_ID], later[WEBHOOK_ID]);
    assert_ne!(headers[WEBHOOK_TIMESTAMP], later[WEBHOOK_TIMESTAMP]);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let target = Server::start(Some(OK), None).await;
    let location = format!("HTTP/1.1 307 Moved\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", target.address);
    let server = Server::start(Some(location.into_bytes().leak()), None).await;
    let (failure, _) = failure(&at(server.address)).await;
    assert_eq!((failure.cause, failure.status), (Cause::Refused, Some(307)));
    assert_eq!(failure.detail, "answered 307 Temporary Redirect (redirects are not followed)");
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn connections_are_used_again_after_answers_with_a_body() {
    let server = Server::start(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthank"), None).await;
    let sink = webhook(&at(server.address));
    for _ in 0..3 {
        assert_eq!(sink.deliver(&delivery("1")).await, Outcome::Delivered { status: Some(200) });
    }
    let ports: std::collections::BTreeSet<u16> = server.seen().iter().map(|seen| seen.client_port).collect();
    assert_eq!((server.seen().len(), ports.len()), (3, 1));
}

#[tokio::test]
async fn silence_and_slow_answers_end_with_the_time_limit() {
    const HEADERS: &[u8] = b"HTTP/1.1 500 No\r\n";
    const BODY: &[u8] = b"HTTP/1.1 500 No\r\ncontent-length: 9999\r\n\r\n";
    let every = Duration::from_millis(20);
    let servers = [
        (None, None, Cause::Timeout, "no answer within 300ms"),
        (Some(HEADERS), Some((b"x".as_slice(), every)), Cause::Timeout, "no answer within 300ms"),
        // The status has told.
        (Some(BODY), Some((b"x", every)), Cause::Server, "answered 500 Internal Server Error: x"),
    ];
    for (answer, then, cause, detail) in servers {
        let server = Server::start(answer, then).await;
        let mut config = at(server.address);
        config.timeout = Duration::from_millis(300);
        let (failure, _) = tokio::time::timeout(LONG, failure(&config)).await.unwrap();
        assert_eq!(failure.cause, cause);
        assert!(failure.detail.starts_with(detail), "{}", failure.detail);
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    const HEAD: &[u8] = b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\nconnection: close\r\n\r\n";
    let server = Server::start(Some(HEAD), Some((&[b'x'; 8192], Duration::ZERO))).await;
    let (failure, after) = tokio::time::timeout(LONG, failure(&at(server.address))).await.unwrap();
    assert_eq!((failure.cause, failure.status), (Cause::Server, Some(503)));
    assert_eq!(after, Some(Duration::from_secs(7)));
    assert!(failure.detail.len() < 1100);
}

#[tokio::test]
async fn a_success_counts_even_if_its_body_breaks_off() {
    let server = Server::start(Some(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf"), None).await;
    let mut config = at(server.address);
    config.timeout = Duration::from_millis(300);
    assert_eq!(webhook(&config).deliver(&delivery("1")).await, Outcome::Delivered { status: Some(200) });
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let closed = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    let (refused, _) = failure(&at(closed)).await;
    assert_eq!(refused.cause, Cause::Connect);
    assert!(refused.detail.starts_with("could not connect: Connection refused"), "{}", refused.detail);

    let (unknown, _) = failure(&config("http://nowhere.invalid/?token=confidential")).await;
    assert_eq!(unknown.cause, Cause::Dns, "{}", unknown.detail);

    let server = Server::start(Some(b"not http\r\n\r\n"), None).await;
    assert_eq!(failure(&at(server.address)).await.0.cause, Cause::Connect);
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_stands_for() {
    let server = Server::start(Some(OK), None).await;
    let config = config(&format!("http://localhost:{}/?token=confidential", server.address.port()));
    assert_eq!(webhook(&config).deliver(&delivery("1")).await, Outcome::Delivered { status: Some(200) });
    let deny = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).to_vec();
    let sink = Webhook::new(encoder(Format::Raw), &config, 1, &EgressConfig { deny }, &Clock::default()).unwrap();
    let Outcome::Retry { failure, .. } = sink.deliver(&delivery("1")).await else { panic!("delivered") };
    assert_eq!(failure.cause, Cause::Forbidden);
    assert!(failure.detail.ends_with("it is in `egress.deny`"), "{}", failure.detail);
    assert_eq!(server.seen().len(), 1);
}
