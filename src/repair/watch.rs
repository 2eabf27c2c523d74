//! The loop that looks at the connections and writes gaps down.
//!
//! Woken once a second; stopped by the drain, at which it writes once more up to when everything was heard; ends if the
//! store has stopped. One write at a time waits for its commit; what happens meanwhile is in the next look.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};

use super::Setup;
use super::hearing::{Hearing, Seen, Turn};
use crate::event::Stream;
use crate::lifecycle::{Lifecycle, Task};
use crate::store::{GapChange, Heard, Stopped};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two notes of what was heard: a gap that a kill begins is at most so many seconds too long.
const NOTE_EVERY: u32 = 5;

struct Watch {
    setup: Setup,
    hearing: Hearing,
    /// Streams that were heard when that was last noted.
    noted: usize,
    /// The gaps that go on.
    current: HashMap<Stream, u64>,
}

/// Begins to watch the streams; a gap that an earlier run left, or that began with its end, goes on.
pub(super) fn start(setup: &Setup, lifecycle: &Lifecycle) -> anyhow::Result<Task> {
    let Heard { until, gaps } = setup.store.hearing().context("reading the gaps")?;
    let ongoing = gaps.iter().filter(|gap| gap.to_ms.is_none());
    let current: HashMap<_, _> =
        ongoing.filter_map(|gap| Some((Stream::from_name(&gap.stream)?, gap.number))).collect();
    let in_gap: Vec<Stream> = current.keys().copied().collect();
    let hearing = Hearing::resume(until, &in_gap);
    let watch = Watch { setup: setup.clone(), hearing, noted: 0, current };
    Ok(lifecycle.spawn("gaps", watch.run(lifecycle.clone())))
}

impl Watch {
    async fn run(mut self, lifecycle: Lifecycle) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = lifecycle.drain().cancelled() => break,
            }
            looks = looks.wrapping_add(1);
            if self.look(looks.is_multiple_of(NOTE_EVERY)).await.is_err() {
                return;
            }
        }
        // The connections are on their way down: up to the last look everything was heard.
        // A store that stopped by itself has said why.
        let _stopped = self.setup.store.change_gap(GapChange::Heard(self.hearing.heard())).await;
    }

    async fn look(&mut self, has_to_note: bool) -> Result<(), Stopped> {
        let seen = self.seen();
        for turn in self.hearing.look(&seen, self.setup.metrics.store.intake_waits.value() > 0) {
            self.note(turn).await?;
        }
        // A stream that is heard for the first time is noted at once: a kill would leave no gap otherwise.
        if !has_to_note && self.hearing.heard().len() == self.noted {
            return Ok(());
        }
        let absent = self.hearing.forget_absent(&seen);
        if !absent.is_empty() {
            self.leave(absent).await?;
        }
        let heard = self.hearing.heard();
        self.noted = heard.len();
        if !heard.is_empty() {
            self.setup.store.change_gap(GapChange::Heard(heard)).await?;
        }
        Ok(())
    }

    fn seen(&self) -> Vec<Seen> {
        let rows = self.setup.metrics.source.connections();
        let seen = rows.iter().filter_map(|row| {
            let stream = Stream::from_name(row.stream)?;
            let is_up = row.up.value() > 0;
            let trouble = row.trouble().filter(|_| !is_up);
            let (is_silent, connects) = (row.is_silent.value() > 0, row.connects.value());
            Some(Seen { stream, is_up, is_silent, connects, heard_at: row.heard_at(), trouble })
        });
        seen.collect()
    }

    async fn note(&mut self, turn: Turn) -> Result<(), Stopped> {
        match turn {
            Turn::Lost { stream, from, cause, detail } => {
                if let Some(number) = self.setup.open_gap(stream, from, cause, detail).await? {
                    self.current.insert(stream, number);
                }
            }
            Turn::Back { stream } => {
                let Some(number) = self.current.remove(&stream) else { return Ok(()) };
                let to = self.setup.clock.now();
                self.setup.store.change_gap(GapChange::End { number, to }).await?;
                tracing::info!(%stream, gap = number, %to, "the stream is heard again: the gap has ended");
            }
        }
        Ok(())
    }

    /// Nobody subscribes to these any more: what goes on of their gaps ends now.
    async fn leave(&mut self, streams: Vec<Stream>) -> Result<(), Stopped> {
        for stream in &streams {
            self.note(Turn::Back { stream: *stream }).await?;
        }
        self.setup.store.change_gap(GapChange::Forget(streams)).await.map(drop)
    }
}
