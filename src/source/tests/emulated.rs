//! Whole links against the emulator on the loopback, with short delays.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

use crate::backoff::Backoff;
use crate::config::{PushDown, RestConfig, Secret, SourceConfig, Subscription};
use crate::emulator::{BadKey, Closing, Emulator, Fault, Refusal, Settings};
use crate::event::{Network, Stream};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::source::link::Common;
use crate::source::retry::Pace;
use crate::source::{Message, Source};

const EVENT: &str = r#"{"data":{"contract_package_hash":"ab","token_id":"1"},"action":"created","extra":null}"#;

/// A relay's source connected to an emulator.
struct Rig {
    emulator: Emulator,
    _service: Lifecycle,
    lifecycle: Lifecycle,
    messages: mpsc::Receiver<Message>,
    metrics: Arc<Metrics>,
    source: Source,
}

fn pace() -> Pace {
    let short = Backoff { first: Duration::from_millis(1), cap: Duration::from_millis(5) };
    let slow_floor = Duration::from_millis(5);
    let spacing = Duration::from_millis(1);
    Pace { backoff: short, slow: short, slow_floor, spacing, ..Pace::default() }
}

fn config(emulator: &Emulator) -> SourceConfig {
    SourceConfig {
        network: Network::Testnet,
        url: Url::parse(&emulator.base_url()).unwrap(),
        api_key: Secret::literal("emulator-key"),
        persistent_session: None,
        silence_timeout: Duration::from_secs(60),
        push_down: PushDown::Packages,
        ca_file: None,
        rest: RestConfig {
            url: Url::parse(&emulator.rest_url()).unwrap(),
            requests_per_minute: 60,
            requests_per_day: 5_000,
        },
    }
}

async fn rig(settings: Settings, adjust: impl FnOnce(&mut SourceConfig)) -> Rig {
    let (service, lifecycle) = (Lifecycle::default(), Lifecycle::default());
    let emulator = Emulator::start(&service, "127.0.0.1:0".parse().unwrap(), settings, None).await.unwrap();
    let mut config = config(&emulator);
    adjust(&mut config);
    let (sender, messages) = mpsc::channel(64);
    let metrics = Metrics::new([]);
    let common = Common::build(config, pace(), sender, Arc::clone(&metrics), Notices::default()).unwrap();
    let packages = vec!["AB".to_owned(), "cd".to_owned()];
    let subscription = Subscription { stream: Stream::NftTokens, contract_packages: packages, owners: vec![] };
    let source = Source::connect_with(common, &lifecycle, vec![subscription]).unwrap();
    Rig { emulator, _service: service, lifecycle, messages, metrics, source }
}

impl Rig {
    async fn connected(&self, times: u64) {
        self.emulator.until(|tally| tally.connections >= times && tally.connected > 0).await;
    }

    async fn send(&self, text: &str) {
        self.emulator.send(Stream::NftTokens, text).await;
    }

    async fn expect(&mut self, text: &str) {
        let message = self.messages.recv().await.unwrap();
        assert_eq!((message.stream, &message.bytes[..]), (Stream::NftTokens, text.as_bytes()));
        assert_eq!(message.unreadable, None);
    }

    /// Shows that the link is up and passes events.
    async fn expect_recovery(&mut self) {
        self.connected(2).await;
        self.send(EVENT).await;
        self.expect(EVENT).await;
    }
}

#[tokio::test]
async fn events_arrive_as_sent_and_everything_else_is_skipped() {
    let settings = Settings { ping_every: Some(Duration::from_millis(5)), ..Settings::default() };
    let mut rig = rig(settings, |_| {}).await;
    rig.connected(1).await;
    for _ in 0..4 {
        rig.emulator.inject(Fault::Garbage);
    }
    rig.emulator.until(|tally| tally.pings >= 2 && tally.nonsense == 4).await;
    let padded = format!("  {EVENT}\n");
    for text in [EVENT, EVENT, padded.as_str(), "{\"data\":{\"contract_package_hash\":\"cd\",\"t\":\"крила\"}}"] {
        rig.send(text).await;
        rig.expect(text).await;
    }
    let counts = &rig.metrics.source;
    assert_eq!((counts.messages.value(), counts.ignored_texts.value(), counts.connected()), (4, 4, 1));
    assert!(counts.pings.value() >= 2);
}

#[tokio::test]
async fn the_upgrade_asks_for_stream_and_filter_with_the_raw_key() {
    let rig = rig(Settings::default(), |config| config.persistent_session = Some("prod".to_owned())).await;
    rig.connected(1).await;
    let asked = rig.emulator.asked().remove(0);
    assert_eq!(asked.address, "/nft-tokens?contract_package_hash=ab,cd");
    assert_eq!(asked.headers["authorization"], "emulator-key");
    assert!(asked.headers["persistent-session"].starts_with("prod-nft-tokens-"));
    assert!(!asked.headers.contains_key("origin"));
}

