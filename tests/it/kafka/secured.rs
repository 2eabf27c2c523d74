//! Who the cluster is, and who the relay says it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use data_encoding::BASE64URL_NOPAD;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{configure, distinct};
use crate::neighbour::{self, Neighbour};
use crate::relay::store::Database;
use crate::relay::{Scene, until, within};
use crate::servers::kafka::{Kafka, cluster};

const COUNT: usize = 5;
const CONFIRMS_WITHIN: Duration = Duration::from_secs(180);

/// A sink `bus` for the topic `nft`, with these properties of librdkafka.
fn secured(kafka: &Kafka, listener: &str, properties: &str) -> String {
    let broker = kafka.address(listener);
    format!(
        "  bus:\n    kafka:\n      brokers: [\"{broker}\"]\n      topic: nft\n      timeout: 4s\n      \
         properties: {{ {properties} }}\n    retry: {{ give_up_after: 1h, jitter: 0 }}\n"
    )
}

fn ca(kafka: &Kafka, name: &str) -> String {
    format!("ssl.ca.location: \"{}\"", kafka.certificate(name).display())
}

pub(super) fn scram_or_plain(kafka: &Kafka, user: &str, mechanism: &str) -> String {
    let ca = ca(kafka, "ca.crt");
    let sasl = format!("sasl.mechanism: {mechanism}, sasl.username: {user}, sasl.password: {user}-secret");
    secured(kafka, "sasl_ssl", &format!("security.protocol: SASL_SSL, {ca}, {sasl}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_listener_takes_events() {
    let Some(kafka) = cluster().await else { return };
    kafka.create_topic("nft", 1, 1, &[]).await;
    let (ca, key) = (ca(&kafka, "ca.crt"), |name: &str| kafka.certificate(name).display().to_string());
    let own =
        format!("ssl.certificate.location: \"{}\", ssl.key.location: \"{}\"", key("client.crt"), key("client.key"));
    let sinks = [
        secured(&kafka, "ssl", &format!("security.protocol: SSL, {ca}")),
        secured(&kafka, "mtls", &format!("security.protocol: SSL, {ca}, {own}")),
        scram_or_plain(&kafka, "bob", "SCRAM-SHA-512"),
        scram_or_plain(&kafka, "bob", "SCRAM-SHA-256"),
        scram_or_plain(&kafka, "alice", "PLAIN"),
    ];
    for (sink, number) in sinks.iter().zip(1..) {
        let scene = Scene::new();
        let (seed, count) = (number.to_string(), COUNT.to_string());
        let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", &count, "--seed", &seed]).await;
        let config = configure(&scene, &url, "", &["bus"], sink);
        let mut relay = scene.relay(&config);
        kafka.read(&["nft"], |records| distinct(records) == COUNT * number);
        relay.stop().await;
        let log = relay.log();
        assert!(!log.contains("bob-secret") && !log.contains("alice-secret"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_to_a_listener_otherwise_than_it_wants_is_not_heard() {
    let Some(kafka) = cluster().await else { return };
    kafka.create_topic("nft", 1, 1, &[]).await;
    let ca = ca(&kafka, "ca.crt");
    for (listener, properties, said) in [
        ("mtls", format!("security.protocol: SSL, {ca}"), "not confirmed by the topic nft"),
        ("ssl", "client.id: plain".to_owned(), "not confirmed by the topic nft"),
    ] {
        let scene = Scene::new();
        let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "5"]).await;
        let config = configure(&scene, &url, "", &["bus"], &secured(&kafka, listener, &properties));
        let mut relay = super::chatty(&scene, &config);
        relay.logs(said).await;
        relay.logs("an attempt failed").await;
        relay.stop().await;
    }
}

/// Broker and relay part for good when a password that was good no longer is; what waits goes with the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_expires_is_told_and_a_new_one_is_taken_up() {
    // A login holds for two seconds.
    let Some(mut kafka) = Kafka::with(&["connections.max.reauth.ms=2000"]) else { return };
    kafka.create_topic("nft", 1, 1, &[]).await;
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "10"]).await;
    let file = scene.path("password");
    std::fs::write(&file, "bob-secret").unwrap();
    let sink = scram_or_plain(&kafka, "bob", "SCRAM-SHA-512")
        .replace("sasl.password: bob-secret", &format!("sasl.password: \"${{file:{}}}\"", file.display()));
    let other = Neighbour::start().await;
    let config = configure(&scene, &url, "", &["bus", neighbour::NAME], &(sink + &other.sink()));
    let mut relay = super::chatty(&scene, &config);
    relay.logs("connected to the cluster").await;
    kafka.server.command("password bob fresh-secret");
    relay.logs("cause=\"denied\"").await;
    relay.logs("correct the sasl properties").await;
    other.keeps_up(&scene, "bus").await;
    std::fs::write(&file, "fresh-secret").unwrap();
    let accepted = Database::open(&scene.data()).newest() as usize;
    kafka.read(&["nft"], |records| distinct(records) > accepted);
    let log = relay.log();
    assert_eq!(log.matches("connected to the cluster").count(), 2, "once at first, once with the new password: {log}");
    assert!(!log.contains("bob-secret") && !log.contains("fresh-secret") && !log.contains("dead letter"), "{log}");
    other.is_untouched(&scene).await;
    relay.stop().await;
}

/// A server that gives out tokens which the broker takes for what they say, good for `seconds`.
async fn token_server(seconds: i64) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let (url, given, _, serving) = moody_token_server(seconds).await;
    (url, given, serving)
}

