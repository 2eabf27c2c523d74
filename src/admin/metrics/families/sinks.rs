//! The metrics of sinks. Every sample bears the sink's name and kind, and its configured labels as `label_<name>`.

use super::histogram;
use crate::admin::Context;
use crate::admin::metrics::text::Exposition;
use crate::metrics::{About, Failed, Histogram, Row, SinkMetrics};
use crate::store::Overview;

type Read = fn(&SinkMetrics) -> u64;

#[rustfmt::skip]
const COUNTERS: &[(&str, Read, &str)] = &[
    ("cspr_relay_sink_accepted_total", |sink| sink.obligations.value(), "Deliveries accepted for the sink."),
    ("cspr_relay_sink_delivered_total", |sink| sink.delivered.value(), "Deliveries that the sink confirmed."),
    ("cspr_relay_sink_expired_total", |sink| sink.expired.value(), "Deliveries dropped by the policy of the sink's backlog."),
];

#[rustfmt::skip]
const GAUGES: &[(&str, Read, &str)] = &[
    ("cspr_relay_sink_pending", |sink| sink.pending.value(), "Deliveries that are not settled."),
    ("cspr_relay_sink_pending_bytes", |sink| sink.pending_bytes.value(), "The bytes of their messages."),
    ("cspr_relay_sink_waiting", |sink| sink.waiting.value(), "Of the pending: failed at least once, or replayed, and due later."),
    ("cspr_relay_sink_held", |sink| sink.held.value(), "Of the pending: behind a waiting one of their lane."),
    ("cspr_relay_sink_in_flight", |sink| sink.in_flight.value(), "Attempts under way."),
    ("cspr_relay_sink_breaker_open", |sink| sink.breaker_open.value(), "1 while only probes go through."),
    ("cspr_relay_sink_paused", |sink| sink.paused.value(), "1 while nothing is attempted."),
];

/// Counts by cause. A cause is there from its first time on.
type ByCause = fn(Failed) -> u64;

#[rustfmt::skip]
const BY_CAUSE: &[(&str, ByCause, &str)] = &[
    ("cspr_relay_sink_failed_attempts_total", |failed| failed.attempts, "Attempts that did not end in a delivery, by cause."),
    ("cspr_relay_sink_dead_letters_total", |failed| failed.deliveries, "Deliveries given up: dead letters made, by cause."),
];

type Times = fn(&SinkMetrics) -> &Histogram;

#[rustfmt::skip]
const HISTOGRAMS: &[(&str, Times, &str)] = &[
    ("cspr_relay_sink_delivery_latency_seconds", |sink| &sink.latency, "From the acceptance of an event to the sink's confirmation; replays are left out."),
    ("cspr_relay_sink_attempt_duration_seconds", |sink| &sink.attempts, "How long attempts took, whatever their end."),
];

pub(super) fn write(context: &Context, overview: Option<&Overview>, to: &mut Exposition) {
    let sinks = context.metrics.sinks();
    let sinks: Vec<Sample<'_>> = sinks.iter().map(|(name, row)| Sample::new(&name.0, row)).collect();
    for (name, read, help) in COUNTERS {
        let mut family = to.counter(name, help);
        sinks.iter().for_each(|sink| family.sample(&sink.labels(), read(&sink.row.metrics)));
    }
    for (name, read, help) in BY_CAUSE {
        let mut family = to.counter(name, help);
        for (sink, (cause, failed)) in
            sinks.iter().flat_map(|sink| sink.row.metrics.by_cause().into_iter().map(move |by| (sink, by)))
        {
            family.sample(&[sink.labels().as_slice(), &[("cause", cause)]].concat(), read(failed));
        }
    }
    for (name, read, help) in GAUGES {
        let mut family = to.gauge(name, help);
        sinks.iter().for_each(|sink| family.sample(&sink.labels(), read(&sink.row.metrics)));
    }
    let mut family = to.gauge("cspr_relay_sink_backlog_max_bytes", "What the messages of pending deliveries may take.");
    sinks.iter().for_each(|sink| family.sample(&sink.labels(), sink.row.about.backlog_max_bytes));
    for (name, read, help) in HISTOGRAMS {
        let mut family = to.histogram(name, help);
        sinks.iter().for_each(|sink| histogram(&mut family, &sink.labels(), read(&sink.row.metrics)));
    }
    if let Some(overview) = overview {
        kept(context, overview, &sinks, to);
    }
}

/// What only the store knows.
fn kept(context: &Context, overview: &Overview, sinks: &[Sample<'_>], to: &mut Exposition) {
    let of = |sink: &Sample<'_>| overview.sinks.iter().find(|(name, _)| *name.0 == *sink.name).map(|(_, found)| *found);
    let mut family = to.gauge("cspr_relay_sink_dead_letters_kept", "Dead letters that are kept.");
    sinks.iter().for_each(|sink| family.sample(&sink.labels(), of(sink).unwrap_or_default().dead_letters));
    let help = "How long ago the oldest pending event was accepted; 0 if nothing is pending.";
    let mut family = to.gauge("cspr_relay_sink_oldest_pending_age_seconds", help);
    for sink in sinks {
        let oldest = of(sink).and_then(|found| found.oldest_pending_at);
        let age = oldest.map_or(0.0, |at| context.clock.now().since(at).as_secs_f64());
        family.sample(&sink.labels(), age);
    }
}

/// A sink with the labels of its samples.
struct Sample<'a> {
    name: &'a str,
    row: &'a Row,
    labels: Vec<(String, String)>,
}

impl<'a> Sample<'a> {
    fn new(name: &'a str, row: &'a Row) -> Self {
        let About { kind, labels, .. } = &*row.about;
        let own = [("sink".to_owned(), name.to_owned()), ("kind".to_owned(), (*kind).to_owned())];
        let carried = labels.iter().map(|(label, value)| (format!("label_{label}"), value.clone()));
        Self { name, row, labels: own.into_iter().chain(carried).collect() }
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        self.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect()
    }
}
