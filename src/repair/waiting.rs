//! What a round waits for, told while it waits: a REST API that refuses, is slow, or may not be asked before tomorrow
//! must not leave the gaps without a word.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Setup;
use super::rounds::{Due, Round};
use crate::budget::Purpose;
use crate::store::{GapChange, Stopped};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does the work of a round; meanwhile the notes of its gaps say what it waits for. The work goes on beside that, and
/// ends where it was if this is dropped.
pub(super) async fn noting<T>(
    setup: &Setup,
    round: &Round,
    work: impl Future<Output = Result<T, super::Trouble>>,
) -> Result<T, super::Trouble> {
    let mut work = pin!(work);
    let mut ticks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut noted = None;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => {}
        }
        let hindrance = setup.metrics.rest.hindrance(Purpose::Repair);
        if hindrance != noted
            && let Some(why) = &hindrance
        {
            note(setup, round, why).await?;
            noted = hindrance;
        }
    }
}

/// The work stands still while this is written, for a commit.
async fn note(setup: &Setup, round: &Round, why: &str) -> Result<(), Stopped> {
    for Due { gap, .. } in &round.0 {
        let change =
            GapChange::Progress { number: gap.number, note: Some(format!("not repaired yet: {why}")), returned: 0 };
        setup.store.change_gap(change).await?;
    }
    Ok(())
}