/// The same, which refuses while it is told to.
async fn moody_token_server(seconds: i64) -> (String, Arc<AtomicUsize>, Arc<AtomicBool>, JoinSet<()>) {
    let (given, refuses) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (count, refusing) = (Arc::clone(&given), Arc::clone(&refuses));
    let give = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let status = if refusing.load(Ordering::SeqCst) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let now = jiff::Timestamp::now().as_second();
        let claims = format!(r#"{{"sub":"relay","iat":{now},"exp":{}}}"#, now + seconds);
        let [header, claims] =
            [r#"{"alg":"none"}"#, claims.as_str()].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
        let answer = format!(r#"{{"access_token":"{header}.{claims}.","expires_in":{seconds}}}"#);
        async move { (status, answer) }
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", socket.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async { axum::serve(socket, Router::new().route("/token", post(give))).await.unwrap() });
    (url, given, refuses, serving)
}

/// A token that has ended and cannot be had anew: told with the server that refuses it, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_is_told_and_a_new_one_is_taken_up() {
    let Some(kafka) = Kafka::with(&["connections.max.reauth.ms=3600000"]) else { return };
    kafka.create_topic("nft", 1, 1, &[]).await;
    let (token_url, _, refuses, _serving) = moody_token_server(8).await;
    let scene = Scene::new();
    let (_emulator, source) = scene.emulator(&["--rate", "10"]).await;
    let oauth = format!("oauth: {{ token_url: \"{token_url}\", client_id: relay, client_secret: hunter2 }}");
    let properties = ca(&kafka, "ca.crt");
    let sink = secured(&kafka, "sasl_ssl", &properties).replace("timeout: 4s", &format!("{oauth}\n      timeout: 4s"));
    let other = Neighbour::start().await;
    let config = configure(&scene, &source, "", &["bus", neighbour::NAME], &(sink + &other.sink()));
    let mut relay = super::chatty(&scene, &config);
    relay.logs("connected to the cluster").await;
    refuses.store(true, Ordering::SeqCst);
    relay.logs(&format!("no token from {token_url}: HTTP 503")).await;
    relay.logs("cause=\"denied\"").await;
    other.keeps_up(&scene, "bus").await;
    refuses.store(false, Ordering::SeqCst);
    // The client asks for a token every ten seconds, and the breaker may let one probe a minute through.
    let confirms = || relay.log().matches("connected to the cluster").count() > 1;
    within(CONFIRMS_WITHIN, "the cluster confirms again", confirms).await;
    let accepted = Database::open(&scene.data()).newest() as usize;
    kafka.read(&["nft"], |records| distinct(records) > accepted);
    assert!(!relay.log().contains("dead letter"), "{}", relay.log());
    other.is_untouched(&scene).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_fetched_renewed_and_hold_over_their_end() {
    const COUNT: usize = 300;
    // The broker ends connections whose token has ended.
    let Some(kafka) = Kafka::with(&["connections.max.reauth.ms=3600000"]) else { return };
    kafka.create_topic("nft", 1, 1, &[]).await;
    let (token_url, given, _serving) = token_server(8).await;
    let scene = Scene::new();
    let (_emulator, source) = scene.emulator(&["--rate", "15", "--count", &COUNT.to_string()]).await;
    let oauth =
        format!("oauth: {{ token_url: \"{token_url}\", client_id: relay, client_secret: \"${{SECRET:-hunter2}}\" }}");
    let properties = ca(&kafka, "ca.crt");
    let sink = secured(&kafka, "sasl_ssl", &properties).replace("timeout: 4s", &format!("{oauth}\n      timeout: 4s"));
    let config = configure(&scene, &source, "", &["bus"], &sink);
    let mut relay = scene.relay(&config);
    kafka.read(&["nft"], |records| distinct(records) == COUNT);
    until("several tokens were used", || given.load(Ordering::SeqCst) >= 3).await;
    relay.stop().await;
    assert!(given.load(Ordering::SeqCst) < 12, "not one for each event: {given:?}");
    let log = relay.log();
    assert!(!log.contains("hunter2") && !log.contains("eyJ") && !log.contains("attempt failed"), "{log}");
}
