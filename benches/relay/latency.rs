//! How long an event takes from its frame to the receiver.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::bare;
use crate::receiver::Receiver;
use crate::relay::{Place, Relay, Sink};
use crate::report::Usage;
use crate::source::{Pace, Paced};

const REPEATS_MAX: u64 = 64;

/// Times, sorted.
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that `share` of all stay within.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Lets events come to a new store and measures those of the sink that leads to `/ok`.
pub(crate) fn measure(receiver: &Receiver, sinks: &[Sink], rate: f64, seconds: u64) -> anyhow::Result<(Times, Usage)> {
    let place = Place::new()?;
    let start = |url: &str| Ok(place.start(url, sinks)?.0);
    let (times, usage, ()) = measure_while(receiver, Pace { rate, seconds, first: 0 }, start, |_| Ok(()))?;
    Ok((times, usage))
}

/// The same with a relay that `start` starts, given the address of its source, while `meanwhile` is done to it.
pub(crate) fn measure_while<T>(
    receiver: &Receiver,
    pace: Pace,
    start: impl FnOnce(&str) -> anyhow::Result<Relay>,
    meanwhile: impl FnOnce(&mut Relay) -> anyhow::Result<T>,
) -> anyhow::Result<(Times, Usage, T)> {
    let runtime = bare::runtime()?;
    let count = (pace.rate * pace.seconds as f64) as u64;
    let source = Paced::start(&runtime, pace, count)?;
    let before = receiver.received();
    receiver.record_arrivals();
    let mut relay = start(&format!("ws://{}", source.address))?;
    let cpu = relay.process.cpu();
    let done = meanwhile(&mut relay)?;
    receiver.wait_for(before + count, Duration::from_secs(pace.seconds + 20))?;
    let usage = Usage::since(&relay.process, cpu, count);
    let arrivals = receiver.take_arrivals();
    let sent: Vec<Instant> = source.sent();
    let times = arrivals.iter().filter_map(|(number, at)| {
        let sent = sent.get(usize::try_from(number.checked_sub(pace.first)?).ok()?)?;
        Some(at.duration_since(*sent))
    });
    let times = Times::new(times.collect());
    // What the relay of an earlier run was killed with comes again, and was counted among those that were waited for.
    ensure!(times.0.len() as u64 + REPEATS_MAX >= count, "only {} of {count} events could be timed", times.0.len());
    Ok((times, usage, done))
}
