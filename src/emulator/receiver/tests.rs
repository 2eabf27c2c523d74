//! The receiver, as a plain HTTP client sees it.

use std::sync::mpsc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::clock::Clock;
use crate::signature::sign;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn keys(secret: &str) -> Vec<SigningKey> {
    vec![SigningKey::parse(secret).unwrap()]
}

fn signed_settings() -> Settings {
    Settings { keys: keys(SECRET), keeps: Keeps::Requests { max: 100 }, ..Settings::default() }
}

struct Site {
    _lifecycle: Lifecycle,
    receiver: Receiver,
    client: Client,
}

impl Site {
    async fn new(settings: Settings, observer: Option<Observer>) -> Self {
        let lifecycle = Lifecycle::default();
        let receiver = Receiver::start(&lifecycle, "127.0.0.1:0".parse().unwrap(), settings, observer).await.unwrap();
        let client = Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().unwrap();
        Self { _lifecycle: lifecycle, receiver, client }
    }

    async fn with(behaviour: Behaviour) -> Self {
        Self::new(Settings { behaviour, ..Settings::default() }, None).await
    }

    fn post(&self, id: &str) -> RequestBuilder {
        self.client.post(self.receiver.url()).header("webhook-id", id).body("body")
    }

    /// Signs with `secret` what `body` was, `age` seconds ago.
    fn signed(&self, id: &str, secret: &str, body: &str, age: u64) -> RequestBuilder {
        let timestamp = Clock::default().now().unix_seconds() - age;
        let signature = sign(&keys(secret), id, timestamp, body.as_bytes());
        self.post(id).header("webhook-timestamp", timestamp).header("webhook-signature", signature)
    }

    /// The statuses of posts with these ids, one after another.
    async fn statuses(&self, ids: &[&str]) -> Vec<u16> {
        let mut statuses = Vec::new();
        for id in ids {
            statuses.push(self.post(id).send().await.unwrap().status().as_u16());
        }
        statuses
    }
}

#[tokio::test]
async fn signatures_are_judged_and_the_rest_is_refused() {
    let site = Site::new(signed_settings(), None).await;
    let cases = [
        (site.signed("evt_good", SECRET, "body", 0), 204, Signature::Good),
        (site.signed("evt_tampered", SECRET, "another body", 0), 401, Signature::Bad),
        (site.signed("evt_foreign", OTHER_SECRET, "body", 0), 401, Signature::Bad),
        (site.signed("evt_old", SECRET, "body", 600), 401, Signature::Bad),
        (site.post("evt_partial").header("webhook-signature", "v1,"), 401, Signature::Bad),
        (site.post("evt_unsigned"), 401, Signature::Unsigned),
    ];
    for (request, status, signature) in cases {
        let answer = request.send().await.unwrap();
        let received = site.receiver.received().pop().unwrap();
        assert_eq!((answer.status().as_u16(), received.signature), (status, signature), "{}", received.id);
        assert_eq!(received.status, Some(status));
    }
    let tally = site.receiver.tally();
    assert_eq!((tally.received.total, tally.delivered.total), (6, 1));
    assert_eq!((tally.bad_signatures, tally.unsigned), (4, 1));
    assert_eq!(tally.by_status, [(204, 1), (401, 5)].into());
}

