//! What a broker does not take: dead letters where nothing helps, waiting where an operator can.

use super::{Neighbourhood, configure, distinct};
use crate::relay::{Scene, message, until};
use crate::servers::kafka::{Kafka, cluster};

const QUICK: &str = "    retry: { give_up_after: 1h, jitter: 0 }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_a_dead_letter_at_once_and_alone() {
    let Some(kafka) = cluster().await else { return };
    kafka.create_topic("small", 1, 1, &[("max.message.bytes", "3000")]).await;
    let scene = Scene::new();
    let large = "x".repeat(5_000);
    let messages: Vec<String> = (0..40).map(|n| message(if n == 20 { &large } else { "a" }, n)).collect();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--replay", &scene.lines(&messages)]).await;
    let unordered = "    ordering: none\n";
    let others = Neighbourhood::start(&kafka).await;
    let mut relay = scene.relay(&others.configure(&scene, &url, "small", unordered));
    relay.logs("a delivery was given up: it is a dead letter now").await;
    others.keeps_up(&kafka, &scene).await;
    let records = kafka.read(&["small"], |records| distinct(records) == 39);
    assert_eq!(records.iter().filter(|record| record.body.len() > 5_000).count(), 0);
    let log = relay.log();
    let reason = format!("the topic small at {} takes no record of ", kafka.address("plaintext"));
    assert!(log.contains(&reason) && log.contains("raise its max.message.bytes, then replay"), "{log}");
    assert_eq!(log.matches("it is a dead letter now").count(), 1, "{log}");
    assert!(log.contains("attempts=1"), "{log}");
    others.webhook.is_untouched(&scene).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_or_deleted_is_named_and_waited_for() {
    let Some(kafka) = cluster().await else { return };
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "20"]).await;
    let others = Neighbourhood::start(&kafka).await;
    let mut relay = super::chatty(&scene, &others.configure(&scene, &url, "absent", QUICK));
    let said = format!("there is no topic absent at {}, or this user may not see it", kafka.address("plaintext"));
    relay.logs(&said).await;
    relay.logs("its breaker is open").await;
    others.keeps_up(&kafka, &scene).await;
    kafka.create_topic("absent", 1, 1, &[]).await;
    relay.logs("its breaker is closed").await;
    kafka.read(&["absent"], |records| distinct(records) > 20);
    let told = format!(
        "connected to the cluster: it confirms records connection=\"main\" broker=\"{}\"",
        kafka.address("plaintext")
    );
    assert_eq!(relay.log().matches(&told).count(), 1, "{}", relay.log());
    kafka.delete_topic("absent").await;
    until("the loss of the topic is noticed", || relay.log().matches("its breaker is open").count() == 2).await;
    others.keeps_up(&kafka, &scene).await;
    kafka.create_topic("absent", 1, 1, &[]).await;
    kafka.read(&["absent"], |records| distinct(records) > 20);
    assert!(!relay.log().contains("dead letter"));
    others.webhook.is_untouched(&scene).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_rights_is_told_which() {
    let authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let Some(kafka) = Kafka::with(&[authorizer, "super.users=User:ANONYMOUS;User:alice"]) else { return };
    kafka.create_topic("nft", 1, 1, &[]).await;
    let scene = Scene::new();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", "10"]).await;
    let secured = |user: &str, mechanism: &str| super::secured::scram_or_plain(&kafka, user, mechanism);
    let config = configure(&scene, &url, "", &["bus"], &secured("bob", "SCRAM-SHA-512"));
    let mut relay = super::chatty(&scene, &config);
    let said = format!("this user may not write to the topic nft at {}", kafka.address("sasl_ssl"));
    relay.logs(&said).await;
    relay.stop().await;
    let config = configure(&scene, &url, "", &["bus"], &secured("alice", "PLAIN"));
    let mut relay = scene.relay(&config);
    kafka.read(&["nft"], |records| distinct(records) == 10);
    relay.stop().await;
}
