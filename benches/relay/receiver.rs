//! A consumer that does next to nothing, so that it is never what limits: it reads requests and answers them.
//!
//! `/ok` is answered 204, `/take` too, `/refuse` 422, `/fail` 500, `/hang` never. One thread; stops with the process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    received: AtomicU64,
    taken: AtomicU64,
    /// The token and the time of each request to `/ok`, as long as somebody wants them.
    arrivals: Mutex<Option<Vec<(u64, Instant)>>>,
}

impl Receiver {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, started) = mpsc::channel();
        let serving = Arc::clone(&shared);
        std::thread::Builder::new().name("receiver".to_owned()).spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(listen(sender, serving))
        })?;
        let address = started.recv().context("starting the receiver")?;
        Ok(Self { address, shared })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Requests to `/ok` so far.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Requests to `/take` so far.
    pub(crate) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Waits until `count` requests to `/ok` have come in all.
    pub(crate) fn wait_for(&self, count: u64, bound: Duration) -> anyhow::Result<Instant> {
        let began = Instant::now();
        while self.received() < count {
            ensure!(began.elapsed() < bound, "only {} of {count} requests came in {bound:?}", self.received());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Instant::now())
    }

    pub(crate) fn record_arrivals(&self) {
        *self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    pub(crate) fn take_arrivals(&self) -> Vec<(u64, Instant)> {
        self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

async fn listen(address: mpsc::Sender<SocketAddr>, shared: Arc<Shared>) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    address.send(listener.local_addr()?)?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(serve(socket, Arc::clone(&shared)));
    }
}

async fn serve(mut socket: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        let Some(length) = request_length(&buffer) else {
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let answer: &[u8] = match buffer.get(5..).unwrap_or_default() {
            [b'/', b'o', ..] | [b'o', ..] => {
                shared.note(&buffer);
                b"HTTP/1.1 204 No Content\r\n\r\n"
            }
            [b'/', b't', ..] | [b't', ..] => {
                shared.taken.fetch_add(1, Ordering::Relaxed);
                b"HTTP/1.1 204 No Content\r\n\r\n"
            }
            [b'/', b'r', ..] | [b'r', ..] => b"HTTP/1.1 422 Unprocessable Content\r\ncontent-length: 0\r\n\r\n",
            [b'/', b'f', ..] | [b'f', ..] => b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
            _ => std::future::pending().await,
        };
        buffer.advance(length);
        socket.write_all(answer).await?;
    }
}

impl Shared {
    fn note(&self, request: &[u8]) {
        self.received.fetch_add(1, Ordering::Relaxed);
        if let Some(arrivals) = &mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner) {
            let token = header(request, b"\r\ncspr-relay-token-id: ");
            arrivals.extend(token.map(|token| (token, Instant::now())));
        }
    }
}

/// The length of the first request in `buffer`, if it is there in whole.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let body = header(buffer.get(..head)?, b"\r\ncontent-length: ").unwrap_or(0);
    let length = head + usize::try_from(body).ok()?;
    (buffer.len() >= length).then_some(length)
}

/// The number in a header.
fn header(request: &[u8], name: &[u8]) -> Option<u64> {
    let at = find(request, name)? + name.len();
    let digits = request.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
