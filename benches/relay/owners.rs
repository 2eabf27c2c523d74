//! What it costs to watch who owns what: actions of one package at a pace, with and without the watch.
//!
//! The route that watches waits for an owner of more tokens than anybody gets, so what is measured is the watch, and not
//! the delivery of what it tells.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::operate::Desk;
use crate::process::Process;
use crate::receiver::Receiver;
use crate::relay::{Place, SECRET};
use crate::report::{Report, Row, Usage, rate};

/// Actions a second.
const RATE: u64 = 1_000;
/// With the time after it a minute, for which the budget is: in a shorter one all of it would fall on fewer events.
const SECONDS: u64 = 57;
const OWNERS: u64 = 400;
const TOKENS: u64 = 5_000;
/// As the free tier allows.
const PER_MINUTE: u64 = 100;
/// After the last action: the time in which the relay looks for what is due. The same with and without.
const AFTER: Duration = Duration::from_secs(3);
const BOUND: Duration = Duration::from_secs(120);

/// Measures both.
pub(crate) fn measure(receiver: &Receiver, report: &mut Report) -> anyhow::Result<()> {
    let (without, _) = run(false, receiver)?;
    report.add(Row::new(format!("actions at {RATE}/s → webhook"), rate(RATE as f64)).usage(without));
    let (with, requests) = run(true, receiver)?;
    let more = 100.0 * (with.cpu_micros() / without.cpu_micros() - 1.0);
    let figure = format!("{more:+.0} %, {requests} requests");
    let aim = format!("≤ 10 %, ≤ {PER_MINUTE}");
    report.add(Row::new("the same, the package being watched", figure).aim(aim).usage(with));
    Ok(())
}

/// What the relay has used, and how often it asked.
fn run(is_watching: bool, receiver: &Receiver) -> anyhow::Result<(Usage, u64)> {
    let count = RATE * SECONDS;
    let place = Place::new()?;
    let (_emulator, url) = emulator(place.path(), count)?;
    let before = receiver.received();
    let (mut relay, _) = place.start_with(&configuration(&place, &url, is_watching, receiver))?;
    let cpu = relay.process.cpu();
    receiver.wait_for(before + count, BOUND)?;
    std::thread::sleep(AFTER);
    let usage = Usage::since(&relay.process, cpu, count);
    let (status, _) = Desk::of(&mut relay)?.get("/api/v1/status")?;
    let asked = status.pointer("/rest/day_requests").and_then(serde_json::Value::as_u64);
    Ok((usage, asked.context("how often it asked")?))
}

fn configuration(place: &Place, url: &str, is_watching: bool, receiver: &Receiver) -> String {
    let package = package();
    let watch = if is_watching {
        format!(
            "  owners: {{ stream: nft-token-ownership, match: {{ contract_package: {package}, where: {{ \
             /data/tokens_number: {{ gte: {TOKENS} }} }} }}, sinks: [quiet] }}\n"
        )
    } else {
        String::new()
    };
    let quiet = if is_watching { "  quiet: { stdout: {} }\n" } else { "" };
    format!(
        "source: {{ network: testnet, url: \"{url}\", api_key: emulator-key, rest: {{ url: \"{}\", \
         requests_per_minute: {PER_MINUTE} }} }}\nstore: {{ path: \"{}\" }}\nroutes:\n  actions: {{ stream: \
         nft-token-actions, match: {{ contract_package: {package} }}, sinks: [live] }}\n{watch}sinks:\n  live: {{ \
         concurrency: 64, webhook: {{ url: \"{}\", timeout: 60s, secrets: [{SECRET}] }} }}\n{quiet}",
        url.replace("ws://", "http://"),
        place.path().join("data").display(),
        receiver.url("ok"),
    )
}

fn package() -> String {
    format!("{:064x}", 7)
}

/// Plays transfers of tokens from owner to owner to whoever is connected.
fn emulator(directory: &Path, count: u64) -> anyhow::Result<(Process, String)> {
    let (mut text, package) = (String::new(), package());
    for number in 0..count {
        let (token, from, to) = (number % TOKENS, number * 7 % OWNERS, number * 13 % OWNERS);
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            r#"{{"data":{{"deploy_hash":"{number:064x}","contract_package_hash":"{package}","token_id":"{token}","from_type":0,"from_hash":"{from:064x}","to_type":0,"to_hash":"{to:064x}","nft_action_id":4,"token_tracking_id":{token},"timestamp":"2026-01-01T00:00:00Z"}},"action":"created","extra":{{"owner_hash":"{to:064x}"}},"timestamp":"2026-01-01T00:00:00Z"}}"#
        );
    }
    let messages = directory.join("actions.jsonl");
    std::fs::write(&messages, text)?;
    let fixed = format!("emulate --listen 127.0.0.1:0 --rest --rate {RATE} --stream nft-token-actions --replay");
    let mut arguments: Vec<String> = fixed.split_ascii_whitespace().map(str::to_owned).collect();
    arguments.push(messages.display().to_string());
    let mut process = Process::start(directory, "emulator", &arguments)?;
    let output = process.wait_for("rest: ", Duration::from_secs(30))?;
    let url = output.lines().find_map(|line| line.trim().strip_prefix("url: "));
    Ok((process, url.context("the emulator named no address")?.to_owned()))
}
