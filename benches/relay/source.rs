//! Where messages come from: the emulator as a process of its own, or, where each frame's time counts, a server here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::SinkExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::BODY_BYTES;
use crate::process::Process;

/// An emulator that publishes messages made beforehand, as soon as and as fast as a client reads.
pub(crate) struct Emulator {
    pub(crate) url: String,
    _process: Process,
}

impl Emulator {
    pub(crate) fn start(directory: &Path, count: u64, seed: u64) -> anyhow::Result<Self> {
        let arguments = format!(
            "emulate --listen 127.0.0.1:0 --rate 0 --pregenerate --stream nft-tokens --count {count} --seed {seed} \
             --body-bytes {BODY_BYTES}"
        );
        let arguments: Vec<String> = arguments.split_ascii_whitespace().map(str::to_owned).collect();
        let mut process = Process::start(directory, "emulator", &arguments)?;
        let output = process.wait_for("api_key: ", Duration::from_secs(120))?;
        let url = output.lines().find_map(|line| line.trim().strip_prefix("url: "));
        Ok(Self { url: url.context("the emulator named no address")?.to_owned(), _process: process })
    }
}

/// Events that come at a pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Events a second.
    pub(crate) rate: f64,
    pub(crate) seconds: u64,
    /// The number of the first one: a store takes each number once.
    pub(crate) first: u64,
}

/// Sends numbered events at a pace to whoever connects, and remembers when each was sent. Ends with the runtime.
pub(crate) struct Paced {
    pub(crate) address: SocketAddr,
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Paced {
    /// One connection and `count` events, after a pause in which the relay settles down.
    pub(crate) fn start(runtime: &tokio::runtime::Runtime, pace: Pace, count: u64) -> anyhow::Result<Self> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let sent = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(publish(listener, pace, count, Arc::clone(&sent)));
        Ok(Self { address, sent })
    }

    pub(crate) fn sent(&self) -> Vec<Instant> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn publish(listener: TcpListener, pace: Pace, count: u64, sent: Arc<Mutex<Vec<Instant>>>) -> anyhow::Result<()> {
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    let mut socket = tokio_tungstenite::accept_async(socket).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / pace.rate));
    for number in pace.first..pace.first + count {
        let message = Message::text(message(number));
        ticks.tick().await;
        sent.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        socket.send(message).await?;
    }
    // The connection stays open until the runtime ends.
    std::future::pending().await
}

/// An event whose token is `number`.
pub(crate) fn message(number: u64) -> String {
    event(&format!("{:064x}", 7), &format!("{:064x}", 9), &number.to_string())
}

/// An event as long as all of them.
pub(crate) fn event(package: &str, owner: &str, token: &str) -> String {
    let head = format!(
        r#"{{"data":{{"contract_package_hash":"{package}","token_id":"{token}","owner_hash":"{owner}","owner_type":0,"is_burned":false,"token_standard_id":2,"offchain_metadata":null,"onchain_metadata":{{"name":"#,
    );
    let tail = format!(
        r#"}},"timestamp":"2026-01-01T00:00:00Z","tracking_id":1}},"action":"created","extra":{{"deploy_hash":"{token:0>64}"}},"timestamp":"2026-01-01T00:00:00.000Z"}}"#
    );
    let padding = BODY_BYTES.saturating_sub(head.len() + tail.len() + 2);
    format!(r#"{head}"{:x<padding$}"{tail}"#, "")
}
