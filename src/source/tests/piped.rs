//! One connection over a pipe in memory, in paused time, with the server played by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use crate::event::Stream;
use crate::metrics::Metrics;
use crate::source::Message;
use crate::source::connection::{Connection, End, Outlet, websocket_config};

const SILENCE: Duration = Duration::from_secs(60);
const CLOSE: Duration = Duration::from_secs(2);

struct Pipe {
    connection: Connection<DuplexStream>,
    server: WebSocketStream<DuplexStream>,
    messages: mpsc::Receiver<Message>,
    metrics: Arc<Metrics>,
}

async fn pipe(capacity: usize) -> Pipe {
    let (near, far) = tokio::io::duplex(64 << 10);
    let client = WebSocketStream::from_raw_socket(near, Role::Client, Some(websocket_config())).await;
    let server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let (sender, messages) = mpsc::channel(capacity);
    let metrics = Metrics::new([]);
    let row = metrics.source.add(Stream::NftTokens.as_str(), String::new());
    let outlet = Outlet { stream: Stream::NftTokens, messages: sender, metrics: Arc::clone(&metrics), row };
    Pipe { connection: Connection::new(client, outlet), server, messages, metrics }
}

fn event(n: u32) -> Frame {
    Frame::text(format!(r#"{{"data":{{"n":{n}}}}}"#))
}

async fn expect_pong(server: &mut WebSocketStream<DuplexStream>, payload: &'static [u8]) {
    server.send(Frame::Ping(Bytes::from_static(payload))).await.unwrap();
    let answer = timeout(SILENCE, server.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer, Frame::Pong(Bytes::from_static(payload)));
}

#[tokio::test(start_paused = true)]
async fn a_link_without_any_frame_counts_as_dead() {
    let mut pipe = pipe(8).await;
    let began = Instant::now();
    let script = async {
        for frame in [Frame::Ping(Bytes::new()), Frame::text("Ping"), event(1), Frame::text("hello")] {
            sleep(Duration::from_secs(59)).await;
            pipe.server.send(frame).await.unwrap();
        }
    };
    let drain = CancellationToken::new();
    let (end, ()) = tokio::join!(pipe.connection.read(SILENCE, &drain), script);
    assert!(matches!(end, End::Silent(_)), "{end}");
    assert_eq!(began.elapsed().as_secs(), 4 * 59 + 60);
    let counts = &pipe.metrics.source;
    assert_eq!((counts.messages.value(), counts.pings.value(), counts.ignored_texts.value()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_nobody_takes_messages() {
    let mut pipe = pipe(1).await;
    let drain = CancellationToken::new();
    let script = async {
        expect_pong(&mut pipe.server, b"before").await;
        for n in 1..=2 {
            pipe.server.send(event(n)).await.unwrap();
        }
        // The first event fills the channel, the second is held.
        expect_pong(&mut pipe.server, b"full").await;
        // From the third on the socket is left alone, and our own silence is not the server's.
        for n in 3..=9 {
            pipe.server.send(event(n)).await.unwrap();
        }
        sleep(10 * SILENCE).await;
        for n in 1..=9 {
            let message = pipe.messages.recv().await.unwrap();
            assert_eq!(message.bytes, event(n).into_data());
        }
        expect_pong(&mut pipe.server, b"after").await;
        pipe.server.close(None).await.unwrap();
    };
    let (end, ()) = tokio::join!(pipe.connection.read(SILENCE, &drain), script);
    assert!(matches!(end, End::Closed(None)), "{end}");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_the_end_is_handed_over() {
    let mut pipe = pipe(1).await;
    let drain = CancellationToken::new();
    let script = async {
        for n in 1..=2 {
            pipe.server.send(event(n)).await.unwrap();
        }
        drop(pipe.server);
        sleep(Duration::from_secs(1)).await;
        for n in 1..=2 {
            assert_eq!(pipe.messages.recv().await.unwrap().bytes, event(n).into_data());
        }
    };
    let (end, ()) = tokio::join!(pipe.connection.read(SILENCE, &drain), script);
    assert!(matches!(end, End::Failed(_)), "{end}");
}

#[tokio::test(start_paused = true)]
async fn the_goodbye_hands_over_what_was_sent() {
    let mut pipe = pipe(8).await;
    pipe.server.send(event(1)).await.unwrap();
    let began = Instant::now();
    // Reading our goodbye queues the server's, reading on sends it.
    let answering = pipe.server.by_ref().count();
    let ((), frames) = tokio::join!(pipe.connection.close(CLOSE), answering);
    assert_eq!((frames, began.elapsed()), (1, Duration::ZERO));
    assert_eq!(pipe.messages.recv().await.unwrap().bytes, event(1).into_data());
}

#[tokio::test(start_paused = true)]
async fn the_goodbye_does_not_wait_for_ever() {
    let mut pipe = pipe(8).await;
    pipe.server.send(event(1)).await.unwrap();
    let began = Instant::now();
    pipe.connection.close(CLOSE).await;
    assert_eq!(began.elapsed(), CLOSE);
    assert_eq!(pipe.messages.recv().await.unwrap().bytes, event(1).into_data());
}