#[tokio::test]
async fn without_keys_everything_is_welcome() {
    let settings = Settings { keeps: Keeps::Requests { max: 2 }, ..Settings::default() };
    let site = Site::new(settings, None).await;
    for request in [site.post("evt_1"), site.signed("evt_2", SECRET, "other", 9999), site.post("evt_3")] {
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
    let received = site.receiver.received();
    let signatures: Vec<_> = received.iter().map(|one| (&*one.id, one.signature)).collect();
    assert_eq!(signatures, [("evt_2", Signature::Unchecked), ("evt_3", Signature::Unsigned)]);
    assert_eq!(site.receiver.tally().forgotten, 1, "only the last two are kept");
}

#[tokio::test]
async fn what_the_headers_say_is_decoded() {
    let site = Site::new(signed_settings(), None).await;
    let request = site
        .signed("evt_1", SECRET, "body", 0)
        .header("cspr-relay-sequence", "018cac1a2b3c-0000000000000005")
        .header("cspr-relay-stream", "nft-tokens")
        .header("cspr-relay-action", "created")
        .header("cspr-relay-contract-package", "5341882b")
        .header("cspr-relay-token-id", "%0D%0Ax:%20%25%F0%9F%9A%80")
        .header("cspr-relay-attempt", "3")
        .header("cspr-relay-replay", "true");
    request.send().await.unwrap();
    let received = site.receiver.received().remove(0);
    let expected = Received {
        id: "evt_1".to_owned(),
        sequence: "018cac1a2b3c-0000000000000005".to_owned(),
        stream: "nft-tokens".to_owned(),
        action: "created".to_owned(),
        contract_package: "5341882b".to_owned(),
        token_id: "\r\nx: %🚀".to_owned(),
        attempt: Some(3),
        is_replay: true,
        form: Form::Raw,
        signature: Signature::Good,
        body: "body".into(),
        status: Some(204),
        received_at: received.received_at,
    };
    assert_eq!(received, expected);
}

#[tokio::test]
async fn the_form_is_told_from_the_headers() {
    let site = Site::new(signed_settings(), None).await;
    for (name, value, form) in [
        ("content-type", "application/json", Form::Raw),
        ("content-type", "application/cloudevents+json; charset=UTF-8", Form::CloudEvents),
        ("Content-Type", "Application/CloudEvents+JSON", Form::CloudEvents),
        ("ce-specversion", "1.0", Form::CloudEventsBinary),
    ] {
        site.signed("evt_1", SECRET, "body", 0).header(name, value).send().await.unwrap();
        assert_eq!(site.receiver.received().pop().unwrap().form, form, "{name}: {value}");
    }
}

#[tokio::test]
async fn repeats_are_told_from_failed_attempts() {
    let site = Site::with(Behaviour::new(Answer::Status(503), When::FirstPerId(2))).await;
    let statuses = site.statuses(&["a", "a", "b", "a", "a", "b", "b"]).await;
    assert_eq!(statuses, [503, 503, 503, 204, 204, 503, 204]);
    let tally = site.receiver.tally();
    assert_eq!(tally.received, Count { total: 7, distinct: 2, repeated: 5 });
    assert_eq!(tally.delivered, Count { total: 3, distinct: 2, repeated: 1 });
}

#[tokio::test]
async fn a_refused_forgery_uses_up_no_attempt() {
    let site = Site::new(signed_settings(), None).await;
    site.receiver.set_behaviour(Behaviour::new(Answer::Status(500), When::FirstPerId(1)));
    assert_eq!(site.post("a").send().await.unwrap().status(), 401);
    for status in [500, 204] {
        assert_eq!(site.signed("a", SECRET, "body", 0).send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn behaviours_change_at_run_time() {
    let site = Site::with(Behaviour::always(Answer::Status(410))).await;
    assert_eq!(site.statuses(&["a", "b"]).await, [410, 410]);
    for _ in 0..2 {
        site.receiver.set_behaviour(Behaviour::new(Answer::Status(500), When::First(1)));
        assert_eq!(site.statuses(&["a", "b"]).await, [500, 204], "counted from when it was set");
    }
    site.receiver.set_behaviour(Behaviour::always(Answer::Throttle { seconds: 7 }));
    let answer = site.post("a").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
}

#[tokio::test]
async fn chances_follow_the_seed() {
    let behaviour = Behaviour::new(Answer::Status(500), When::Share(0.5));
    let ids = ["x"; 64];
    let (first, second) = (Site::with(behaviour).await, Site::with(behaviour).await);
    let statuses = first.statuses(&ids).await;
    assert_eq!(statuses, second.statuses(&ids).await);
    assert!(statuses.contains(&500) && statuses.contains(&204));
}

#[tokio::test]
async fn bad_connections_are_counted_as_unanswered() {
    let site = Site::with(Behaviour::always(Answer::Close)).await;
    assert!(!site.post("a").send().await.unwrap_err().is_timeout());
    site.receiver.set_behaviour(Behaviour::always(Answer::Hang));
    let answer = site.post("b").timeout(Duration::from_millis(50)).send().await;
    assert!(answer.unwrap_err().is_timeout());
    site.receiver.set_behaviour(Behaviour::always(Answer::Drip));
    let answer = site.post("c").timeout(Duration::from_millis(50)).send().await;
    assert!(answer.unwrap_err().is_timeout(), "not even the status comes");
    let tally = site.receiver.tally();
    assert_eq!((tally.received.total, tally.unanswered, tally.delivered.total), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dripping_answer_is_a_byte_a_second() {
    let site = Site::with(Behaviour::always(Answer::Drip)).await;
    let mut socket = TcpStream::connect(site.receiver.address()).await.unwrap();
    socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let start = tokio::time::Instant::now();
    for expected in b"HTTP/1.1 503" {
        let mut bytes = [0; 8];
        assert_eq!(socket.read(&mut bytes).await.unwrap(), 1);
        assert_eq!(bytes[0], *expected);
    }
    assert!(start.elapsed() >= Duration::from_secs(12));
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_a_delayed_answer_got_none() {
    let behaviour = Behaviour { delay: Duration::from_secs(3600), ..Behaviour::default() };
    let site = Site::with(behaviour).await;
    assert!(site.post("a").timeout(Duration::from_millis(50)).send().await.unwrap_err().is_timeout());
    let tally = site.receiver.until(|tally| tally.unanswered == 1).await;
    assert_eq!((tally.received.total, tally.delivered.total), (1, 0));
}

#[tokio::test]
async fn a_delayed_answer_comes_not_before_its_time() {
    let delay = Duration::from_millis(40);
    let site = Site::with(Behaviour { delay, ..Behaviour::default() }).await;
    let start = tokio::time::Instant::now();
    assert_eq!(site.statuses(&["a"]).await, [204]);
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn an_endless_body_goes_on_as_long_as_it_is_read() {
    let site = Site::with(Behaviour::always(Answer::Endless(500))).await;
    let mut answer = site.post("a").send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let mut read = 0;
    while read < 10 << 20 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn what_is_no_webhook_is_refused_and_counted_apart() {
    let site = Site::with(Behaviour::default()).await;
    assert_eq!(site.client.get(site.receiver.url()).send().await.unwrap().status(), 405);
    let long = vec![0; (8 << 20) + 1];
    // The client may see the connection closed while it is still writing.
    let _refused = site.post("a").body(long).send().await;
    assert_eq!(site.statuses(&["b"]).await, [204]);
    let tally = site.receiver.tally();
    assert_eq!((tally.unusable, tally.received.total), (2, 1));
}

#[tokio::test]
async fn the_observer_knows_before_the_client_does() {
    let (sender, seen) = mpsc::sync_channel(8);
    let observer: Observer = Box::new(move |received| sender.try_send(received.clone()).map_err(std::io::Error::other));
    let site = Site::new(Settings::default(), Some(observer)).await;
    assert_eq!(site.statuses(&["a"]).await, [204]);
    assert_eq!(seen.try_recv().unwrap().id, "a");
    drop(seen);
    assert_eq!(site.statuses(&["a"]).await, [500], "what cannot be recorded is not acknowledged");
    assert_eq!(site.receiver.tally().by_status, [(204, 1), (500, 1)].into());
}

#[tokio::test]
async fn a_measurement_counts_totals_only() {
    let site = Site::new(Settings { keeps: Keeps::Counts, ..Settings::default() }, None).await;
    site.statuses(&["a", "a"]).await;
    let total = Count { total: 2, distinct: 0, repeated: 0 };
    let tally = site.receiver.tally();
    assert_eq!((tally.received, tally.delivered), (total, total));
}
