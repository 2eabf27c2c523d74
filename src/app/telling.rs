//! What the relay noticed about itself goes to intake, like what CSPR.cloud sends.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::event::Stream;
use crate::lifecycle::{Lifecycle, Task};
use crate::notices::Notices;
use crate::source::Message;

const TICK: Duration = Duration::from_secs(1);

pub(super) fn start(notices: &Notices, messages: &mpsc::Sender<Message>, clock: &Clock, lifecycle: &Lifecycle) -> Task {
    let telling = tell(notices.clone(), messages.clone(), clock.clone(), lifecycle.clone());
    lifecycle.spawn("telling", telling)
}

/// Hands over once a second what is due, and what is left when the relay stops. Waits when intake does; ends with the
/// drain, or with intake.
async fn tell(notices: Notices, messages: mpsc::Sender<Message>, clock: Clock, lifecycle: Lifecycle) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = lifecycle.drain().cancelled() => break,
        }
        let due = notices.due(Instant::now(), clock.now());
        if hand_over(due, &messages).await.is_err() {
            return;
        }
    }
    // Intake that is gone has no use for it.
    let _gone = hand_over(notices.rest(clock.now()), &messages).await;
}

async fn hand_over(told: Vec<Bytes>, messages: &mpsc::Sender<Message>) -> Result<(), mpsc::error::SendError<Message>> {
    for bytes in told {
        messages.send(Message { stream: Stream::Relay, bytes, unreadable: None }).await?;
    }
    Ok(())
}
