//! What is measured, one function for each group of figures.

use std::time::Duration;

use crate::latency::{self, Times};
use crate::receiver::Receiver;
use crate::relay::{Place, Relay, Sink};
use crate::report::{Report, Row, Usage, millis, rate};
use crate::source::Emulator;
use crate::{BODY_BYTES, Size, bare, buses, operate, owners, routes};

const IN_FLIGHT: usize = 64;
/// No measurement takes longer.
const BOUND: Duration = Duration::from_secs(150);
/// Events of a full commit.
const BATCH: usize = 1024;

/// Measures all, or what `only` names.
pub(crate) fn run(size: Size, only: Option<&str>, report: &mut Report) -> anyhow::Result<()> {
    let receiver = Receiver::start()?;
    let is_wanted = |name: &str| only.is_none_or(|only| only.split(',').any(|wanted| wanted == name));
    if is_wanted("routes") {
        routes::measure(size, report)?;
    }
    if is_wanted("kafka") {
        buses::measure_kafka(size, report)?;
    }
    if is_wanted("amqp") {
        buses::measure_amqp(size, report)?;
    }
    if is_wanted("operate") {
        operate::measure(size, &receiver, report)?;
    }
    if is_wanted("owners") {
        owners::measure(&receiver, report)?;
    }
    const APART: [&str; 5] = ["routes", "kafka", "amqp", "operate", "owners"];
    if only.is_some_and(|only| only.split(',').all(|it| APART.contains(&it))) {
        return Ok(());
    }
    let read = bare_loops(size, &receiver, report)?;
    if is_wanted("through") {
        let alone = through(size, &receiver, report)?;
        drain(size, &receiver, report)?;
        backlog(size, &receiver, Others { read, alone }, report)?;
    }
    if is_wanted("latency") {
        frame_to_receiver(size, &receiver, report)?;
    }
    if is_wanted("isolation") {
        isolation(size, &receiver, report)?;
    }
    Ok(())
}

/// Figures of other runs, in events a second.
#[derive(Clone, Copy, Debug)]
struct Others {
    read: f64,
    alone: f64,
}

