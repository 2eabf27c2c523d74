//! What a receiver answers, and when.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// `answer` to the requests that `when` picks, 204 to the others, each after `delay`. The default is 204 at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Behaviour {
    pub(crate) answer: Answer,
    pub(crate) when: When,
    pub(crate) delay: Duration,
}

/// One way to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This status, 200 to 599, with an empty body.
    Status(u16),
    /// 429 with `Retry-After`.
    Throttle { seconds: u64 },
    /// Never, with the connection open.
    Hang,
    /// 503 at one byte a second from its first byte on, without end.
    Drip,
    /// This status and a body without end, as fast as it is read.
    Endless(u16),
    /// The connection is closed instead.
    Close,
}

/// Which requests are picked. What is not authentic is neither picked nor counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    Always,
    /// The first so many since the behaviour was set.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests in this process are its users"))]
    First(u64),
    /// The first so many of each id since the receiver started. Needs [`super::Keeps::Ids`] or more: without ids all
    /// are picked.
    FirstPerId(u32),
    /// Each with this probability, 0 to 1.
    Share(f64),
}

impl Behaviour {
    pub(crate) fn new(answer: Answer, when: When) -> Self {
        Self { answer, when, delay: Duration::ZERO }
    }

    pub(crate) fn always(answer: Answer) -> Self {
        Self::new(answer, When::Always)
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::always(Answer::OK)
    }
}

impl Answer {
    pub(crate) const OK: Self = Self::Status(204);
    pub(super) const UNAUTHENTIC: Self = Self::Status(401);

    /// The status that the client learns, if it learns one.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::Endless(status) => Some(status),
            Self::Throttle { .. } => Some(429),
            Self::Hang | Self::Drip | Self::Close => None,
        }
    }
}

impl When {
    /// `request` and `attempt` count from 1.
    pub(super) fn picks(self, request: u64, attempt: u32, random: &mut fastrand::Rng) -> bool {
        match self {
            Self::Always => true,
            Self::First(count) => request <= count,
            Self::FirstPerId(count) => attempt <= count,
            Self::Share(share) => random.f64() < share,
        }
    }
}

/// The body of an answer.
pub(super) enum Payload {
    Empty,
    Endless,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 4096] = [b'x'; 4096];
        Poll::Ready(match *self {
            Self::Empty => None,
            Self::Endless => Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Endless => SizeHint::default(),
        }
    }
}
