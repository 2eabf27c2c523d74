//! From the WebSocket to Kafka and to RabbitMQ, each beside a bare publisher with the same settings and messages.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::broker::Broker;
use crate::relay::Place;
use crate::report::{Report, Row, Usage, rate};
use crate::source::Emulator;
use crate::{Size, amqp, kafka};

/// No measurement takes longer.
const BOUND: Duration = Duration::from_secs(150);
/// Each look costs the broker some requests.
const POLL: Duration = Duration::from_millis(25);

/// A broker's side of a measurement.
pub(crate) trait Bus {
    /// What to call it, and what is aimed at.
    const NAME: &str;
    const AIM: &str;

    /// The key of a sink that leads to a new and empty destination.
    fn sink(&mut self) -> anyhow::Result<String>;

    /// How many messages the destination has.
    fn count(&mut self) -> anyhow::Result<u64>;

    /// Publishes for `seconds` to a destination of its own; confirmed messages a second.
    fn publish(&mut self, seconds: u64) -> anyhow::Result<f64>;
}

pub(crate) fn measure_kafka(size: Size, report: &mut Report) -> anyhow::Result<()> {
    match Broker::start("kafka") {
        Ok(broker) => through(&mut kafka::Cluster::new(&broker)?, size.events, size, report)?,
        Err(error) => left_out("Kafka", &error, report),
    }
    Ok(())
}

/// Takes as long as the others, at a quarter of their rate.
pub(crate) fn measure_amqp(size: Size, report: &mut Report) -> anyhow::Result<()> {
    match Broker::start("rabbitmq") {
        Ok(broker) => through(&mut amqp::Node::new(&broker)?, size.events / 4, size, report)?,
        Err(error) => left_out("RabbitMQ", &error, report),
    }
    Ok(())
}

/// Loudly, at its place in the table.
fn left_out(name: &str, error: &anyhow::Error, report: &mut Report) {
    report.add(Row::new(format!("*** NOT MEASURED: {name}"), format!("{error:#}")));
}

fn through<B: Bus>(bus: &mut B, events: u64, size: Size, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::new()?;
    let emulator = Emulator::start(place.path(), events, 6)?;
    let sink = bus.sink()?;
    let before = bus.publish(size.bare_seconds)?;
    let (relay, _) = place.start_with(&configuration(&place, &emulator, &sink))?;
    let cpu = relay.process.cpu();
    let took = carried(bus, events)?;
    let usage = Usage::since(&relay.process, cpu, events);
    let batch = relay.batch_mean()?;
    drop(relay);
    // On both sides of the figure, since other work on the machine comes and goes.
    let bare = f64::midpoint(before, bus.publish(size.bare_seconds)?);
    report.add(Row::new(format!("bare: publish to {}", B::NAME), rate(bare)));
    let carried = events as f64 / took.as_secs_f64();
    let row = Row::new(format!("WebSocket → durable → {}", B::NAME), rate(carried)).aim(B::AIM).usage(usage);
    report.add(row.ratio(format!("{:.0} % of publishing, {batch:.0} events a commit", 100.0 * carried / bare)));
    Ok(())
}

/// Waits until all have arrived; the time since the first one did.
fn carried<B: Bus>(bus: &mut B, events: u64) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let mut began = None;
    loop {
        let count = bus.count()?;
        if count > 0 && began.is_none() {
            began = Some((Instant::now(), count));
        }
        if let Some((began, first)) = began.filter(|_| count >= events) {
            ensure!(first < events / 2, "it was too quick to be measured");
            let share = (events - first) as f64 / events as f64;
            return Ok(began.elapsed().div_f64(share));
        }
        ensure!(asked.elapsed() < BOUND, "only {count} of {events} arrived in {BOUND:?}");
        std::thread::sleep(POLL);
    }
}

fn configuration(place: &Place, emulator: &Emulator, sink: &str) -> String {
    format!(
        "source: {{ network: testnet, url: \"{}\", api_key: emulator-key }}\n\
         store: {{ path: \"{}\" }}\n\
         routes: {{ everything: {{ match: all, sinks: [bus] }} }}\n\
         sinks: {{ bus: {{ {sink} }} }}\n",
        emulator.url,
        place.path().join("data").display(),
    )
}

/// What the relay tells of each event, in names and values as long as its own.
pub(crate) fn headers(number: u64) -> Vec<(&'static str, String)> {
    let hash = format!("{number:064x}");
    vec![
        ("cspr-relay-network", "testnet".to_owned()),
        ("cspr-relay-stream", "nft-tokens".to_owned()),
        ("cspr-relay-action", "created".to_owned()),
        ("cspr-relay-contract-package", hash.clone()),
        ("cspr-relay-token-id", number.to_string()),
        ("cspr-relay-owner", hash.clone()),
        ("cspr-relay-deploy-hash", hash),
        ("cspr-relay-sequence", format!("{number:012x}-{number:016x}")),
        ("cspr-relay-routes", "everything".to_owned()),
        ("cspr-relay-origin", "stream".to_owned()),
        ("cspr-relay-accepted-at", "2026-01-01T00:00:00.000Z".to_owned()),
        ("cspr-relay-attempt", "1".to_owned()),
        ("traceparent", format!("00-{number:032x}-{number:016x}-01")),
    ]
}
