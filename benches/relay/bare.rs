//! The loops that the relay is held against: each does one of its jobs and nothing else.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use sha2::Sha256;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::receiver::Receiver;
use crate::relay::SECRET;
use crate::source::message;

/// A runtime with as many threads as the relay's.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Reads `count` messages off a WebSocket; messages a second.
pub(crate) fn read_messages(url: &str, count: u64) -> anyhow::Result<f64> {
    runtime()?.block_on(async {
        let mut request = format!("{url}/nft-tokens").into_client_request()?;
        request.headers_mut().insert("authorization", "emulator-key".parse()?);
        let (mut socket, _) = connect_async(request).await?;
        let (mut read, mut began) = (0, Instant::now());
        while read < count {
            let Some(message) = socket.next().await.transpose()? else { break };
            read += u64::from(message.is_text() && message.len() > 100);
            if read == 1 {
                began = Instant::now();
            }
        }
        Ok(read as f64 / began.elapsed().as_secs_f64())
    })
}

/// Signs and posts for `seconds`, `in_flight` at a time; requests a second, and the time of each, sorted.
pub(crate) fn post(receiver: &Receiver, in_flight: usize, seconds: u64) -> anyhow::Result<(f64, Vec<Duration>)> {
    let runtime = runtime()?;
    let client = Client::builder().no_proxy().tcp_nodelay(true).timeout(Duration::from_secs(15)).build()?;
    let poster = Arc::new(Poster::new(client, receiver)?);
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..in_flight).map(|_| runtime.spawn(Arc::clone(&poster).run(until))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(runtime.block_on(task)??);
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    Ok((rate, times))
}

struct Poster {
    client: Client,
    url: String,
    key: Hmac<Sha256>,
    body: bytes::Bytes,
    number: AtomicU64,
}

impl Poster {
    fn new(client: Client, receiver: &Receiver) -> anyhow::Result<Self> {
        let key = Hmac::new_from_slice(&BASE64.decode(SECRET.trim_start_matches("whsec_").as_bytes())?)?;
        let (url, body, number) = (receiver.url("ok"), message(1).into(), AtomicU64::new(0));
        Ok(Self { client, url, key, body, number })
    }

    async fn run(self: Arc<Self>, until: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            self.post().await?;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    async fn post(&self) -> anyhow::Result<()> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let id = format!("evt_{number:026}");
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string();
        let mut mac = self.key.clone();
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", &self.body] {
            mac.update(part);
        }
        let signature = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
        let hash = format!("{number:064x}");
        let request = self.client.post(&self.url).body(self.body.clone());
        let request = request.header("content-type", "application/json");
        let request = request.header("webhook-id", id).header("webhook-timestamp", seconds);
        let request = request.header("webhook-signature", signature);
        let request = request.header("cspr-relay-network", "testnet").header("cspr-relay-stream", "nft-tokens");
        let request = request.header("cspr-relay-action", "created").header("cspr-relay-contract-package", &hash);
        let request = request.header("cspr-relay-owner", &hash).header("cspr-relay-deploy-hash", &hash);
        let request = request.header("cspr-relay-sequence", format!("{number:012x}-{number:016x}"));
        let request = request.header("cspr-relay-attempt", "1").header("cspr-relay-origin", "stream");
        let request = request.header("cspr-relay-accepted-at", "2026-01-01T00:00:00.000Z");
        let request = request.header("traceparent", format!("00-{number:032x}-{number:016x}-01"));
        request.send().await?.error_for_status()?.bytes().await?;
        Ok(())
    }
}

/// Appends `bytes` and syncs, for `seconds` and up to 2 GB; the time of each round, sorted.
pub(crate) fn append(directory: &Path, bytes: usize, seconds: u64) -> anyhow::Result<Vec<Duration>> {
    let path = directory.join("bare-append");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let block = vec![0x5a; bytes];
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) && times.len() * bytes < 2_000_000_000 {
        let round = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(round.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times)
}
