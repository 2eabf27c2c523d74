//! The service over a socket. Most faults are shown by the source's tests, which outlive them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::emulator::{Emulator, Fault, Pace, Settings, Shape, Trigger, World, play};
use crate::event::Stream;
use crate::lifecycle::Lifecycle;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn emulator(settings: Settings, record: Option<Box<dyn Write + Send>>) -> (Lifecycle, Emulator) {
    let lifecycle = Lifecycle::default();
    let address = "127.0.0.1:0".parse().unwrap();
    let emulator = Emulator::start(&lifecycle, address, settings, record).await.unwrap();
    (lifecycle, emulator)
}

async fn connect(emulator: &Emulator, path: &str, key: &str) -> Result<Client, Error> {
    let mut request = format!("{}{path}", emulator.base_url()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", key.parse().unwrap());
    connect_async(request).await.map(|(client, _)| client)
}

async fn client(emulator: &Emulator, path: &str) -> Client {
    connect(emulator, path, "emulator-key").await.unwrap()
}

async fn text(client: &mut Client) -> Utf8Bytes {
    match client.next().await.unwrap().unwrap() {
        Message::Text(text) => text,
        other => panic!("expected a text, got {other:?}"),
    }
}

fn event(n: u32) -> String {
    format!(r#"{{"data":{{"n":{n}}},"action":"created","extra":null,"timestamp":"2024-02-07T10:21:29.557865809Z"}}"#)
}

#[tokio::test]
async fn strangers_and_unknown_paths_are_refused() {
    let (_lifecycle, emulator) = emulator(Settings::default(), None).await;
    for (path, key, status) in [("/nft-tokens", "wrong", 401), ("/nfts", "emulator-key", 404)] {
        match connect(&emulator, path, key).await.unwrap_err() {
            Error::Http(answer) => assert_eq!(answer.status(), status),
            other => panic!("{other}"),
        }
    }
    assert_eq!(emulator.tally().refused, 2);
}

#[tokio::test]
async fn clients_get_their_stream_and_filter_and_no_other() {
    let (_lifecycle, emulator) = emulator(Settings::default(), None).await;
    let mut all = client(&emulator, "/nft-tokens").await;
    let mut some = client(&emulator, "/nft-tokens?contract_package_hash=ab,cd").await;
    let by_package = |package: &str| format!(r#"{{"data":{{"contract_package_hash":"{package}"}}}}"#);
    emulator.send(Stream::Blocks, by_package("ab")).await;
    for package in ["ef", "cd"] {
        emulator.send(Stream::NftTokens, by_package(package)).await;
    }
    assert_eq!(text(&mut all).await.as_str(), by_package("ef"));
    assert_eq!(text(&mut all).await.as_str(), by_package("cd"));
    assert_eq!(text(&mut some).await.as_str(), by_package("cd"));
    let tally = emulator.until(|tally| tally.repeats == 1).await;
    assert_eq!((tally.published, tally.sent_total()), (3, 2));
}

#[tokio::test]
async fn duplicates_are_counted_and_carry_another_time() {
    let faults = [(Fault::Duplicate, Trigger::Share(1.0))].into();
    let (_lifecycle, emulator) = emulator(Settings { faults, ..Settings::default() }, None).await;
    let mut client = client(&emulator, "/nft-tokens").await;
    emulator.send(Stream::NftTokens, event(1)).await;
    assert_eq!(text(&mut client).await.as_str(), event(1));
    assert_eq!(text(&mut client).await.as_str(), event(1).replace("29.557865809", "30.557865816"));
    let tally = emulator.until(|tally| tally.duplicates_total() == 1).await;
    assert_eq!(tally.sent_total(), 1);
}

#[tokio::test]
async fn a_lost_event_leaves_no_trace_on_the_connection() {
    let (_lifecycle, emulator) = emulator(Settings::default(), None).await;
    let mut client = client(&emulator, "/nft-tokens").await;
    emulator.inject(Fault::Lose);
    for n in 1..=3 {
        emulator.send(Stream::NftTokens, event(n)).await;
    }
    for n in [2, 3] {
        assert_eq!(text(&mut client).await.as_str(), event(n));
    }
    let tally = emulator.until(|tally| tally.sent_total() == 2).await;
    assert_eq!((tally.lost, tally.published, tally.repeats), (1, 3, 0));
}

#[tokio::test]
async fn reordered_events_change_places_and_none_is_lost() {
    let (_lifecycle, emulator) = emulator(Settings::default(), None).await;
    let mut client = client(&emulator, "/nft-tokens").await;
    emulator.inject(Fault::Reorder);
    for n in 1..=3 {
        emulator.send(Stream::NftTokens, event(n)).await;
    }
    for n in [2, 1, 3] {
        assert_eq!(text(&mut client).await.as_str(), event(n));
    }
}

#[tokio::test]
async fn a_reordered_event_without_successor_comes_before_the_next_keep_alive() {
    let settings = Settings { ping_every: Some(Duration::from_millis(20)), ..Settings::default() };
    let (_lifecycle, emulator) = emulator(settings, None).await;
    let mut client = client(&emulator, "/nft-tokens").await;
    emulator.inject(Fault::Reorder);
    emulator.send(Stream::NftTokens, event(1)).await;
    let mut seen = text(&mut client).await;
    while seen.as_str() == "Ping" {
        seen = text(&mut client).await;
    }
    assert_eq!(seen.as_str(), event(1));
    assert_eq!(text(&mut client).await.as_str(), "Ping");
    assert_eq!(emulator.tally().sent_total(), 1);
}

#[tokio::test]
async fn a_stalled_client_misses_events_and_holds_up_nobody() {
    let settings = Settings { history: 4, stall: Duration::from_millis(20), ..Settings::default() };
    let (_lifecycle, emulator) = emulator(settings, None).await;
    let mut stalled = client(&emulator, "/nft-tokens").await;
    emulator.inject(Fault::Stall);
    let mut other = client(&emulator, "/blocks").await;
    emulator.send(Stream::Blocks, event(0)).await;
    assert_eq!(text(&mut other).await.as_str(), event(0));
    for n in 1..=50 {
        emulator.send(Stream::NftTokens, event(n)).await;
    }
    // Whenever the stall ends, later events come and the missed ones stay missed.
    let mut n = 51;
    while !emulator.tally().sent.contains_key(&Stream::NftTokens) {
        emulator.send(Stream::NftTokens, event(n)).await;
        tokio::task::yield_now().await;
        n += 1;
    }
    let first: Value = serde_json::from_str(&text(&mut stalled).await).unwrap();
    assert!(first["data"]["n"].as_u64().unwrap() > 50);
}

#[tokio::test]
async fn a_series_waits_for_a_client_and_reaches_it_whole() {
    #[derive(Clone, Default)]
    struct Record(Arc<Mutex<Vec<u8>>>);
    impl Write for Record {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let record = Record::default();
    let settings = Settings { history: 64, keeps_sent: true, ..Settings::default() };
    let (_lifecycle, emulator) = emulator(settings, Some(Box::new(record.clone()))).await;
    let tokens = |(stream, _): &(Stream, Utf8Bytes)| *stream == Stream::NftTokens;
    let messages: Vec<_> = World::new(1, Shape::default()).filter(tokens).take(1_000).collect();

    let reading = async {
        let mut client = client(&emulator, "/nft-tokens").await;
        for (_, expected) in &messages {
            assert_eq!(&text(&mut client).await, expected);
        }
    };
    let (count, ()) = tokio::join!(play(&emulator, messages.clone(), Pace::default()), reading);
    assert_eq!(count, 1_000);
    assert_eq!(emulator.until(|tally| tally.sent_total() == 1_000).await.published, 1_000);
    assert_eq!(emulator.sent().len(), 1_000);

    let record = String::from_utf8(record.0.lock().unwrap().clone()).unwrap();
    for (n, (line, (_, sent))) in record.lines().zip(&messages).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((line["n"].as_u64(), line["stream"].as_str()), (Some(n as u64), Some("nft-tokens")));
        assert_eq!(line["message"], serde_json::from_str::<Value>(sent).unwrap());
    }
    assert_eq!(record.lines().count(), 1_000);
}
