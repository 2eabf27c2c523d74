//! Which metrics there are.

mod sinks;

use super::super::Context;
use super::text::{Exposition, Family, Labels};
use crate::clock::Timestamp;
use crate::metrics::{
    ConnectionMetrics, Counter, Gauge, Histogram, IntakeMetrics, OwnershipMetrics, ReloadMetrics, RestMetrics,
    SourceMetrics, StoreMetrics,
};
use crate::store::Overview;

/// Writes all of them; without an overview those that only the store knows are left out.
pub(super) fn write(context: &Context, overview: Option<&Overview>, to: &mut Exposition) {
    let metrics = &context.metrics;
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    to.gauge("cspr_relay_build_info", "Always 1; says which build this is.").sample(&build, 1);
    source(&metrics.source, to);
    rest(&metrics.rest, to);
    events(&metrics.intake, to);
    store(&metrics.store, context.store_max_bytes, to);
    ownership(&metrics.ownership, to);
    reload(&metrics.reload, to);
    if let Some(overview) = overview {
        kept(context, overview, to);
    }
    sinks::write(context, overview, to);
}

fn counters(to: &mut Exposition, list: &[(&'static str, &Counter, &str)]) {
    list.iter().for_each(|(name, counter, help)| to.counter(name, help).sample(&[], counter.value()));
}

fn gauges(to: &mut Exposition, list: &[(&'static str, &Gauge, &str)]) {
    list.iter().for_each(|(name, gauge, help)| to.gauge(name, help).sample(&[], gauge.value()));
}

/// The columns of a table of connections.
type Read<'a> = &'a dyn Fn(&ConnectionMetrics) -> Option<f64>;

#[rustfmt::skip]
fn source(source: &SourceMetrics, to: &mut Exposition) {
    let rows = source.connections();
    let seconds = |gauge: &Gauge| gauge.moment().map(seconds);
    let table: [(&'static str, Read<'_>, &str); 4] = [
        ("cspr_relay_source_up", &|row| Some(if row.up.value() > 0 { 1.0 } else { 0.0 }), "1 while the connection to CSPR.cloud is up."),
        ("cspr_relay_source_changed_timestamp_seconds", &|row| seconds(&row.changed_at), "When the connection came up, or went down."),
        ("cspr_relay_source_last_message_timestamp_seconds", &|row| seconds(&row.message_at), "When the last event came on the connection."),
        ("cspr_relay_source_last_ping_timestamp_seconds", &|row| seconds(&row.ping_at), "When the last keep-alive came on the connection."),
    ];
    for (name, read, help) in table {
        let mut family = to.gauge(name, help);
        for row in &rows {
            let Some(value) = read(row) else { continue };
            family.sample(&[("stream", row.stream), ("connection", &row.number.to_string())], value);
        }
    }
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
fn rest(rest: &RestMetrics, to: &mut Exposition) {
    let mut family = to.counter("cspr_relay_rest_requests_total", "Requests to CSPR.cloud's REST API, by what they are for.");
    for (purpose, count) in rest.requests() {
        family.sample(&[("purpose", purpose.as_str())], count);
    }
    counters(to, &[
        ("cspr_relay_rest_failures_total", &rest.failed, "Requests that brought no usable answer."),
        ("cspr_relay_rest_throttled_total", &rest.throttled, "Answers that wanted fewer requests."),
    ]);
    gauges(to, &[
        ("cspr_relay_rest_day_requests", &rest.day, "Requests of the last 24 hours, those of earlier runs included."),
        ("cspr_relay_rest_day_requests_max", &rest.per_day, "How many the budget allows: source.rest.requests_per_day."),
        ("cspr_relay_rest_waiting", &rest.waiting, "Requests that wait for their turn."),
    ]);
    let mut family = to.gauge("cspr_relay_rest_waiting_until_timestamp_seconds", "When the first of them has its turn; absent while none waits.");
    rest.waiting_until.moment().iter().for_each(|at| family.sample(&[], seconds(*at)));
}

#[rustfmt::skip]
fn events(intake: &IntakeMetrics, to: &mut Exposition) {
    counters(to, &[
        ("cspr_relay_events_accepted_total", &intake.accepted, "Events that are durable."),
        ("cspr_relay_events_duplicates_total", &intake.duplicates, "Events dropped since their id is known."),
        ("cspr_relay_events_variants_total", &intake.variants, "Events with package, token and deploy of their lane's last, but another state."),
        ("cspr_relay_events_recurred_total", &intake.recurred, "Duplicates that are not their lane's last event."),
        ("cspr_relay_events_unmatched_total", &intake.unmatched, "Events that no route wanted."),
        ("cspr_relay_events_quarantined_total", &intake.quarantined, "Messages kept raw since they could not be handled."),
    ]);
}

#[rustfmt::skip]
fn store(store: &StoreMetrics, max_bytes: u64, to: &mut Exposition) {
    gauges(to, &[
        ("cspr_relay_store_used_bytes", &store.bytes, "Used bytes of the store."),
        ("cspr_relay_store_known_ids", &store.known_ids, "Event ids held for deduplication."),
        ("cspr_relay_store_intake_waiting", &store.intake_waits, "1 while no events are taken for want of space."),
    ]);
    to.gauge("cspr_relay_store_max_bytes", "What the store may take.").sample(&[], max_bytes);
    counters(to, &[
        ("cspr_relay_store_forgotten_ids_total", &store.ids_forgotten, "Ids forgotten before their time, because of dedup.max_keys."),
        ("cspr_relay_store_damaged_rows_total", &store.damaged_rows, "Rows met whose checksum did not fit."),
    ]);
    let help = "How long commits took, the sync to disk included.";
    histogram(&mut to.histogram("cspr_relay_store_commit_duration_seconds", help), &[], &store.commits);
}

#[rustfmt::skip]
fn ownership(ownership: &OwnershipMetrics, to: &mut Exposition) {
    gauges(to, &[
        ("cspr_relay_ownership_packages", &ownership.packages, "Contract packages whose ownership is watched."),
        ("cspr_relay_ownership_due", &ownership.due, "Owners who are to be asked for."),
    ]);
    counters(to, &[
        ("cspr_relay_ownership_looks_total", &ownership.looks, "Answers of CSPR.cloud about one owner."),
        ("cspr_relay_ownership_walks_total", &ownership.walks, "Packages of which all owners were looked through."),
        ("cspr_relay_ownership_changes_total", &ownership.changes, "Numbers of tokens that were found to have changed."),
        ("cspr_relay_ownership_failures_total", &ownership.failures, "Questions about ownership that got no answer."),
    ]);
    let help = "1 while CSPR.cloud's REST API does not answer questions about ownership.";
    to.gauge("cspr_relay_ownership_trouble", help).sample(&[], u8::from(ownership.trouble().is_some()));
    let mut family = to.gauge("cspr_relay_ownership_walked_timestamp_seconds", "When a package was last looked through.");
    ownership.walked_at.moment().iter().for_each(|at| family.sample(&[], seconds(*at)));
}

fn reload(reload: &ReloadMetrics, to: &mut Exposition) {
    let mut family = to.counter("cspr_relay_config_reloads_total", "Changed configurations, by what became of them.");
    for (result, count) in [("done", &reload.done), ("refused", &reload.refused)] {
        family.sample(&[("result", result)], count.value());
    }
    let help = "1 while the newest configuration was refused and an older one is at work.";
    to.gauge("cspr_relay_config_stale", help).sample(&[], u8::from(reload.is_stale()));
}

fn kept(context: &Context, overview: &Overview, to: &mut Exposition) {
    let mut family =
        to.gauge("cspr_relay_store_oldest_event_timestamp_seconds", "When the oldest kept event was accepted.");
    overview.oldest_event_at.iter().for_each(|at| family.sample(&[], seconds(*at)));
    to.gauge("cspr_relay_store_quarantined", "Messages in quarantine.").sample(&[], overview.quarantined);
    to.counter("cspr_relay_gaps_total", "Gaps that began.").sample(&[], context.metrics.gaps.value());
    to.gauge("cspr_relay_gaps_open", "Gaps that nobody has seen to.").sample(&[], overview.gaps);
    let help = "Times that what a stream told was held against what REST lists.";
    to.counter("cspr_relay_audits_total", help).sample(&[], context.metrics.audits.value());
    let help = "Events that audits found missing; each time that makes a gap.";
    to.counter("cspr_relay_audit_missed_total", help).sample(&[], context.metrics.audit_missed.value());
    let mut family = to.gauge("cspr_relay_gaps_oldest_timestamp_seconds", "When the oldest of them began.");
    overview.oldest_gap_at.iter().for_each(|at| family.sample(&[], seconds(*at)));
    let mut family = to.gauge("cspr_relay_parked_deliveries", "Deliveries kept for sinks that are not configured.");
    for (name, pending) in context.store.parked() {
        family.sample(&[("sink", &name.0)], pending);
    }
}

fn histogram(family: &mut Family<'_>, labels: &Labels<'_>, histogram: &Histogram) {
    let (buckets, count) = histogram.cumulated();
    let buckets = buckets.map(|(bound, below)| (bound.as_secs_f64(), below));
    family.buckets(labels, &buckets, histogram.sum().as_secs_f64(), count);
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds stay exact for 280,000 years")]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}