#[tokio::test]
async fn silence_leads_to_a_new_connection() {
    let settings = Settings { ping_every: None, ..Settings::default() };
    let rig = rig(settings, |config| config.silence_timeout = Duration::from_millis(20)).await;
    rig.connected(3).await;
    assert!(rig.metrics.source.disconnects.value() >= 2);
}

#[tokio::test]
async fn refusals_and_closes_are_outlived() {
    let mut rig = rig(Settings::default(), |_| {}).await;
    rig.connected(1).await;
    for status in [503, 500, 404, 400, 429, 403] {
        rig.emulator.refuse_next(1, &Refusal::text(status, "no"));
    }
    rig.emulator.inject(Fault::Drop);
    rig.expect_recovery().await;
    assert_eq!(rig.emulator.tally().refused, 6);
    assert_eq!(rig.metrics.source.disconnects.value(), 7);
}

#[tokio::test]
async fn a_session_brings_what_was_published_while_we_were_away() {
    let settings = Settings { closing: Closing::Eof, ..Settings::default() };
    let mut rig = rig(settings, |config| config.persistent_session = Some("prod".to_owned())).await;
    rig.connected(1).await;
    rig.emulator.refuse_next(3, &Refusal::text(503, "deployment"));
    rig.emulator.inject(Fault::Drop);
    rig.emulator.until(|tally| tally.connected == 0).await;
    rig.send(EVENT).await;
    rig.expect(EVENT).await;
}

#[tokio::test]
async fn fragments_are_put_together() {
    let settings = Settings { fragment_bytes: Some(7), ..Settings::default() };
    let mut rig = rig(settings, |_| {}).await;
    rig.connected(1).await;
    rig.send(EVENT).await;
    rig.expect(EVENT).await;
}

#[tokio::test]
async fn a_giant_message_leaves_a_note_and_a_new_connection() {
    // One frame over the frame limit; fragments that add up to more than the message limit.
    for fragment_bytes in [None, Some(512 << 10)] {
        let settings = Settings { fragment_bytes, ..Settings::default() };
        let mut rig = rig(settings, |_| {}).await;
        rig.connected(1).await;
        match fragment_bytes {
            None => rig.emulator.inject(Fault::Giant),
            Some(_) => {
                rig.send(&format!(r#"{{"data":{{"contract_package_hash":"ab","p":"{}"}}}}"#, "x".repeat(5 << 20))).await
            }
        }
        let note = rig.messages.recv().await.unwrap();
        assert!(note.bytes.is_empty());
        assert!(note.unreadable.unwrap().contains("too large"));
        rig.expect_recovery().await;
        assert_eq!(rig.metrics.source.too_large.value(), 1);
    }
}

#[tokio::test]
async fn invalid_utf8_fails_the_connection_only() {
    let mut rig = rig(Settings::default(), |_| {}).await;
    rig.connected(1).await;
    rig.emulator.inject(Fault::InvalidUtf8);
    rig.expect_recovery().await;
    assert_eq!(rig.metrics.source.protocol_errors.value(), 1);
}

#[tokio::test]
async fn the_drain_says_goodbye_and_hands_over_what_was_sent() {
    let mut rig = rig(Settings::default(), |_| {}).await;
    rig.connected(1).await;
    for _ in 0..32 {
        rig.send(EVENT).await;
    }
    rig.emulator.until(|tally| tally.sent_total() == 32).await;
    rig.lifecycle.drain().cancel();
    rig.source.ended().await;
    let mut count = 0;
    while rig.messages.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 32);
    assert_eq!(rig.lifecycle.failure(), None);
    assert_eq!(rig.emulator.until(|tally| tally.connected == 0).await.goodbyes, [1005]);
    assert_eq!(rig.metrics.source.connected(), 0);
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Waits for `text` while the other tasks go on.
    async fn contains(&self, text: &str) -> String {
        loop {
            let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            if log.contains(text) {
                return log;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_refused_key_is_explained_and_not_printed() {
    let (log, _guard) = logged();
    let settings = Settings { bad_key: BadKey::Echo, ..Settings::default() };
    let _rig = rig(settings, |config| config.api_key = Secret::literal("a-wrong-key")).await;
    let log = log.contains("ERROR").await;
    assert!(log.contains("check source.api_key"), "{log}");
    assert!(!log.contains("a-wrong-key"), "{log}");
}

#[tokio::test]
async fn retry_after_is_taken_from_the_answer() {
    let (log, _guard) = logged();
    let settings = Settings::default();
    let refusal = Refusal { retry_after: Some("7".to_owned()), ..Refusal::text(429, "access limited") };
    let _rig = rig(Settings { refuse: Some((1.0, refusal)), ..settings }, |_| {}).await;
    let log = log.contains("come less often").await;
    assert!(log.contains("retry_after=Some(7s)"), "{log}");
}
