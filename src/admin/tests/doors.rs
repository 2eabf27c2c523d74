//! Who gets in, and what becomes of requests that are none.

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Listener;
use super::super::server::CONNECTIONS_MAX;
use super::{Scene, TOKEN, json};
use crate::config::AdminConfig;

/// Whether the path may be asked without a token.
const PATHS: [(&str, bool); 7] = [
    ("/healthz/live", true),
    ("/healthz/ready", true),
    ("/healthz/startup", true),
    ("/metrics", true),
    ("/metrics/", false),
    ("/", false),
    ("/api/v1/no-such-thing", false),
];

#[tokio::test]
async fn only_metrics_and_health_are_open() {
    let scene = Scene::start();
    let described = super::super::router().split_for_parts().1.paths.paths;
    let described = described.into_keys().filter(|path| path.starts_with("/api/")).map(|path| (path, false));
    for (path, is_open) in PATHS.map(|(path, is_open)| (path.to_owned(), is_open)).into_iter().chain(described) {
        for token in [None, Some("another-token"), Some(""), Some("the-token-of-the-testS")] {
            refuses(&scene, &path, is_open, token).await;
        }
    }
    scene.end().await;
}

async fn refuses(scene: &Scene, path: &str, is_open: bool, token: Option<&str>) {
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let expected = match (is_open, &method) {
            (false, _) => 401,
            (true, &Method::GET) => 200,
            (true, _) => 405,
        };
        let answer = scene.ask(method.clone(), path, token).await;
        assert_eq!(answer.status(), expected, "{method} {path} with {token:?}");
        assert!(expected != 401 || answer.headers()["www-authenticate"] == "Bearer");
    }
}

#[tokio::test]
async fn without_a_configured_token_the_api_answers_nobody_and_says_why() {
    let scene = Scene::with_token(None);
    for token in [None, Some(""), Some(TOKEN)] {
        let (status, problem) = json(scene.ask(Method::GET, "/api/v1/status", token).await).await;
        assert_eq!(status, 403);
        assert!(problem["detail"].as_str().unwrap().contains("admin.token"), "{problem}");
    }
    assert_eq!(scene.ask(Method::GET, "/healthz/live", None).await.status(), 200);
    scene.end().await;
}

#[tokio::test]
async fn a_problem_is_json_and_says_what_to_do() {
    let scene = Scene::start();
    let cases = [("/api/v1/nothing", 404, "openapi.json"), ("/api/v1/sinks/nobody", 404, "no sink `nobody`")];
    for (path, expected, says) in cases {
        let (status, problem) = scene.get(path).await;
        assert_eq!((status, &problem["status"]), (expected, &expected.into()));
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    scene.end().await;
}

#[tokio::test]
async fn while_the_relay_stops_it_is_alive_but_not_ready() {
    let scene = Scene::start();
    assert_eq!(scene.ask(Method::GET, "/healthz/ready", None).await.status(), 200);
    scene.fixture.lifecycle.drain().cancel();
    assert_eq!(scene.ask(Method::GET, "/healthz/ready", None).await.status(), 503);
    assert_eq!(scene.ask(Method::GET, "/healthz/live", None).await.status(), 200);
    scene.end().await;
}

#[tokio::test]
async fn what_is_no_request_gets_a_4xx() {
    let scene = Scene::start();
    let long = "x".repeat(32 * 1024);
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (request, expected) in [
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(), "400"),
        ("GET /metrics HTTP/9.9\r\n\r\n".to_owned(), "400"),
        (format!("GET /metrics?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "4"),
        (format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"), "431"),
        (format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), "400"),
    ] {
        let mut stream = TcpStream::connect(scene.admin.address).await.unwrap();
        // The server may close before it has read everything.
        let _written = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer} for {request:.60}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_crowd_of_silent_clients_shuts_nobody_out() {
    let scene = Scene::start();
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS_MAX * 3 {
        let mut stream = TcpStream::connect(scene.admin.address).await.unwrap();
        stream.write_all(b"GET /metrics HT").await.unwrap();
        crowd.push(stream);
    }
    assert_eq!(scene.ask(Method::GET, "/healthz/live", None).await.status(), 200);
    assert_eq!(scene.get("/api/v1/status").await.0, 200);
    let mut first = crowd.swap_remove(0);
    let read = first.read(&mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "the oldest had to go: {read:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_taken_address_is_named_with_the_key_to_change() {
    let scene = Scene::start();
    let taken = AdminConfig { listen: scene.admin.address, token: None };
    let refused = Listener::bind(taken).err().map(|error| format!("{error:#}")).unwrap();
    let expected =
        format!("cannot listen at {} for metrics, health and the API: set admin.listen: ", scene.admin.address);
    assert!(refused.starts_with(&expected), "{refused}");
    scene.end().await;
}
