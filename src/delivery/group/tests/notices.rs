//! What a sink's loop says of itself, and what it never says: what operational events bring about.

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::clock::Timestamp;
use crate::event::{Network, Stream, decode};
use crate::notices::PAUSE;
use crate::store::Candidate;

fn refuses() -> Act {
    let failure = Failure { cause: Cause::Refused, status: Some(422), detail: "no".to_owned() };
    Act::End(Outcome::Reject { failure })
}

impl Scene {
    /// Has operational events accepted.
    async fn accept_operational(&self, count: u64) {
        let newest = self.fixture.metrics.intake.accepted.value();
        let events = (0..count).map(|number| {
            let body = format!(r#"{{"action":"sink.paused","data":{{"sink":"b","number":{number}}}}}"#);
            let decoded = decode(Network::Testnet, Stream::Relay, body.as_bytes()).unwrap();
            Candidate {
                stream: Stream::Relay,
                identity: decoded.identity,
                facts: decoded.facts,
                body: Bytes::from(body),
                ..candidate(&self.fixture.store, 0, 0, &["a"])
            }
        });
        self.fixture.store.accept(events.collect()).await.unwrap();
        self.until("accepted", |scene| scene.fixture.metrics.intake.accepted.value() >= newest + count).await;
    }

    /// What is told when the pause after what was told before is over.
    async fn told(&self) -> Vec<Value> {
        tokio::time::advance(PAUSE).await;
        let messages = self.notices.due(Instant::now(), Timestamp(1));
        messages.iter().map(|message| serde_json::from_slice(message).unwrap()).collect()
    }

    async fn actions(&self) -> Vec<String> {
        self.told().await.iter().map(|message| message["action"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_told_and_that_of_an_operational_event_is_not() {
    let scene = Scene::open(config(), |_, _| refuses());
    scene.accept_operational(3).await;
    scene.until_settled(3).await;
    assert_eq!((scene.ends(), scene.told().await), ([0, 3, 0], vec![]));
    scene.accept(&[1]).await;
    scene.until_settled(4).await;
    let told = scene.told().await;
    assert_eq!((told.len(), &told[0]["data"]["count"], &told[0]["data"]["first_sequence"]), (1, &1.into(), &4.into()));
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_operational_events_alone_have_opened_is_not_told() {
    let retry = RetryConfig { schedule: Schedule::Listed(vec![SECOND * 5; 1000]), jitter: 0.0 };
    let scene = Scene::open(SinkConfig { concurrency: 5, retry, ..config() }, |_, _| fails(Cause::Connect));
    scene.accept_operational(5).await;
    scene.until("open", |scene| scene.metrics.breaker_open.value() == 1).await;
    assert_eq!(scene.actions().await, [""; 0]);
    scene.plan(|_, _| delivered());
    scene.pass(PAUSE).await;
    scene.pass(SECOND * 5).await;
    scene.until_settled(5).await;
    assert_eq!(scene.actions().await, [""; 0], "and so it does not recover");
    scene.plan(|_, _| fails(Cause::Connect));
    scene.accept(&[1, 2, 3, 4, 5]).await;
    scene.until("open", |scene| scene.metrics.breaker_open.value() == 1).await;
    assert_eq!(scene.actions().await, ["sink.paused"]);
    scene.plan(|_, _| delivered());
    scene.pass(PAUSE).await;
    scene.pass(SECOND * 5).await;
    scene.until_settled(10).await;
    assert_eq!(scene.actions().await, ["sink.recovered"]);
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_gone_is_told_unless_an_operational_event_learnt_it() {
    let scene = Scene::open(config(), |_, _| fails(Cause::Gone));
    scene.accept_operational(1).await;
    scene.until("paused", |scene| scene.metrics.paused.value() == 1).await;
    assert_eq!(scene.actions().await, [""; 0]);
    let paused = Paused { since: Timestamp(1), by: PausedBy::Operator, reason: "the move".to_owned() };
    scene.set_paused(Some(paused)).await;
    assert_eq!(scene.actions().await, ["sink.paused"], "an operator is another matter");
    scene.plan(|_, _| delivered());
    let scene = scene.restart().await;
    assert_eq!(scene.actions().await, [""; 0]);
    scene.set_paused(None).await;
    assert_eq!(scene.actions().await, ["sink.recovered"], "though another run told of the pause");
    scene.until_settled(1).await;
    scene.plan(|_, _| fails(Cause::Gone));
    scene.accept(&[1]).await;
    scene.until("paused", |scene| scene.metrics.paused.value() == 1).await;
    let told = scene.told().await;
    assert_eq!((&told[0]["action"], &told[0]["data"]["by"]), (&"sink.paused".into(), &"destination".into()));
    scene.ended().await;
}

#[tokio::test(start_paused = true)]
async fn expiry_is_told_unless_only_operational_events_expire() {
    let one = candidate_bytes();
    let backlog = BacklogConfig { max_bytes: one * 3, on_full: OnFull::Expire };
    let scene = Scene::open(SinkConfig { concurrency: 1, backlog, ..config() }, |_, _| Act::Wait);
    scene.accept_operational(20).await;
    scene.until("expired", |scene| scene.metrics.expired.value() > 0).await;
    scene.settled().await;
    let expired = scene.metrics.expired.value();
    assert_eq!(scene.actions().await, [""; 0]);
    scene.accept(&[1, 2, 3, 4, 5, 6, 7, 8]).await;
    scene.until("expired", |scene| scene.metrics.expired.value() > expired + 3).await;
    scene.settled().await;
    let told = scene.told().await;
    assert_eq!((told.len(), &told[0]["action"]), (1, &"sink.expiring".into()));
    scene.sink.gate.add_permits(100);
    scene.ended().await;
}

/// Of an event of the tests, roughly.
fn candidate_bytes() -> u64 {
    110
}
