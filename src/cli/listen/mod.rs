//! `cspr-relay listen`: a webhook consumer to look at what comes, and to try how the relay copes with a bad one.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

mod line;
mod summary;

pub(super) use line::{escaped_in_json, shown};

use super::secret::Secrets;
use crate::config::duration;
use crate::emulator::receiver::{Answer, Behaviour, Keeps, Observer, Received, Receiver, Settings, When};
use crate::lifecycle::Lifecycle;

/// Lines that may wait for the terminal; further ones are not shown, and counted.
const LINES_MAX: usize = 4096;

/// Receive webhooks and show them
///
/// Serves any path at the address, checks signatures if a secret is given, and prints one line for each request: time,
/// stream and action, package/token, event id, sequence, attempt, format unless it is raw, signature, answered status.
/// Ctrl-C ends it with a summary. By default every request is answered 204, and 401 if a secret is given and the signature is wrong.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen at; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    secrets: Secrets,
    /// Print requests and the summary as JSON, one line each
    #[arg(long)]
    json: bool,
    /// Print nothing but the address and the summary
    #[arg(long)]
    quiet: bool,
    /// Write one JSON line for each request to this file, before the request is answered; an old file is replaced
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    faults: Faults,
}

#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "How it misbehaves")]
struct Faults {
    /// Answer with this status
    #[arg(long, value_name = "STATUS", group = "answer", value_parser = clap::value_parser!(u16).range(200..600))]
    fail: Option<u16>,
    /// Answer 410: the endpoint is gone for good
    #[arg(long, group = "answer")]
    gone: bool,
    /// Answer 429 with this Retry-After
    #[arg(long, value_name = "SECONDS", group = "answer")]
    throttle: Option<u64>,
    /// Never answer
    #[arg(long, group = "answer")]
    hang: bool,
    /// Answer at one byte a second, without end
    #[arg(long, group = "answer")]
    drip: bool,
    /// Answer 200 with a body without end
    #[arg(long, group = "answer")]
    endless: bool,
    /// Close the connection instead of answering
    #[arg(long, group = "answer")]
    close: bool,
    /// Misbehave (503 unless told otherwise) at the first N attempts of each event only
    #[arg(long, value_name = "N")]
    fail_first: Option<u32>,
    /// Wait before each answer, such as 500ms or 2s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
}

/// Serves until interrupted. Everything printed goes to `out`.
pub(crate) async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let settings = Settings {
        keys: args.secrets.keys()?,
        behaviour: args.faults.behaviour(),
        keeps: Keeps::Ids,
        ..Settings::default()
    };
    let log = args
        .log
        .as_ref()
        .map(|path| File::create(path).with_context(|| format!("creating the log {}", path.display())));
    let (observer, mut screen) = observe(&args, log.transpose()?);
    let lifecycle = Lifecycle::default();
    let receiver = Receiver::start(&lifecycle, args.listen, settings, Some(observer))
        .await
        .with_context(|| format!("listening at {}", args.listen))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    greet(out, &args, &receiver)?;
    tokio::select! {
        outcome = screen.show(out) => outcome?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    lifecycle.drain().cancel();
    screen.show_rest(out)?;
    summary::write(out, &receiver.tally(), args.json)?;
    Ok(out.flush()?)
}

fn greet(out: &mut impl Write, args: &Args, receiver: &Receiver) -> io::Result<()> {
    if !args.json {
        writeln!(out, "Listening at {}; Ctrl-C ends with a summary.", receiver.url())?;
    }
    out.flush()
}

/// The lines on their way from the receiver to the terminal, which may be slower.
struct Screen {
    lines: mpsc::Receiver<String>,
    skipped: Arc<AtomicU64>,
}

