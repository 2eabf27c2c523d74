//! `cspr-relay emulate`: a stand-in for CSPR.cloud to try the relay with, without a key and without a network.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::emulator::{
    BadKey, Closing, Emulator, ExtraShape, Fault, MetadataShape, Pace, Refusal, RestSettings, Sessions, Settings,
    Shape, Text, TrackingShape, Trigger, World, play,
};
use crate::event::Stream;
use crate::lifecycle::Lifecycle;

/// Play CSPR.cloud's streaming API on this machine
///
/// Serves made-up but realistic NFT events over a WebSocket, with the habits of the real service and faults on demand.
/// Events are published from the moment a client is connected; at the end (Ctrl-C) one line of JSON says how many
/// distinct events were sent, which is what a relay must have delivered.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen at; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8765")]
    listen: SocketAddr,
    /// Write each distinct event sent to this file, one JSON line each: n, stream, `sent_at_ms`, message
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    faults: Faults,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What is published")]
struct Traffic {
    /// Events per second; 0 is as fast as the clients read. After a stall at most a second is made up for
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Stop publishing after this many events, and go on serving
    #[arg(long, value_name = "EVENTS")]
    count: Option<usize>,
    /// The same seed gives the same events, byte for byte
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let the events happen now, as they are published; otherwise the first happens when the documented sample did
    #[arg(long)]
    now: bool,
    /// Publish this stream only [default: nft-tokens and nft-token-actions]; with --replay, the stream of its lines
    #[arg(long, value_parser = stream_parser())]
    stream: Option<Stream>,
    /// Publish the lines of this file, one message each, instead of made-up events
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Make all events before the first is published, for measurements; needs --count
    #[arg(long, requires = "count")]
    pregenerate: bool,
    /// Go on publishing while no client is connected; a client without a persistent session misses those events
    #[arg(long)]
    unattended: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What the events look like")]
struct ShapeArgs {
    /// About how long a message of nft-tokens is
    #[arg(long, value_name = "BYTES", default_value_t = 1350)]
    body_bytes: usize,
    /// Whether `tracking_id` is a JSON number or a text
    #[arg(long, value_enum, default_value = "number")]
    tracking: TrackingShape,
    /// Add `block_height` to the data
    #[arg(long)]
    block_height: bool,
    /// How `onchain_metadata` is written
    #[arg(long, value_enum, default_value = "mixed")]
    metadata: MetadataShape,
    /// How an extra without content is written
    #[arg(long, value_enum, default_value = "null")]
    extra: ExtraShape,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "How the service behaves")]
struct Service {
    /// The key a client must send in Authorization, as it is
    #[arg(long, value_name = "KEY", default_value = "emulator-key")]
    api_key: String,
    /// The answer to a wrong key: 401 with JSON, 401 with a text that echoes the key, or 403
    #[arg(long, value_enum, default_value = "json")]
    bad_key: BadKey,
    /// What the header Persistent-Session does
    #[arg(long, value_enum, default_value = "replay")]
    sessions: Sessions,
    /// Events kept for slow clients and for sessions that return
    #[arg(long, value_name = "EVENTS", default_value_t = 16_384)]
    history: usize,
    /// Seconds between text keep-alives (`Ping`); 0 sends none
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    ping_every: u64,
    /// Seconds between the protocol's own pings; 0 sends none
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    protocol_ping_every: u64,
    /// Send longer messages in fragments of this size
    #[arg(long, value_name = "BYTES")]
    fragment: Option<usize>,
    /// Pause after each message
    #[arg(long, value_name = "MILLISECONDS")]
    slow: Option<u64>,
    /// Serve the REST API as well, on the same port: the tokens published so far, what was done with them, who owns how many
    #[arg(long)]
    rest: bool,
    /// How long REST takes to know of what the stream has told
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, requires = "rest")]
    rest_lag: u64,
    /// Leave `item_count` and `page_count` out of its lists
    #[arg(long, requires = "rest")]
    rest_without_counters: bool,
}

