//! Tokens: fetched once for everybody, renewed in time, and never told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::config::{OauthConfig, Secret};
use crate::sink::kafka::oauth::Tokens;

/// A server that answers so, and what it was asked.
struct Server {
    url: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn answering(status: u16, body: &str) -> Self {
        let answer = Arc::new(Mutex::new((status, body.to_owned())));
        let asked = Arc::<Mutex<Vec<(String, String)>>>::default();
        let (said, heard) = (Arc::clone(&answer), Arc::clone(&asked));
        let take = move |headers: HeaderMap, body: String| {
            heard.lock().unwrap().push((headers["authorization"].to_str().unwrap().to_owned(), body));
            let (status, body) = said.lock().unwrap().clone();
            async move { (StatusCode::from_u16(status).unwrap(), body) }
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", socket.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async { axum::serve(socket, Router::new().route("/token", post(take))).await.unwrap() });
        Self { url, answer, asked, _serving: serving }
    }

    fn tokens(&self) -> Tokens {
        let config = OauthConfig {
            token_url: self.url.parse().unwrap(),
            client_id: "relay".to_owned(),
            client_secret: Secret::literal("hunter:2"),
            scope: Some("kafka write".to_owned()),
            ca_file: None,
        };
        Tokens::new(&config, &Clock::default()).unwrap()
    }
}

#[tokio::test]
async fn many_ask_and_one_fetches() {
    let server = Server::answering(200, r#"{"access_token":"t1","expires_in":600,"token_type":"bearer"}"#).await;
    let tokens = server.tokens();
    let count = AtomicUsize::new(0);
    let all = (0..20).map(|_| async {
        tokens.keep_fresh().await.unwrap();
        count.fetch_add(1, Ordering::Relaxed)
    });
    futures_util::future::join_all(all).await;
    let token = tokens.for_a_client().await.unwrap();
    assert_eq!((token.token.as_str(), token.principal_name.as_str()), ("t1", "relay"));
    let expected = ("Basic cmVsYXk6aHVudGVyJTNBMg==", "grant_type=client_credentials&scope=kafka%20write");
    assert_eq!(*server.asked.lock().unwrap(), [(expected.0.to_owned(), expected.1.to_owned())]);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_kept_when_that_fails() {
    let server = Server::answering(200, r#"{"access_token":"t1","expires_in":2}"#).await;
    let tokens = server.tokens();
    tokens.keep_fresh().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    *server.answer.lock().unwrap() = (503, "down".to_owned());
    tokens.keep_fresh().await.unwrap();
    assert_eq!(tokens.for_a_client().await.unwrap().token, "t1", "it is still good");
    assert_eq!(server.asked.lock().unwrap().len(), 2, "and nobody asks again at once");
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(tokens.keep_fresh().await.unwrap_err().contains("HTTP 503"));
}

#[tokio::test]
async fn refusals_are_told_without_bodies_and_secrets() {
    for (status, body, said) in [
        (401, r#"{"error":"invalid_client","error_description":"hunter:2"}"#, "HTTP 401: invalid_client"),
        (400, "hunter:2", "HTTP 400"),
        (400, r#"{"error":"not hunter:2"}"#, "HTTP 400"),
        (302, "", "HTTP 302"),
        (200, "{}", "the answer has no `access_token`"),
        (200, &"x".repeat(300_000), "the answer is too long"),
    ] {
        let server = Server::answering(status, body).await;
        let failure = server.tokens().keep_fresh().await.unwrap_err();
        assert!(failure.contains(said) && failure.contains(&server.url) && !failure.contains("hunter"), "{failure}");
    }
}
