//! What every sink has to stand.

use super::Destination;
use super::judge::Allowed;
use super::trial::{Trial, UNDER_WAY};
use crate::relay::message;

const NO_MORE: Allowed = Allowed { repeats: 0, dead: 0 };

pub(super) async fn everything_arrives_once_and_in_order<D: Destination>(name: &str) {
    let Some(trial) = Trial::<D>::new(name, &["--rate", "0", "--count", "400"]).await else { return };
    let relay = trial.relay().await;
    trial.end(relay, 400, NO_MORE).await;
}

pub(super) async fn awkward_events_arrive_as_they_are<D: Destination>(name: &str) {
    let mebibyte = "x".repeat(1 << 20);
    let tokens = [" ", "Дім 119", "a\\r\\nb: %\\u0000", &"long".repeat(150), "last"];
    let mut messages: Vec<String> = (0..).zip(tokens).map(|(n, token)| message(token, n)).collect();
    messages.push(message("large", 9).replace("\"n\":9", &format!("\"n\":9,\"image\":\"{mebibyte}\"")));
    let Some(mut trial) = Trial::<D>::of_messages(name, &messages, None).await else { return };
    let relay = trial.relay().await;
    trial.received(messages.len()).await;
    let receipts = trial.destination.received().await;
    let token =
        |n: u64| receipts.iter().find(|one| one.number() == n).unwrap().header("cspr-relay-token-id").to_owned();
    assert_eq!([1, 2, 3, 4, 5].map(token), ["%20", "%D0%94%D1%96%D0%BC%20119", "a%0D%0Ab:%20%25%00", "", "last"]);
    let largest = receipts.iter().find(|one| one.number() == 6).unwrap();
    assert_eq!(String::from_utf8_lossy(&largest.body), *messages.last().unwrap(), "byte for byte");
    trial.end(relay, messages.len() as u64, NO_MORE).await;
}

pub(super) async fn an_event_that_makes_no_key_is_a_dead_letter_alone<D: Destination>(name: &str) {
    let mut messages: Vec<String> = (0..10).map(|n| message("119", n)).collect();
    messages[4] = messages[4].replace(r#""deploy_hash""#, r#""no_deploy_hash""#);
    let Some(trial) = Trial::<D>::of_messages(name, &messages, Some("{{ deploy_hash }}")).await else { return };
    let relay = trial.relay().await;
    relay.logs("the event has no `deploy_hash`, which a template of this sink names").await;
    trial.end(relay, 10, Allowed { repeats: 0, dead: 1 }).await;
}

pub(super) async fn one_that_is_away_at_the_start_is_waited_for<D: Destination>(name: &str) {
    let Some(mut trial) = Trial::<D>::new(name, &["--rate", "0", "--count", "200"]).await else { return };
    trial.destination.kill().await;
    let relay = trial.relay().await;
    relay.logs("cause=\"connect\"").await;
    trial.destination.restart().await;
    trial.end(relay, 200, NO_MORE).await;
}

pub(super) async fn one_that_is_stopped_gets_everything_when_it_goes_on<D: Destination>(name: &str) {
    let Some(mut trial) = Trial::<D>::new(name, &["--rate", "500", "--count", "1000"]).await else { return };
    let relay = trial.relay().await;
    trial.received(100).await;
    trial.destination.pause().await;
    relay.logs("cause=\"timeout\"").await;
    relay.logs("its breaker is open").await;
    trial.destination.resume().await;
    // Those under way when it stopped, and the probes until it went on.
    trial.end(relay, 1000, Allowed { repeats: 2 * UNDER_WAY, dead: 0 }).await;
}

pub(super) async fn nothing_is_settled_before_it_is_taken<D: Destination>(name: &str) {
    let Some(mut trial) = Trial::<D>::new(name, &["--rate", "0", "--count", "200"]).await else { return };
    trial.destination.refuse().await;
    let mut relay = trial.relay().await;
    trial.accepted(200).await;
    relay.logs("an attempt failed").await;
    relay.kill().await;
    assert!(trial.destination.received().await.is_empty(), "it took nothing");
    trial.destination.accept().await;
    let relay = trial.relay().await;
    trial.end(relay, 200, NO_MORE).await;
}

pub(super) async fn what_is_too_large_is_a_dead_letter_and_holds_up_nothing<D: Destination>(name: &str) {
    let padding = "x".repeat(D::BYTES_MAX);
    let mut messages: Vec<String> = (0..20).map(|n| message(&format!("token-{}", n % 4), n)).collect();
    messages[3] = messages[3].replace("\"n\":3", &format!("\"n\":3,\"image\":\"{padding}\""));
    let Some(trial) = Trial::<D>::of_messages(name, &messages, None).await else { return };
    let relay = trial.relay().await;
    relay.logs("a delivery was given up: it is a dead letter now").await;
    trial.end(relay, 20, Allowed { repeats: 0, dead: 1 }).await;
}

pub(super) async fn a_wrong_secret_is_told_and_a_right_one_is_taken_up<D: Destination>(name: &str) {
    let Some(mut trial) = Trial::<D>::new(name, &["--rate", "0", "--count", "50"]).await else { return };
    let [right, wrong] = trial.destination.secrets();
    trial.give(&wrong);
    let relay = trial.relay().await;
    relay.logs("cause=\"denied\"").await;
    assert!(trial.destination.received().await.is_empty(), "it took nothing");
    assert!(![right.as_str(), wrong.as_str()].iter().any(|secret| relay.log().contains(secret)), "{}", relay.log());
    trial.give(&right);
    trial.end(relay, 50, NO_MORE).await;
}

pub(super) async fn a_stranger_s_certificate_is_refused<D: Destination>(name: &str) {
    let Some(mut trial) = Trial::<D>::with_tls(name, &["--rate", "0", "--count", "50"]).await else { return };
    let [right, stranger] = trial.destination.authorities();
    trial.trust(&stranger);
    let relay = trial.relay().await;
    relay.logs("cause=\"tls\"").await;
    assert!(trial.destination.received().await.is_empty(), "it got nothing");
    trial.trust(&right);
    trial.end(relay, 50, NO_MORE).await;
}

pub(super) async fn a_polite_stop_loses_and_repeats_nothing<D: Destination>(name: &str) {
    let Some(mut trial) = Trial::<D>::new(name, &["--rate", "500", "--count", "1000"]).await else { return };
    for count in [100, 300, 500] {
        let mut relay = trial.relay().await;
        trial.received(count).await;
        relay.stop().await;
    }
    let relay = trial.relay().await;
    trial.end(relay, 900, NO_MORE).await;
}
