//! A webhook against real servers on loopback.

mod forms;
mod http;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::config::{Format, Secret, TlsConfig};
use crate::sink::wire::Transport;

/// Long enough to never end by itself in a test that succeeds.
const LONG: Duration = Duration::from_secs(60);

fn config(url: &str) -> WebhookConfig {
    WebhookConfig {
        url: Url::parse(url).unwrap(),
        secrets: Vec::new(),
        timeout: LONG,
        headers: Vec::new(),
        reject_on: vec![400, 413, 415, 422],
        tls: TlsConfig::default(),
    }
}

fn at(address: SocketAddr) -> WebhookConfig {
    config(&format!("http://{address}/hook?token=confidential"))
}

fn webhook(config: &WebhookConfig) -> Webhook {
    webhook_in(Format::Raw, config)
}

fn webhook_in(format: Format, config: &WebhookConfig) -> Webhook {
    Webhook::new(encoder(format), config, 4, &EgressConfig::default(), &Clock::default()).unwrap()
}

fn encoder(format: Format) -> Encoder {
    Encoder::new("market", format, Transport::Http)
}

/// The failure of an attempt that is to be made again; it must not give away the URL's query.
async fn failure(config: &WebhookConfig) -> (Failure, Option<Duration>) {
    match webhook(config).deliver(&crate::sink::tests::delivery("119")).await {
        Outcome::Retry { failure, after } => {
            assert!(!failure.detail.contains("confidential"), "{}", failure.detail);
            (failure, after)
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn forbidden_addresses_in_the_url_are_refused_when_it_is_built() {
    let urls = [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://0/",
        "http://10.9.8.7/",
    ];
    let egress = EgressConfig { deny: vec!["10.0.0.0/8".parse().unwrap()] };
    for url in urls {
        let built = Webhook::new(encoder(Format::Raw), &config(url), 1, &egress, &Clock::default());
        let text = built.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("is forbidden"), "{url}: {text}");
    }
}
