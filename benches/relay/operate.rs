//! What an operator's questions take on a full store, and what a replay does to those who get events meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::latency::{Times, measure_while};
use crate::receiver::Receiver;
use crate::relay::{ADMIN_TOKEN, Place, Relay, SECRET};
use crate::report::{Report, Row, millis, rate};
use crate::source::{Emulator, Pace};
use crate::{Size, bare};

/// Events that an emulator makes beforehand, at most.
const ROUND: u64 = 500_000;
const BOUND: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);
/// How often each question is asked.
const ASKED: usize = 40;
/// Live events a second, beside a replay.
const LIVE: f64 = 500.0;
/// Dead letters that are replayed at once.
const REPLAYED: u64 = 100_000;
/// How many a second, where it is limited.
const REPLAYS: [Option<u64>; 3] = [Some(1_000), Some(10_000), None];
const NOWHERE: &str = "ws://127.0.0.1:9";

/// Fills a store with dead letters and a backlog, asks, and replays.
pub(crate) fn measure(size: Size, receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::new()?;
    // One of their own, so that those who get events now do not wait for a receiver that is busy with replays.
    let others = &Receiver::start()?;
    let waiting = 5 * size.letters;
    fill(&place, others, ("refuses", "refuse"), size.letters, |desk| desk.of_sink("refuses", "dead_letters"))?;
    fill(&place, others, ("stuck", "hang"), waiting, |desk| desk.of_sink("stuck", "pending"))?;
    let sinks = [("live", receiver.url("ok")), ("refuses", others.url("take")), ("stuck", others.url("hang"))];
    let all = |source: &str| start(&place, source, &sinks);
    let relay = all(NOWHERE)?;
    let memory = format!("{} MiB", relay.process.present_mib());
    report.add(Row::new(format!("memory: {} dead letters, {waiting} waiting", size.letters), memory));
    ask(&Desk::at(relay)?, report)?;
    let pace = |first| Pace { rate: LIVE, seconds: size.latency_seconds, first };
    let (alone, usage, ()) = measure_while(receiver, pace(0), all, |_| Ok(()))?;
    let figures = |times: &Times| format!("p50 {} p99 {}", millis(times.at(0.5)), millis(times.at(0.99)));
    report.add(Row::new("frame → receiver at 500/s, on that store", figures(&alone)).usage(usage));
    let mut first = 0;
    for limit in REPLAYS {
        first += 1 << 32;
        let count = limit.map_or(REPLAYED, |limit| REPLAYED.min(limit * size.latency_seconds));
        let replayed = |relay: &mut Relay| replay(relay, others, (count, limit));
        let (beside, usage, speed) = measure_while(receiver, pace(first), all, replayed)?;
        let times = beside.at(0.99).as_secs_f64() / alone.at(0.99).as_secs_f64();
        let how = limit.map_or("as fast as it goes".to_owned(), |limit| format!("at {limit}/s"));
        let row = Row::new(format!("replay of {count} dead letters, {how}"), rate(speed));
        report.add(if limit.is_none() { row.aim("≥ 10,000/s") } else { row });
        let row = Row::new("frame → receiver beside it", figures(&beside)).usage(usage);
        report.add(row.ratio(format!("p99 {times:.2} ×")).aim("≤ 1.2 ×"));
    }
    Ok(())
}

/// A relay with these sinks, each a name and an address.
fn start(place: &Place, source: &str, sinks: &[(&str, String)]) -> anyhow::Result<Relay> {
    let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
    // Events go to the first one alone; the others have a route, as they must, for a token that never comes.
    let (to, names) = (names.first().context("a sink")?, names.join(", "));
    let sinks: String = sinks
        .iter()
        .map(|(name, url)| {
            format!(
                "  {name}: {{ concurrency: 64, backlog: {{ max_bytes: 100GiB }}, webhook: {{ url: \"{url}\", timeout: \
                 60s, secrets: [{SECRET}] }} }}\n"
            )
        })
        .collect();
    let data = place.path().join("data");
    let text = format!(
        "source: {{ network: testnet, url: \"{source}\", api_key: emulator-key }}\n\
         store: {{ path: \"{}\", max_bytes: 100GiB }}\ndead_letters: {{ max_bytes: 50GiB }}\n\
         routes:\n  everything: {{ match: all, sinks: [{to}] }}\n  nothing: {{ match: {{ token_id: none }}, sinks: \
         [{names}] }}\nsinks:\n{sinks}",
        data.display()
    );
    Ok(place.start_with(&text)?.0)
}

/// Lets events come to one sink until it has so many of them in this number of it.
fn fill(
    place: &Place,
    receiver: &Receiver,
    (sink, path): (&str, &str),
    count: u64,
    number: impl Fn(&Desk) -> anyhow::Result<u64>,
) -> anyhow::Result<()> {
    for (round, first) in (0..count).step_by(ROUND as usize).enumerate() {
        let until = count.min(first + ROUND);
        let seed = (sink.len() + path.len()) as u64 * 1000 + round as u64;
        let emulator = Emulator::start(place.path(), until - first, seed)?;
        let desk = Desk::at(start(place, &emulator.url, &[(sink, receiver.url(path))])?)?;
        wait(|| Ok(number(&desk)? >= until)).with_context(|| format!("filling {sink}"))?;
    }
    Ok(())
}