/// Each fault takes a share of the events (0.01) or a period (30s).
#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Faults; TRIGGER is the share of events after which one happens (0.01) or a period (30s)"
)]
struct Faults {
    /// End the connection
    #[arg(long, value_name = "TRIGGER")]
    drop: Option<Trigger>,
    /// How it ends: a close code, or `eof` for no goodbye
    #[arg(long, value_name = "CODE", default_value = "1001")]
    close_code: Closing,
    /// Fall silent while staying connected; what is published meanwhile does not come
    #[arg(long, value_name = "TRIGGER")]
    stall: Option<Trigger>,
    /// How long a stall lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    stall_seconds: u64,
    /// Never send the next event, though the connection stays well and REST knows of it
    #[arg(long, value_name = "TRIGGER")]
    lose: Option<Trigger>,
    /// Send an event again
    #[arg(long, value_name = "TRIGGER")]
    duplicate: Option<Trigger>,
    /// Which event that is: the one this many before the last
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    duplicate_distance: usize,
    /// Leave the envelope timestamp of duplicates as it was
    #[arg(long)]
    duplicate_exactly: bool,
    /// Let two events change places
    #[arg(long, value_name = "TRIGGER")]
    reorder: Option<Trigger>,
    /// Send a text that is no event
    #[arg(long, value_name = "TRIGGER")]
    garbage: Option<Trigger>,
    /// Send a message beyond every sensible limit
    #[arg(long, value_name = "TRIGGER")]
    giant: Option<Trigger>,
    /// How large that is
    #[arg(long, value_name = "BYTES", default_value_t = 5 << 20)]
    giant_bytes: usize,
    /// Send a text frame that is not UTF-8
    #[arg(long, value_name = "TRIGGER")]
    invalid_utf8: Option<Trigger>,
    /// Refuse this share of connections, and of REST requests (0.5)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    refuse: f64,
    /// With this HTTP status
    #[arg(long, value_name = "STATUS", default_value_t = 503, value_parser = clap::value_parser!(u16).range(300..600))]
    refuse_status: u16,
    /// And this Retry-After
    #[arg(long, value_name = "TEXT")]
    refuse_retry_after: Option<String>,
}

/// Serves until interrupted. Everything printed goes to `out`.
pub(crate) async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let record = args.log.as_deref().map(create).transpose()?;
    let messages = messages(&args.traffic, args.shape.shape())?;
    let lifecycle = Lifecycle::default();
    let emulator = Emulator::start(&lifecycle, args.listen, args.settings(), record)
        .await
        .with_context(|| format!("listening at {}", args.listen))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    greet(out, &emulator, &args.service)?;

    let publishing = async {
        let count = play(&emulator, messages, args.traffic.pace()).await;
        writeln!(out, "Published all {count} events; serving until interrupted.")?;
        out.flush()?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        outcome = publishing => outcome?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    summarise(out, &emulator)?;
    lifecycle.drain().cancel();
    Ok(())
}

fn greet(out: &mut impl Write, emulator: &Emulator, service: &Service) -> std::io::Result<()> {
    let (url, api_key) = (emulator.base_url(), &service.api_key);
    writeln!(out, "The emulator listens at {url}. To point a relay at it, write into its configuration:\n")?;
    writeln!(out, "source:\n  network: testnet\n  url: {url}\n  api_key: {api_key}")?;
    if service.rest {
        writeln!(out, "  rest: {{ url: {} }}", emulator.rest_url())?;
    }
    writeln!(out)?;
    out.flush()
}

fn summarise(out: &mut impl Write, emulator: &Emulator) -> std::io::Result<()> {
    let tally = emulator.tally();
    let by_stream = |counts: &std::collections::BTreeMap<Stream, u64>| -> serde_json::Value {
        counts.iter().map(|(stream, count)| (stream.to_string(), json!(count))).collect()
    };
    let summary = json!({
        "published": tally.published,
        "sent": tally.sent_total(),
        "sent_by_stream": by_stream(&tally.sent),
        "duplicates": tally.duplicates_total(),
        "duplicates_by_stream": by_stream(&tally.duplicates),
        "repeats": tally.repeats,
        "lost": tally.lost,
        "sessions_overflowed": tally.overflowed,
        "nonsense": tally.nonsense,
        "connections": tally.connections,
        "refused": tally.refused,
    });
    writeln!(out, "{summary}")?;
    out.flush()
}