/// How fast the WebSocket can be read, after the other bare loops.
fn bare_loops(size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<f64> {
    let place = Place::new()?;
    let emulator = Emulator::start(place.path(), size.events, 1)?;
    let read = bare::read_messages(&emulator.url, size.events)?;
    drop(emulator);
    report.add(Row::new("bare: read the WebSocket", rate(read)));
    let post = posting(size, receiver)?;
    report.add(Row::new(format!("bare: sign and post, {IN_FLIGHT} in flight"), rate(post)));
    append(&place, BATCH, size, report)?;
    Ok(read)
}

/// Measured anew beside each figure that is held against it: other work on the machine comes and goes.
fn posting(size: Size, receiver: &Receiver) -> anyhow::Result<f64> {
    Ok(bare::post(receiver, IN_FLIGHT, size.bare_seconds)?.0)
}

fn append(place: &Place, events: usize, size: Size, report: &mut Report) -> anyhow::Result<f64> {
    let times = bare::append(place.path(), events * BODY_BYTES, size.bare_seconds.div_ceil(2))?;
    let rounds = times.len();
    let rounds_per_second = rounds as f64 / times.iter().sum::<Duration>().as_secs_f64();
    let appended = rounds_per_second * events as f64;
    let row = Row::new(format!("bare: append and fdatasync, {events} events at a time"), rate(appended));
    report.add(row.ratio(format!(
        "p50 {} p99 {}",
        millis(Times(times.clone()).at(0.5)),
        millis(Times(times).at(0.99))
    )));
    Ok(appended)
}

fn webhook(name: &'static str, receiver: &Receiver, path: &str, concurrency: usize) -> Sink {
    Sink { name, url: receiver.url(path), concurrency }
}

fn share(rate: f64, of: f64) -> String {
    format!("{:.0} %", 100.0 * rate / of)
}

/// From the WebSocket to the receiver; events a second.
fn through(size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<f64> {
    let place = Place::new()?;
    let emulator = Emulator::start(place.path(), size.events, 2)?;
    let sinks = [webhook("live", receiver, "ok", IN_FLIGHT)];
    let post = posting(size, receiver)?;
    let (rate_through, usage, batch) = carry(&place, &emulator, &sinks, receiver, size.events)?;
    let row = Row::new("WebSocket → durable → webhook", rate(rate_through)).aim("≥ 20,000/s").usage(usage);
    report.add(row.ratio(format!("{} of posting, {batch:.0} events a commit", share(rate_through, post))));
    Ok(rate_through)
}

/// Lets `count` events through to the sink `live`; events a second, use, events a commit.
fn carry(
    place: &Place,
    emulator: &Emulator,
    sinks: &[Sink],
    receiver: &Receiver,
    count: u64,
) -> anyhow::Result<(f64, Usage, f64)> {
    let before = receiver.received();
    let (relay, _) = place.start(&emulator.url, sinks)?;
    let cpu = relay.process.cpu();
    let began = receiver.wait_for(before + 1, BOUND)?;
    let ended = receiver.wait_for(before + count, BOUND)?;
    let usage = Usage::since(&relay.process, cpu, count);
    Ok((count as f64 / (ended - began).as_secs_f64(), usage, relay.batch_mean()?))
}

/// Accepts `count` events for a sink that takes none.
fn fill(place: &Place, count: u64, seed: u64, receiver: &Receiver) -> anyhow::Result<(Relay, f64, Usage)> {
    let emulator = Emulator::start(place.path(), count, seed)?;
    let (relay, _) = place.start(&emulator.url, &[webhook("stuck", receiver, "hang", 1)])?;
    let cpu = relay.process.cpu();
    let durable = relay.wait_durable(count, BOUND)?;
    let usage = Usage::since(&relay.process, cpu, durable.count);
    Ok((relay, durable.rate, usage))
}

/// Empties a small backlog.
fn drain(size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::new()?;
    let (relay, ..) = fill(&place, size.backlog_small, 3, receiver)?;
    relay.process.kill();
    empty(&place, size.backlog_small, size, receiver, report)
}

/// Lets the sink `stuck` take what waits for it.
fn empty(place: &Place, count: u64, size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    let post = posting(size, receiver)?;
    let before = receiver.received();
    let (relay, _) = place.start("ws://127.0.0.1:9", &[webhook("stuck", receiver, "ok", IN_FLIGHT)])?;
    let cpu = relay.process.cpu();
    let began = receiver.wait_for(before + 1, BOUND)?;
    let ended = receiver.wait_for(before + count, BOUND)?;
    let drained = count as f64 / (ended - began).as_secs_f64();
    let row = Row::new(format!("drain a backlog of {count}"), rate(drained));
    let usage = Usage::since(&relay.process, cpu, count);
    report.add(row.ratio(format!("{} of posting", share(drained, post))).aim("≥ 60 %").usage(usage));
    Ok(())
}

/// All that needs the large backlog: filling it, memory, the restart, a sink beside it, emptying it.
fn backlog(size: Size, receiver: &Receiver, others: Others, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::new()?;
    let (relay, accepted, usage) = fill(&place, size.backlog, 4, receiver)?;
    let appended = append(&place, relay.batch_mean()? as usize, size, report)?;
    let row = Row::new("WebSocket → durable", rate(accepted)).aim("≥ 50,000/s").usage(usage);
    let shares = format!("{} of reading, {} of appending", share(accepted, others.read), share(accepted, appended));
    report.add(row.ratio(shares));
    let memory = Row::new(format!("memory with {} pending and known", size.backlog), memory(&relay));
    report.add(memory.aim("≤ 150 MiB"));
    relay.process.kill();
    restart(&place, receiver, report)?;

    let emulator = Emulator::start(place.path(), size.events, 5)?;
    let sinks = [webhook("stuck", receiver, "hang", 1), webhook("live", receiver, "ok", IN_FLIGHT)];
    let (beside, usage, _) = carry(&place, &emulator, &sinks, receiver, size.events)?;
    drop(emulator);
    let row = Row::new(format!("through, beside a dead sink with {} pending", size.backlog), rate(beside));
    report.add(row.ratio(format!("{} of without it", share(beside, others.alone))).aim("≥ 80 %").usage(usage));
    empty(&place, size.backlog, size, receiver, report)
}

fn memory(relay: &Relay) -> String {
    format!("{} MiB, peak {} MiB", relay.process.present_mib(), relay.process.peak_mib())
}

fn restart(place: &Place, receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    let (relay, took) = place.start("ws://127.0.0.1:9", &[webhook("stuck", receiver, "hang", 1)])?;
    let row = Row::new("from kill -9 to running again", format!("{:.2} s", took.as_secs_f64()));
    report.add(row.ratio(memory(&relay)).aim("≤ 3 s"));
    Ok(())
}

fn frame_to_receiver(size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::new()?;
    let sync = Times(bare::append(place.path(), 2 * BODY_BYTES, size.bare_seconds.div_ceil(2))?);
    let post = Times(bare::post(receiver, 1, size.bare_seconds.div_ceil(2))?.1);
    let both = [0.5, 0.99].map(|share| sync.at(share) + post.at(share));
    let bare = format!("p50 {} p99 {}", millis(both[0]), millis(both[1]));
    report.add(Row::new("bare: one fdatasync and one signed post", bare));
    let sinks = [webhook("live", receiver, "ok", IN_FLIGHT)];
    let (times, usage) = latency::measure(receiver, &sinks, 100.0, size.latency_seconds)?;
    let figures = [0.5, 0.99].map(|share| times.at(share));
    let row = Row::new("frame → receiver at 100/s", format!("p50 {} p99 {}", millis(figures[0]), millis(figures[1])));
    let times: Vec<String> = figures.iter().zip(both).map(|(time, bare)| times_of(*time, bare)).collect();
    report.add(row.ratio(times.join(", ")).aim("≤ 1 ms, ≤ 2.2 ms").usage(usage));
    Ok(())
}

fn times_of(time: Duration, of: Duration) -> String {
    format!("{:.1} ×", time.as_secs_f64() / of.as_secs_f64())
}

fn isolation(size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    const RATE: f64 = 500.0;
    let live = || webhook("live", receiver, "ok", IN_FLIGHT);
    let (alone, usage) = latency::measure(receiver, &[live()], RATE, size.latency_seconds)?;
    let figure = |times: &Times| format!("p50 {} p99 {}", millis(times.at(0.5)), millis(times.at(0.99)));
    report.add(Row::new("frame → receiver at 500/s, alone", figure(&alone)).usage(usage));
    let sinks = [live(), webhook("hangs", receiver, "hang", 16), webhook("fails", receiver, "fail", 16)];
    let (beside, usage) = latency::measure(receiver, &sinks, RATE, size.latency_seconds)?;
    let row = Row::new("the same beside one that hangs and one that fails", figure(&beside)).usage(usage);
    report.add(row.ratio(format!("p99 {}", times_of(beside.at(0.99), alone.at(0.99)))).aim("≤ 1.2 ×"));
    Ok(())
}
