//! Publishing a series of messages at a pace.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::server::Emulator;
use crate::event::Stream;

/// How fast a series is published.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Events per second; `None`: as fast as the clients read.
    pub(crate) rate: Option<f64>,
    /// Whether to go on while no client is connected. Those events are lost to all but persistent sessions, as with
    /// the real service.
    pub(crate) is_unattended: bool,
}

/// What is made up for of the time in which nothing could be published.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// Publishes `messages` one after the other and returns how many there were. Behind schedule it catches up by going
/// faster, for [`CATCH_UP_MAX`]; time spent waiting for a client to connect is not caught up.
pub(crate) async fn play(
    emulator: &Emulator,
    messages: impl IntoIterator<Item = (Stream, Utf8Bytes)>,
    pace: Pace,
) -> u64 {
    let mut due = Instant::now();
    let mut count = 0;
    for (stream, text) in messages {
        if !pace.is_unattended && !emulator.is_attended() {
            emulator.attended().await;
            due = Instant::now();
        }
        if let Some(rate) = pace.rate {
            sleep_until(due).await;
            due += due.elapsed().saturating_sub(CATCH_UP_MAX) + Duration::from_secs_f64(1.0 / rate);
        }
        emulator.send(stream, text).await;
        count += 1;
        // Making a message takes time of its own; the connections share the thread.
        tokio::task::consume_budget().await;
    }
    count
}
