//! Which metrics there are.

use super::super::Context;
use super::text::{Exposition, Family, Labels};
use crate::metrics::{About, Counter, Gauge, Histogram, IntakeMetrics, Row, SinkMetrics, SourceMetrics, StoreMetrics};

/// Read of one sink.
type Read = fn(&SinkMetrics) -> u64;

#[rustfmt::skip]
const SINK_COUNTERS: &[(&str, Read, &str)] = &[
    ("cspr_relay_sink_accepted_total", |sink| sink.obligations.value(), "Deliveries accepted for the sink."),
    ("cspr_relay_sink_delivered_total", |sink| sink.delivered.value(), "Deliveries that the sink confirmed."),
    ("cspr_relay_sink_failed_attempts_total", |sink| sink.failed_attempts.value(), "Attempts that did not end in a delivery."),
    ("cspr_relay_sink_dead_letters_total", |sink| sink.dead.value(), "Deliveries given up: dead letters made."),
    ("cspr_relay_sink_expired_total", |sink| sink.expired.value(), "Deliveries dropped by the policy of the sink's backlog."),
];

#[rustfmt::skip]
const SINK_GAUGES: &[(&str, Read, &str)] = &[
    ("cspr_relay_sink_pending", |sink| sink.pending.value(), "Deliveries that are not settled."),
    ("cspr_relay_sink_pending_bytes", |sink| sink.pending_bytes.value(), "Their messages' bytes."),
    ("cspr_relay_sink_waiting", |sink| sink.waiting.value(), "Of the pending: failed at least once and due later."),
    ("cspr_relay_sink_held", |sink| sink.held.value(), "Of the pending: behind a waiting one of their lane."),
    ("cspr_relay_sink_in_flight", |sink| sink.in_flight.value(), "Attempts under way."),
    ("cspr_relay_sink_breaker_open", |sink| sink.breaker_open.value(), "1 while only probes go through."),
    ("cspr_relay_sink_paused", |sink| sink.paused.value(), "1 while nothing is attempted."),
];

pub(super) fn write(context: &Context, to: &mut Exposition) {
    let metrics = &context.metrics;
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    to.gauge("cspr_relay_build_info", "Always 1; says which build this is.").sample(&build, 1);
    source(&metrics.source, to);
    events(&metrics.intake, to);
    store(&metrics.store, to);
    let reloads = [("done", &metrics.reload.done), ("refused", &metrics.reload.refused)];
    let mut family = to.counter("cspr_relay_config_reloads_total", "Changed configurations, by what became of them.");
    reloads.into_iter().for_each(|(result, count)| family.sample(&[("result", result)], count.value()));
    let help = "1 while the newest configuration was refused and an older one is at work.";
    to.gauge("cspr_relay_config_stale", help).sample(&[], metrics.reload.is_stale.value());
    sinks(context, to);
}

fn counters(to: &mut Exposition, list: &[(&'static str, &Counter, &str)]) {
    list.iter().for_each(|(name, counter, help)| to.counter(name, help).sample(&[], counter.value()));
}

fn gauges(to: &mut Exposition, list: &[(&'static str, &Gauge, &str)]) {
    list.iter().for_each(|(name, gauge, help)| to.gauge(name, help).sample(&[], gauge.value()));
}

#[rustfmt::skip]
fn source(source: &SourceMetrics, to: &mut Exposition) {
    gauges(to, &[("cspr_relay_source_connected", &source.connected, "Connections to CSPR.cloud that are up.")]);
    counters(to, &[
        ("cspr_relay_source_connects_total", &source.connects, "Handshakes that succeeded."),
        ("cspr_relay_source_disconnects_total", &source.disconnects, "Handshakes that failed and connections that ended."),
        ("cspr_relay_source_messages_total", &source.messages, "Messages that look like events."),
        ("cspr_relay_source_pings_total", &source.pings, "Keep-alives."),
        ("cspr_relay_source_ignored_texts_total", &source.ignored_texts, "Other texts that are no JSON objects."),
        ("cspr_relay_source_too_large_total", &source.too_large, "Messages over the size limit; each ended its connection."),
        ("cspr_relay_source_protocol_errors_total", &source.protocol_errors, "Connections ended since the peer broke the protocol."),
    ]);
}

#[rustfmt::skip]
fn events(intake: &IntakeMetrics, to: &mut Exposition) {
    counters(to, &[
        ("cspr_relay_events_accepted_total", &intake.accepted, "Events that are durable."),
        ("cspr_relay_events_duplicates_total", &intake.duplicates, "Events dropped since their id is known."),
        ("cspr_relay_events_variants_total", &intake.variants, "Accepted events with package, token and deploy of their lane's last, but another state."),
        ("cspr_relay_events_recurred_total", &intake.recurred, "Duplicates that are not their lane's last event."),
        ("cspr_relay_events_unmatched_total", &intake.unmatched, "Events that no route wanted."),
        ("cspr_relay_events_quarantined_total", &intake.quarantined, "Messages kept raw since they could not be handled."),
    ]);
}

#[rustfmt::skip]
fn store(store: &StoreMetrics, to: &mut Exposition) {
    gauges(to, &[
        ("cspr_relay_store_used_bytes", &store.bytes, "Used bytes of the store."),
        ("cspr_relay_store_known_ids", &store.known_ids, "Event ids held for deduplication."),
        ("cspr_relay_store_intake_waiting", &store.intake_waits, "1 while no events are taken for want of space."),
    ]);
    counters(to, &[
        ("cspr_relay_store_forgotten_ids_total", &store.ids_forgotten, "Ids forgotten before their time, because of dedup.max_keys."),
        ("cspr_relay_store_damaged_rows_total", &store.damaged_rows, "Rows met whose checksum did not fit."),
    ]);
    let mut commits = to.histogram("cspr_relay_store_commit_duration_seconds", "How long commits took, the sync to disk included.");
    histogram(&mut commits, &[], &store.commits);
}

fn histogram(family: &mut Family<'_>, labels: &Labels<'_>, histogram: &Histogram) {
    let (buckets, count) = histogram.cumulated();
    let buckets = buckets.map(|(bound, below)| (bound.as_secs_f64(), below));
    family.buckets(labels, &buckets, histogram.sum().as_secs_f64(), count);
}

fn sinks(context: &Context, to: &mut Exposition) {
    let sinks = context.metrics.sinks();
    let labelled: Vec<(Labelled, &Row)> =
        sinks.iter().map(|(name, row)| (Labelled::new(&name.0, &row.about), row)).collect();
    for (name, read, help) in SINK_COUNTERS {
        let mut family = to.counter(name, help);
        labelled.iter().for_each(|(labels, row)| family.sample(&labels.pairs(), read(&row.metrics)));
    }
    for (name, read, help) in SINK_GAUGES {
        let mut family = to.gauge(name, help);
        labelled.iter().for_each(|(labels, row)| family.sample(&labels.pairs(), read(&row.metrics)));
    }
    let mut family = to.gauge("cspr_relay_sink_backlog_max_bytes", "What the sink's pending messages may take.");
    labelled.iter().for_each(|(labels, row)| family.sample(&labels.pairs(), row.about.backlog_max_bytes));
}

/// The labels of a sink's samples.
struct Labelled(Vec<(String, String)>);

impl Labelled {
    fn new(name: &str, about: &About) -> Self {
        let own = [("sink".to_owned(), name.to_owned()), ("kind".to_owned(), about.kind.to_owned())];
        let carried = about.labels.iter().map(|(label, value)| (format!("label_{label}"), value.clone()));
        Self(own.into_iter().chain(carried).collect())
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect()
    }
}