fn wait(mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_so()? {
        ensure!(began.elapsed() < BOUND, "not within {BOUND:?}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Asks everything that people ask.
fn ask(desk: &Desk, report: &mut Report) -> anyhow::Result<()> {
    let mut letters = Vec::new();
    let mut pages = Vec::new();
    let mut cursor = String::new();
    for _ in 0..ASKED {
        let (page, took) = desk.get(&format!("/api/v1/dead-letters?limit=500{cursor}"))?;
        pages.push(took);
        letters.extend(page.get("dead_letters").and_then(Value::as_array).cloned().unwrap_or_default());
        cursor = text(&page, "next").map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    add(report, "500 dead letters, page by page", pages, "≤ 100 ms");
    let text = |letter: &Value, key: &str| text(letter, key).unwrap_or_default().to_owned();
    let letters: Vec<Value> = letters.into_iter().step_by(97).take(ASKED).collect();
    type Path<'a> = &'a dyn Fn(&Value) -> String;
    let questions: [(&str, Path<'_>, &str); 8] = [
        (
            "dead letters of a token",
            &|it| format!("/api/v1/dead-letters?token_id={}", text(it, "token_id")),
            "≤ 100 ms",
        ),
        ("dead letters of a cause that none has", &|_| "/api/v1/dead-letters?cause=timeout".to_owned(), "≤ 100 ms"),
        ("a dead letter", &|it| format!("/api/v1/dead-letters/{}", text(it, "id")), "≤ 50 ms"),
        ("an event by its id", &|it| format!("/api/v1/events/{}", text(it, "id")), "≤ 50 ms"),
        (
            "a token's history",
            &|it| format!("/api/v1/tokens/{}/{}/events", text(it, "contract_package"), text(it, "token_id")),
            "≤ 50 ms",
        ),
        ("status", &|_| "/api/v1/status".to_owned(), "≤ 50 ms"),
        ("sinks", &|_| "/api/v1/sinks".to_owned(), "≤ 50 ms"),
        ("metrics", &|_| "/metrics".to_owned(), "≤ 50 ms"),
    ];
    for (name, path, aim) in questions {
        let times: anyhow::Result<Vec<_>> = letters.iter().map(|letter| desk.time(&path(letter))).collect();
        add(report, name, times?, aim);
    }
    Ok(())
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn add(report: &mut Report, name: &str, times: Vec<Duration>, aim: &str) {
    let times = Times::new(times);
    let figures = format!("p50 {} max {}", millis(times.at(0.5)), millis(times.at(1.0)));
    report.add(Row::new(format!("ask: {name}"), figures).aim(aim));
}

/// Replays letters until their sink has them; how many in a second.
fn replay(relay: &mut Relay, receiver: &Receiver, (count, limit): (u64, Option<u64>)) -> anyhow::Result<f64> {
    let desk = Desk::of(relay)?;
    let before = receiver.taken();
    let order = json!({ "kind": "replay_dead_letters", "filter": { "sink": "refuses" }, "rate": limit });
    let began = Instant::now();
    let job = desk.ask(Method::POST, "/api/v1/jobs", Some(&order))?;
    let number = job.get("number").and_then(Value::as_u64).context("the number of the job")?;
    wait(|| Ok(receiver.taken() >= before + count))?;
    let took = began.elapsed();
    desk.ask(Method::POST, &format!("/api/v1/jobs/{number}/cancel"), None)?;
    Ok(count as f64 / took.as_secs_f64())
}

/// Where to ask a relay.
pub(crate) struct Desk {
    runtime: Runtime,
    client: Client,
    base: String,
    /// Ends with this.
    _relay: Option<Relay>,
}

impl Desk {
    fn at(mut relay: Relay) -> anyhow::Result<Self> {
        let desk = Self::of(&mut relay)?;
        Ok(Self { _relay: Some(relay), ..desk })
    }

    pub(crate) fn of(relay: &mut Relay) -> anyhow::Result<Self> {
        let said = relay.process.wait_for("admin=", BOUND)?;
        let address = said.split_once("admin=").and_then(|(_, rest)| rest.split_whitespace().next());
        let base = format!("http://{}", address.context("where its admin side is")?);
        Ok(Self { runtime: bare::runtime()?, client: Client::builder().no_proxy().build()?, base, _relay: None })
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(ADMIN_TOKEN);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = self.runtime.block_on(async { request.send().await?.error_for_status()?.bytes().await })?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<(Value, Duration)> {
        let began = Instant::now();
        let answer = self.ask(Method::GET, path, None)?;
        Ok((answer, began.elapsed()))
    }

    fn time(&self, path: &str) -> anyhow::Result<Duration> {
        Ok(self.get(path)?.1)
    }

    fn of_sink(&self, name: &str, number: &str) -> anyhow::Result<u64> {
        let answer = self.get(&format!("/api/v1/sinks/{name}"))?.0;
        answer.get(number).and_then(Value::as_u64).with_context(|| format!("no `{number}` in {answer}"))
    }
}
