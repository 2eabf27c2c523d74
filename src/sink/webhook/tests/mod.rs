//! The webhook sink against small servers on loopback.

mod answers;
mod headers;
mod network;
mod server;
mod tls;

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::config::{BacklogConfig, OnFull, Ordering, RetryConfig, SinkKind, TlsConfig};
use crate::event::{Event, EventId, Facts, Network, Origin, Sequence, Stream};

/// Long enough never to end a test that goes well, however busy the machine is.
const LONG: Duration = Duration::from_secs(20);

fn config(url: &str) -> WebhookConfig {
    WebhookConfig {
        url: url.parse().unwrap(),
        secrets: Vec::new(),
        timeout: LONG,
        headers: Vec::new(),
        reject_on: vec![400, 413, 415, 422],
        tls: TlsConfig::default(),
    }
}

fn build(config: WebhookConfig, deny: &[&str]) -> anyhow::Result<Webhook> {
    let sink = SinkConfig {
        labels: Default::default(),
        kind: SinkKind::Webhook(Box::new(config.clone())),
        retry: RetryConfig { schedule: Vec::new(), jitter: 0.0 },
        concurrency: 16,
        ordering: Ordering::Lane,
        backlog: BacklogConfig { max_bytes: 1, on_full: OnFull::Expire },
    };
    let egress = EgressConfig { deny: deny.iter().map(|net| net.parse().unwrap()).collect() };
    Webhook::new(&SinkName("market".into()), &sink, &config, &egress, &Clock::default())
}

fn webhook(config: WebhookConfig) -> Webhook {
    build(config, &[]).unwrap()
}

/// An event about which everything is known, at its first attempt.
pub(in crate::sink) fn delivery_of(body: &str) -> Delivery {
    let facts = Facts {
        action: "updated".into(),
        contract_package: Some("ab".repeat(32).into()),
        token_id: Some("1 9".into()),
        deploy_hash: Some("cd".repeat(32).into()),
        owner: Some("ef".repeat(32).into()),
        ..Facts::default()
    };
    let event = Event {
        id: EventId([7; 16]),
        sequence: Sequence { epoch: 0x18d, number: 0x2a },
        network: Network::Testnet,
        stream: Stream::NftTokens,
        origin: Origin::Stream,
        accepted_at: Timestamp(1_707_301_289_557),
        facts,
        body: body.to_owned().into(),
    };
    let routes = Arc::from(["bucha-city", "whales"].map(Arc::from));
    Delivery { event: Arc::new(event), routes, attempt: 1, is_replay: false }
}

async fn deliver(sink: &Webhook) -> Outcome {
    sink.deliver(&delivery_of(r#"{"data":{},"action":"updated"}"#)).await
}

fn is_delivered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered { .. })
}

/// The failure of an attempt that is to be made again.
fn retried(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Retry { failure, .. } => failure,
        other => panic!("not to be tried again: {other:?}"),
    }
}
