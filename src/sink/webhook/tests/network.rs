//! Names, addresses and connections.

use super::server::{Reply, Server, answer};
use super::*;

/// A port of loopback on which nobody listens.
async fn closed_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_are_told_apart() {
    let refused = format!("http://127.0.0.1:{}/", closed_port().await);
    let failure = retried(deliver(&webhook(config(&refused))).await);
    assert_eq!(failure.cause, Cause::Connect);
    assert!(failure.detail.to_lowercase().contains("refused"), "{}", failure.detail);
    let failure = retried(deliver(&webhook(config("http://nonexistent.invalid/"))).await);
    assert_eq!(failure.cause, Cause::Dns);
    assert!(failure.detail.contains("cannot resolve the name"), "{}", failure.detail);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start(&[answer(200, "", "thanks"), answer(500, "", "oh"), answer(204, "", "")]).await;
    let sink = webhook(config(&server.url()));
    for _ in 0..50 {
        deliver(&sink).await;
    }
    assert_eq!((server.seen().len(), server.connection_count()), (50, 1));
}

#[tokio::test]
async fn a_connection_that_was_closed_between_two_requests_costs_no_attempt() {
    let server = Server::start(&[answer(200, "connection: close\r\n", "")]).await;
    let sink = webhook(config(&server.url()));
    for _ in 0..3 {
        assert!(is_delivered(&deliver(&sink).await));
    }
    assert_eq!(server.connection_count(), 3);
}

#[tokio::test]
async fn forbidden_addresses_are_refused_when_the_sink_is_built() {
    let hosts = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "0.0.0.0",
        "[fe80::1]",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "169.254.169.254.",
        "10.9.8.7",
    ];
    for host in hosts {
        let error = build(config(&format!("http://{host}/")), &["10.9.0.0/16"]).err();
        let error = format!("{:#}", error.unwrap_or_else(|| panic!("{host} is accepted")));
        assert!(error.contains("is refused"), "{host}: {error}");
    }
    assert!(build(config("http://10.8.8.7/"), &["10.9.0.0/16"]).is_ok());
}

#[tokio::test]
async fn forbidden_addresses_are_refused_behind_a_name_too() {
    let server = Server::start(&[answer(200, "", "")]).await;
    let url = format!("http://localhost:{}/", server.address.port());
    let sink = build(config(&url), &["127.0.0.0/8", "::1/128"]).unwrap();
    let failure = retried(deliver(&sink).await);
    assert_eq!(failure.cause, Cause::Forbidden);
    assert!(failure.detail.contains("egress.deny"), "{}", failure.detail);
    assert_eq!(server.connection_count(), 0);
    assert!(is_delivered(&deliver(&webhook(config(&url))).await), "it is the guard that refused it");
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let replies = [
        Reply::Close,
        Reply::Nothing,
        Reply::Whole("rubbish\r\n\r\n".to_owned()),
        answer(302, "location: http://127.0.0.1/?hunter2\r\n", ""),
        answer(500, "", "sorry"),
    ];
    let mut urls = vec![
        format!("http://127.0.0.1:{}/", closed_port().await),
        "http://nonexistent.invalid/".to_owned(),
        "http://localhost:1/".to_owned(),
    ];
    let mut servers = Vec::new();
    for reply in replies {
        let server = Server::start(&[reply]).await;
        urls.extend([server.url(), server.url().replace("http:", "https:")]);
        servers.push(server);
    }
    for url in urls {
        let mut config = config(&format!("{}?token=hunter2", url.replace("://", "://user:hunter2@")));
        config.timeout = Duration::from_secs(1);
        config.headers = vec![("Authorization".into(), Secret::literal("Bearer hunter2"))];
        let failure = retried(build(config, &["::1/128"]).unwrap().deliver(&delivery_of("{}")).await);
        assert!(!failure.detail.contains("hunter2"), "{url}: {}", failure.detail);
        assert!(!failure.detail.is_empty() && !failure.detail.contains('\n'), "{url}: {}", failure.detail);
    }
}
