//! Servers that take requests apart by hand, so that what is checked is what was on the wire.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The number of its connection, from 0.
    pub(super) connection: usize,
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What a server does with a request.
#[derive(Clone)]
pub(super) enum Reply {
    /// Writes it, and keeps the connection.
    Whole(String),
    /// Writes the start, then one piece after the other, for ever.
    Endless { start: String, piece: Vec<u8>, every: Duration },
    /// Closes the connection without a word.
    Close,
    /// Keeps the connection and says nothing.
    Nothing,
}

pub(super) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    Reply::Whole(format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    _connections: JoinSet<()>,
}

struct Shared {
    /// For the first request, the second, …; the last one for all further ones.
    replies: Vec<Reply>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

impl Server {
    pub(super) async fn start(replies: &[Reply]) -> Self {
        Self::listen(replies, None).await
    }

    pub(super) async fn start_tls(reply: Reply, tls: ServerConfig) -> Self {
        Self::listen(&[reply], Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn listen(replies: &[Reply], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { replies: replies.to_vec(), seen: Mutex::default(), connections: AtomicUsize::new(0) };
        let shared = Arc::new(shared);
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, shared, _connections: connections }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen().pop().unwrap()
    }

    pub(super) fn connection_count(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        open.spawn(async move {
            // The client may break off whenever it likes.
            let _end = match tls {
                Some(tls) => converse_tls(&tls, socket, number, &shared).await,
                None => converse(socket, number, &shared).await,
            };
        });
    }
}

async fn converse_tls(tls: &TlsAcceptor, socket: TcpStream, number: usize, shared: &Shared) -> io::Result<()> {
    match tls.accept(socket).into_fallible().await {
        Ok(stream) => converse(stream, number, shared).await,
        // Reads on, so that the alert is not lost to a reset.
        Err((_, mut socket)) => tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.map(drop),
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, number: usize, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = request(&mut stream, number).await? {
        let reply = shared.take(seen);
        match reply {
            Reply::Whole(text) => stream.write_all(text.as_bytes()).await?,
            Reply::Endless { start, piece, every } => {
                stream.write_all(start.as_bytes()).await?;
                loop {
                    stream.write_all(&piece).await?;
                    stream.flush().await?;
                    tokio::time::sleep(every).await;
                }
            }
            Reply::Close => return Ok(()),
            Reply::Nothing => std::future::pending().await,
        }
        stream.flush().await?;
    }
    Ok(())
}

async fn request(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    connection: usize,
) -> io::Result<Option<Seen>> {
    let (mut line, mut headers) = (String::new(), HeaderMap::new());
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    loop {
        let mut text = String::new();
        stream.read_line(&mut text).await?;
        let Some((name, value)) = text.split_once(':') else { break };
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.trim().parse().unwrap());
    }
    let length = headers.get("content-length").map_or(0, |text| text.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Seen { connection, line: line.trim_end().to_owned(), headers, body }))
}

impl Shared {
    fn take(&self, request: Seen) -> Reply {
        let mut seen = self.seen.lock().unwrap();
        let reply = self.replies.get(seen.len()).or(self.replies.last()).unwrap().clone();
        seen.push(request);
        reply
    }
}
