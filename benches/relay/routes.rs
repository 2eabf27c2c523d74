//! What routes cost: the relay reads messages that meet routes but match none, so that what is measured is reading,
//! decoding and routing, and nothing is stored until the last message.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::SinkExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::Size;
use crate::relay::{Place, Relay};
use crate::report::{Report, Row, Usage};

/// Routes of the large configuration, and owners of the long list.
const MANY: u64 = 100_000;
const FEW: u64 = 10;
const BOUND: Duration = Duration::from_secs(150);
/// The token of the message that ends a run.
const LAST: &str = "last";

/// What a configuration has beside the route for the last message.
#[derive(Clone, Copy, Debug)]
enum Routes {
    /// Each names a package or an owner, by turns, and an action that does not come.
    Single(u64),
    /// One names this many owners, in a file.
    List(u64),
}

/// CPU for each event with few routes, with many, and with one long list; time and memory to load the many.
pub(crate) fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let few = run(Routes::Single(FEW), size)?;
    report.add(Row::new(format!("read and route, {FEW} routes"), figure(&few)).usage(few.usage));
    for (routes, name) in [
        (Routes::Single(MANY), format!("read and route, {MANY} routes")),
        (Routes::List(MANY), format!("read and route, a list of {MANY} owners")),
    ] {
        let many = run(routes, size)?;
        let ratio = many.usage.cpu_micros() / few.usage.cpu_micros();
        let row = Row::new(name.clone(), figure(&many)).ratio(format!("{ratio:.2} × of {FEW} routes"));
        report.add(row.aim("≤ 1.5 ×").usage(many.usage));
        let loading = Row::new(format!("start: {name}"), format!("{:.2} s", many.start.as_secs_f64()));
        report.add(loading.ratio(format!("peak {} MiB", many.peak_mib)).aim("≤ 3 s, ≤ 300 MiB"));
    }
    Ok(())
}

struct Run {
    usage: Usage,
    start: Duration,
    /// When the relay was running, before the first event.
    peak_mib: u64,
}

fn figure(run: &Run) -> String {
    format!("{:.1} µs CPU an event", run.usage.cpu_micros())
}

fn run(routes: Routes, size: Size) -> anyhow::Result<Run> {
    let place = Place::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let url = format!("ws://{}", listener.local_addr()?);
    let (relay, start) = place.start_with(&configuration(&place, &url, routes)?)?;
    let peak_mib = relay.process.peak_mib();
    let usage = routed(&relay, &runtime, listener, size.events)?;
    Ok(Run { usage, start, peak_mib })
}

/// Sends `count` messages to a relay that waits for them; what it used until the last one was durable.
fn routed(
    relay: &Relay,
    runtime: &tokio::runtime::Runtime,
    listener: TcpListener,
    count: u64,
) -> anyhow::Result<Usage> {
    let messages: Vec<String> = (0..count).map(message).collect();
    let cpu = relay.process.cpu();
    let serving = runtime.spawn(publish(listener, messages));
    relay.wait_accepted(1, BOUND)?;
    let usage = Usage::since(&relay.process, cpu, count);
    serving.abort();
    Ok(usage)
}

async fn publish(listener: TcpListener, messages: Vec<String>) -> anyhow::Result<()> {
    let (socket, _) = listener.accept().await?;
    let mut socket = tokio_tungstenite::accept_async(socket).await?;
    for message in messages {
        socket.feed(Message::text(message)).await?;
    }
    socket.send(Message::text(event(0, 0, LAST))).await?;
    // The connection stays open until the run is over.
    std::future::pending().await
}

/// Its package and its owner are named by routes far apart.
fn message(number: u64) -> String {
    event(number * 7919 % MANY, number * 104_729 % MANY, &number.to_string())
}

fn event(package: u64, owner: u64, token: &str) -> String {
    crate::source::event(&hash(package), &hash(owner), token)
}

/// Digits as they come on the chain: equal beginnings would make comparisons slower than they are.
fn hash(number: u64) -> String {
    let mut digits = String::with_capacity(64);
    let mut state = number;
    for _ in 0..4 {
        state = (state ^ (state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
        // Writing to a String cannot fail.
        let _written = write!(digits, "{:016x}", state ^ (state >> 29));
    }
    digits
}

fn configuration(place: &Place, url: &str, routes: Routes) -> anyhow::Result<String> {
    let mut text = format!(
        "source: {{ network: testnet, url: \"{url}\", api_key: emulator-key }}\n\
         store: {{ path: \"{}\" }}\nsinks: {{ out: {{ stdout: {{}} }} }}\nroutes:\n  last: {{ match: {{ token_id: {LAST} }}, \
         sinks: out }}\n",
        place.path().join("data").display()
    );
    match routes {
        Routes::Single(count) => {
            for number in 0..count {
                let key = if number % 2 == 0 { "contract_package" } else { "owner" };
                let hash = hash(number);
                writeln!(text, "  r{number}: {{ match: {{ {key}: {hash}, action: updated }}, sinks: out }}")?;
            }
        }
        Routes::List(count) => {
            let list: String = (0..count).map(|number| hash(number) + "\n").collect();
            std::fs::write(place.path().join("owners.txt"), list)?;
            text.push_str("  list: { match: { owner: { file: owners.txt }, action: updated }, sinks: out }\n");
        }
    }
    Ok(text)
}
