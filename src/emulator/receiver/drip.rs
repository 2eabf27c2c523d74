//! A socket that, once told, writes one byte a second: what a sink's deadline has to withstand.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Dripping {
    socket: TcpStream,
    drips: Arc<AtomicBool>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Dripping {
    /// Writes freely until `drips` is set.
    pub(super) fn new(socket: TcpStream, drips: Arc<AtomicBool>) -> Self {
        Self { socket, drips, pause: None }
    }

    fn drip(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
        ready!(pause.as_mut().poll(cx));
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes.get(..1).unwrap_or_default()));
        self.pause = None;
        Poll::Ready(written)
    }
}

impl AsyncRead for Dripping {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dripping {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.drips.load(Ordering::Relaxed) {
            return self.drip(cx, bytes);
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.drips.load(Ordering::Relaxed) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.drip(cx, first.map_or(&[], |slice| slice));
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
