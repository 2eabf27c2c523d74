//! `retry`: when to try again, and when to give up.

use std::time::Duration;

use super::super::outline::Form;
use super::super::reader::{Place, positive_duration};
use super::super::shape::{NoMapping, Node, Text, shape};

#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    pub schedule: Schedule,
    /// The share by which each delay is scattered, 0.0 to 1.0.
    pub jitter: f64,
}

/// The delays between attempts; when there is none left, the delivery is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The delay before the second attempt, the third, ….
    Listed(Vec<Duration>),
    /// From 1 s, doubling, up to 60 s, as long as they come to less than this. What a delivery waits beside them, such
    /// as for an open breaker, does not count.
    Until(Duration),
}

const HOUR: u64 = 60 * 60;

/// The retries that Standard Webhooks recommends: three days, give or take.
const LISTED: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];

/// How long a delivery to a bus is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * HOUR);

shape! {
    Retry {
        schedule: NoMapping = Form::DURATION.list().filled(),
        give_up_after: NoMapping = Form::DURATION,
        jitter: NoMapping = Form::SHARE,
    }
}

pub(super) fn retry(parent: &Place<'_>, node: Option<Node<Retry>>, is_bus: bool) -> RetryConfig {
    let (retry, place) = parent.map("retry", node);
    let until = retry.give_up_after.as_ref().map(|node| place.key("give_up_after", node.at));
    if let (Some(until), Some(_)) = (&until, &retry.schedule) {
        let hint = "a list ends by itself; without one the delays double from 1s to 60s".to_owned();
        until.fault_with("`give_up_after` and `schedule` exclude each other", Some(hint));
    }
    let listed = listed(&place, retry.schedule);
    let give_up_after = place.duration("give_up_after", retry.give_up_after, GIVE_UP_AFTER);
    let schedule = match listed {
        Some(listed) => Schedule::Listed(listed),
        None if is_bus || until.is_some() => Schedule::Until(give_up_after),
        None => Schedule::Listed(LISTED.to_vec()),
    };
    RetryConfig { schedule, jitter: place.parse("jitter", retry.jitter, jitter).unwrap_or(0.2) }
}

fn listed(place: &Place<'_>, node: Option<Text>) -> Option<Vec<Duration>> {
    let at = node.as_ref()?.at;
    let listed = place.texts("schedule", node)?;
    if listed.is_empty() {
        place.key("schedule", at).fault("there must be at least one delay");
    }
    Some(listed.iter().filter_map(|given| given.parse(positive_duration)).collect())
}

fn jitter(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("expected a number from 0.0 to 1.0, found `{text}`"))
}
