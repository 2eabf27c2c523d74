//! One attempt. A panic of the sink is one that failed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::super::queue::Work;
use crate::clock::Timestamp;
use crate::event::{Delivery, Occasion};
use crate::sink::{Cause, Failure, Outcome, Sink};
use crate::store::SinkStore;

/// An attempt that came to its end.
pub(super) struct Ended {
    pub(super) seq: u64,
    pub(super) number: u32,
    pub(super) outcome: Outcome,
    /// It was of an operational event.
    pub(super) is_operational: bool,
    /// How long the attempt took.
    pub(super) took: Duration,
    /// When the event was accepted; unknown for a replay, which says nothing about how fast deliveries are.
    pub(super) accepted_at: Option<Timestamp>,
}

pub(super) async fn attempt(store: Arc<SinkStore>, sink: Arc<dyn Sink>, work: Work) -> Ended {
    let Work { seq, number, is_replay, claimed } = work;
    let began = Instant::now();
    let occasion = if is_replay { Occasion::Replay } else { Occasion::Live };
    let tried = async {
        let claimed = match claimed {
            Some(claimed) => claimed,
            None => store.load(seq).await.ok()?,
        };
        Some(match claimed.content {
            Ok((event, routes)) => {
                let accepted_at = Some(event.accepted_at).filter(|_| !is_replay);
                let is_operational = event.stream.is_operational();
                let outcome = deliver(&*sink, Delivery { event, routes, attempt: number, occasion }).await;
                (outcome, accepted_at, is_operational)
            }
            Err(reason) => {
                let failure = Failure { cause: Cause::Invalid, status: None, detail: reason };
                // What it was is not known, and operators want to.
                (Outcome::Reject { failure }, None, false)
            }
        })
    };
    // Without an outcome the store has stopped, and the process with it: this attempt was none.
    let Some((outcome, accepted_at, is_operational)) = tried.await else { std::future::pending().await };
    Ended { seq, number, outcome, is_operational, took: began.elapsed(), accepted_at }
}

/// What comes of a delivery, a panic of the sink included.
pub(in crate::delivery) async fn deliver(sink: &dyn Sink, delivery: Delivery) -> Outcome {
    AssertUnwindSafe(sink.deliver(&delivery)).catch_unwind().await.unwrap_or_else(|_panic| {
        let detail = "the attempt panicked: a fault of the relay with this event".to_owned();
        Outcome::Retry { failure: Failure { cause: Cause::Panic, status: None, detail }, after: None }
    })
}