/// What the receiver tells of each request: a line for the log, written when this returns, and one for the screen.
fn observe(args: &Args, mut log: Option<File>) -> (Observer, Screen) {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let skipped = Arc::new(AtomicU64::new(0));
    let screen = Screen { lines, skipped: Arc::clone(&skipped) };
    let (is_quiet, is_json) = (args.quiet, args.json);
    let observer = move |received: &Received| {
        if let Some(log) = &mut log {
            // A file without a buffer: one write for each line.
            log.write_all(format!("{}\n", line::json(received)).as_bytes())?;
        }
        if is_quiet {
            return Ok(());
        }
        let line = if is_json { line::json(received) } else { line::text(received) };
        if sender.try_send(line).is_err() {
            skipped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    (Box::new(observer), screen)
}

impl Screen {
    /// Prints what comes, for ever; a line taken out is printed before the next await.
    async fn show(&mut self, out: &mut impl Write) -> io::Result<()> {
        while let Some(line) = self.lines.recv().await {
            writeln!(out, "{line}")?;
            self.show_rest(out)?;
        }
        Ok(())
    }

    /// Prints what is waiting.
    fn show_rest(&mut self, out: &mut impl Write) -> io::Result<()> {
        while let Ok(line) = self.lines.try_recv() {
            writeln!(out, "{line}")?;
        }
        let skipped = self.skipped.swap(0, Ordering::Relaxed);
        if skipped > 0 {
            tracing::warn!(
                skipped,
                "requests came faster than they can be printed; the log file and the counts are whole"
            );
        }
        out.flush()
    }
}

impl Faults {
    fn behaviour(&self) -> Behaviour {
        let answer = match self {
            Self { fail: Some(status), .. } => Answer::Status(*status),
            Self { gone: true, .. } => Answer::Status(410),
            Self { throttle: Some(seconds), .. } => Answer::Throttle { seconds: *seconds },
            Self { hang: true, .. } => Answer::Hang,
            Self { drip: true, .. } => Answer::Drip,
            Self { endless: true, .. } => Answer::Endless(200),
            Self { close: true, .. } => Answer::Close,
            Self { fail_first: Some(_), .. } => Answer::Status(503),
            _ => Answer::OK,
        };
        let when = self.fail_first.map_or(When::Always, When::FirstPerId);
        Behaviour { answer, when, delay: self.delay.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        listen: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.listen)
    }

    #[test]
    fn flags_become_a_behaviour() {
        let cases = [
            ("listen", Behaviour::default()),
            ("listen --fail 500", Behaviour::always(Answer::Status(500))),
            ("listen --gone", Behaviour::always(Answer::Status(410))),
            ("listen --throttle 30", Behaviour::always(Answer::Throttle { seconds: 30 })),
            ("listen --hang", Behaviour::always(Answer::Hang)),
            ("listen --drip", Behaviour::always(Answer::Drip)),
            ("listen --endless", Behaviour::always(Answer::Endless(200))),
            ("listen --close", Behaviour::always(Answer::Close)),
            ("listen --fail-first 2", Behaviour::new(Answer::Status(503), When::FirstPerId(2))),
            ("listen --fail 500 --fail-first 2", Behaviour::new(Answer::Status(500), When::FirstPerId(2))),
            ("listen --delay 1m500ms", Behaviour { delay: Duration::from_millis(60_500), ..Behaviour::default() }),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line).unwrap().faults.behaviour(), expected, "{line}");
        }
        for line in ["listen --gone --hang", "listen --fail 99", "listen --delay 2"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn a_request_is_logged_when_it_is_answered_and_shown_unless_quiet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for (flags, shown) in [("listen", 1), ("listen --quiet", 0)] {
            let args = parse(flags).unwrap();
            let (observer, mut screen) = observe(&args, Some(File::create(&path).unwrap()));
            let lifecycle = Lifecycle::default();
            let address = "127.0.0.1:0".parse().unwrap();
            let receiver = Receiver::start(&lifecycle, address, Settings::default(), Some(observer)).await.unwrap();
            let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().unwrap();
            client.post(receiver.url()).header("webhook-id", "evt_1").body("{}").send().await.unwrap();
            let log = std::fs::read_to_string(&path).unwrap();
            assert_eq!(log.matches("\n").count(), 1);
            assert!(log.contains(r#""id":"evt_1""#) && log.contains(r#""status":204"#), "{log}");
            let mut out = Vec::new();
            screen.show_rest(&mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap().matches("evt_1").count(), shown, "{flags}");
        }
    }
}