fn create(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    let file = File::create(path).with_context(|| format!("creating the log {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

type Messages = Box<dyn Iterator<Item = (Stream, Text)> + Send>;

fn messages(traffic: &Traffic, shape: Shape) -> anyhow::Result<Messages> {
    ensure!(traffic.rate >= 0.0 && traffic.rate.is_finite(), "--rate must be 0 or more");
    let all: Messages = match &traffic.replay {
        Some(path) => replayed(path, traffic.stream.unwrap_or(Stream::NftTokens))?,
        None => generated(traffic, shape)?,
    };
    let limited: Messages = match traffic.count {
        Some(count) => Box::new(all.take(count)),
        None => all,
    };
    Ok(if traffic.pregenerate { Box::new(limited.collect::<Vec<_>>().into_iter()) } else { limited })
}

fn generated(traffic: &Traffic, shape: Shape) -> anyhow::Result<Messages> {
    let wanted = traffic.stream;
    let is_made = matches!(wanted, None | Some(Stream::NftTokens | Stream::NftTokenActions));
    ensure!(is_made, "events are made up for nft-tokens and nft-token-actions only: give others with --replay");
    let mut world = World::new(traffic.seed, shape);
    if traffic.now {
        world = world.beginning_at(Clock::default().now(), traffic.rate);
    }
    Ok(Box::new(world.filter(move |(stream, _)| wanted.is_none_or(|wanted| *stream == wanted))))
}

fn replayed(path: &Path, stream: Stream) -> anyhow::Result<Messages> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let messages: Vec<_> = lines.map(|line| (stream, Text::from(line))).collect();
    ensure!(!messages.is_empty(), "{} holds no message", path.display());
    Ok(Box::new(messages.into_iter()))
}

fn stream_parser() -> impl TypedValueParser<Value = Stream> {
    PossibleValuesParser::new(Stream::all().filter(|stream| !stream.is_our_own()).map(Stream::as_str))
        .try_map(|name| Stream::from_name(&name).ok_or("no such stream"))
}

impl Traffic {
    fn pace(&self) -> Pace {
        Pace { rate: (self.rate > 0.0).then_some(self.rate), is_unattended: self.unattended }
    }
}

impl ShapeArgs {
    fn shape(&self) -> Shape {
        Shape {
            tracking: self.tracking,
            has_block_height: self.block_height,
            metadata: self.metadata,
            extra: self.extra,
            body_bytes: self.body_bytes,
        }
    }
}

impl Args {
    fn settings(&self) -> Settings {
        let Self { service, faults, traffic, .. } = self;
        let seconds = |count: u64| (count > 0).then(|| Duration::from_secs(count));
        let refusal = Refusal {
            retry_after: faults.refuse_retry_after.clone(),
            ..Refusal::text(faults.refuse_status, "refused\n")
        };
        Settings {
            api_key: service.api_key.clone(),
            bad_key: service.bad_key,
            sessions: service.sessions,
            ping_every: seconds(service.ping_every),
            protocol_ping_every: seconds(service.protocol_ping_every),
            fragment_bytes: service.fragment,
            slow: service.slow.map(Duration::from_millis),
            closing: faults.close_code,
            stall: Duration::from_secs(faults.stall_seconds),
            giant_bytes: faults.giant_bytes,
            duplicate_distance: faults.duplicate_distance,
            duplicates_are_restamped: !faults.duplicate_exactly,
            faults: faults.triggers().collect(),
            refuse: (faults.refuse > 0.0).then_some((faults.refuse, refusal)),
            history: service.history.max(1),
            keeps_sent: false,
            seed: traffic.seed,
            rest: service.rest.then_some(RestSettings {
                lag: Duration::from_millis(service.rest_lag),
                omits_counters: service.rest_without_counters,
            }),
        }
    }
}

impl Faults {
    fn triggers(&self) -> impl Iterator<Item = (Fault, Trigger)> {
        let flags = [
            (Fault::Drop, self.drop),
            (Fault::Stall, self.stall),
            (Fault::Lose, self.lose),
            (Fault::Duplicate, self.duplicate),
            (Fault::Reorder, self.reorder),
            (Fault::Garbage, self.garbage),
            (Fault::Giant, self.giant),
            (Fault::InvalidUtf8, self.invalid_utf8),
        ];
        flags.into_iter().filter_map(|(fault, trigger)| Some((fault, trigger?)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        emulate: Args,
    }

    #[test]
    fn flags_become_settings() {
        let line =
            "emulate --drop 30s --close-code eof --duplicate 0.01 --refuse 0.5 --refuse-status 429 --ping-every 0";
        let args = Command::try_parse_from(line.split(' ')).unwrap().emulate;
        let settings = args.settings();
        assert_eq!(settings.closing, Closing::Eof);
        assert_eq!(settings.faults[&Fault::Drop], Trigger::Every(Duration::from_secs(30)));
        assert_eq!(settings.faults[&Fault::Duplicate], Trigger::Share(0.01));
        assert_eq!(settings.refuse.unwrap().1.status, 429);
        assert_eq!(settings.ping_every, None);
    }

    #[test]
    fn traffic_is_limited_and_narrowed() {
        let parse = |line: &str| Command::try_parse_from(line.split(' ')).unwrap().emulate;
        let args = parse("emulate --count 50 --stream nft-token-actions --pregenerate");
        let all: Vec<_> = messages(&args.traffic, args.shape.shape()).unwrap().collect();
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|(stream, _)| *stream == Stream::NftTokenActions));
        let args = parse("emulate --stream blocks");
        assert!(messages(&args.traffic, args.shape.shape()).is_err());
    }
}
