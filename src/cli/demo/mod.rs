//! `cspr-relay demo`: the relay at work on this machine, with a source that misbehaves and receivers that fail.
//!
//! Everything runs in this process and speaks over loopback: an emulated CSPR.cloud, the relay itself with its store
//! on disk, and three receivers that check signatures. At the end the books of all three are held against each other.

mod home;
mod picture;
mod snapshot;
mod stage;
mod verdict;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

pub(super) use home::Home;

use crate::app::App;
use crate::config::duration;
use crate::emulator::{Pace, Shape, World, play};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use picture::{Scene, Screen, line};
use snapshot::Snapshot;
use stage::{DOWN, INTRODUCTION, Stage};

const REDRAW: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How long what was sent may take to arrive at the end.
const SETTLE_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 2;
const RATE_MAX: f64 = 5_000.0;

/// See the relay at work, without an account, a network or a file
///
/// Starts an emulated CSPR.cloud that repeats events and drops connections, the relay, and three webhook receivers: one
/// that works, one that fails at random, one that is down at first. At the end (Ctrl-C, or --for) it reckons up what
/// was sent against what was received; the exit code is 0 only if it adds up.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// End after this long, such as 20s [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    span: Option<Duration>,
    /// Events per second
    #[arg(long, value_name = "EVENTS", default_value_t = 30.0, value_parser = rate)]
    rate: f64,
    /// The same seed gives the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Use this directory for the relay's data and log, and leave it [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print a line a second, on a terminal too
    #[arg(long)]
    plain: bool,
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: bool,
    #[arg(long, env = "TERM", hide = true, default_value = "")]
    term: String,
}

impl Args {
    pub(crate) fn keep(&self) -> Option<&Path> {
        self.keep.as_deref()
    }

    fn view(&self) -> View {
        let has_terminal = io::stdout().is_terminal() && self.term != "dumb";
        if has_terminal && !self.plain { View::Picture(Screen::new(!self.no_color)) } else { View::Lines }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| format!("expected a number above 0, at most {RATE_MAX}"))
}

/// Runs until `--for` is over or somebody interrupts it, writes to `out`, and gives the exit code.
pub(crate) async fn run(args: Args, mut home: Home, out: &mut impl Write) -> anyhow::Result<u8> {
    writeln!(out, "{INTRODUCTION}\nThe relay's data and log are in {}.\n", home.path().display())?;
    let props = Lifecycle::default();
    let stage = Stage::build(&props, args.seed).await?;
    let config = stage.config(home.path())?;
    let app = tokio::task::spawn_blocking(|| App::build(config)).await.context("opening the store")??;
    let running = app.start()?;
    let (metrics, stop) = (Arc::clone(running.metrics()), running.handle());
    let mut stopped = pin!(running.stopped());
    let mut show = Show {
        args: &args,
        stage: &stage,
        metrics: &metrics,
        view: args.view(),
        began: Instant::now(),
        is_ending: false,
    };
    let mut signals = Signals::new()?;

    let early = show.play(out, &mut signals, stopped.as_mut()).await?;
    let ended = match early {
        Some(ended) => ended,
        None => {
            show.settle(out, &mut signals).await?;
            stop.stop();
            stopped.await
        }
    };
    let end = Snapshot::take(&stage, &metrics);
    props.drain().cancel();
    let code = conclude(out, &end, ended, &mut home)?;
    out.flush()?;
    Ok(code)
}

/// Writes the reckoning. Where it does not add up, the directory stays.
fn conclude(out: &mut impl Write, end: &Snapshot, ended: anyhow::Result<()>, home: &mut Home) -> io::Result<u8> {
    writeln!(out, "\n{}", verdict::table(end))?;
    let mut faults = verdict::faults(end);
    faults.extend(ended.err().map(|error| format!("the relay failed: {error:#}")));
    if !faults.is_empty() {
        home.stay();
        writeln!(out, "It does NOT add up:")?;
        faults.iter().try_for_each(|fault| writeln!(out, "  - {fault}"))?;
        writeln!(out, "The log is {}.", home.log().display())?;
        return Ok(1);
    }
    let pending: u64 = end.sinks.iter().map(|row| row.pending).sum();
    let dead: u64 = end.sinks.iter().map(|row| row.dead).sum();
    writeln!(out, "It adds up: every accepted event is accounted for at every sink that wanted it.")?;
    if pending > 0 {
        writeln!(out, "The {pending} pending ones are on disk and would go out after the next start.")?;
    }
    if home.stays() {
        let path = home.path().display();
        writeln!(out, "Look at the {dead} dead letters: cspr-relay dead-letters list --data {path}")?;
    }
    writeln!(out, "Next: write cspr-relay.yaml (see config.example.yaml), then check and run it.")?;
    Ok(0)
}

/// What is seen while it runs.
enum View {
    Picture(Screen),
    Lines,
}

struct Show<'a> {
    args: &'a Args,
    stage: &'a Stage,
    metrics: &'a Metrics,
    view: View,
    began: Instant,
    is_ending: bool,
}

type Ended = anyhow::Result<()>;

impl Show<'_> {
    /// Publishes and shows until the time is over, somebody interrupts, or the relay ends by itself, which is given
    /// back.
    async fn play(
        &mut self,
        out: &mut impl Write,
        signals: &mut Signals,
        relay: Pin<&mut impl Future<Output = Ended>>,
    ) -> io::Result<Option<Ended>> {
        let Self { args, stage, .. } = *self;
        let publishing = async {
            // Whoever comes later misses what went before.
            let connected = stage.emulator.until(|tally| tally.connected >= CONNECTIONS);
            let _late = timeout(CONNECT_MAX, connected).await;
            let pace = Pace { rate: Some(args.rate), is_unattended: false };
            play(&stage.emulator, World::new(args.seed, Shape::default()), pace).await
        };
        let repairing = async {
            sleep(DOWN).await;
            stage.repair();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = publishing => Ok(None),
            () = repairing => Ok(None),
            shown = self.show(out) => shown.map(|()| None),
            () = signals.any() => Ok(None),
            () = sleep(args.span.unwrap_or(Duration::MAX)) => Ok(None),
            ended = relay => Ok(Some(ended)),
        }
    }

    /// Shows while what was sent arrives, as far as it does in time; an interruption ends it.
    async fn settle(&mut self, out: &mut impl Write, signals: &mut Signals) -> io::Result<()> {
        self.is_ending = true;
        let (stage, metrics) = (self.stage, self.metrics);
        let settling = async {
            let mut looks = interval(Duration::from_millis(50));
            while !Snapshot::take(stage, metrics).is_settled() {
                looks.tick().await;
            }
        };
        tokio::select! {
            _ = timeout(SETTLE_MAX, settling) => {}
            () = signals.any() => {}
            shown = self.show(out) => shown?,
        }
        Ok(())
    }

    /// Draws for ever.
    async fn show(&mut self, out: &mut impl Write) -> io::Result<()> {
        let period = if matches!(self.view, View::Lines) { LINE_EVERY } else { REDRAW };
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut history = std::collections::VecDeque::from([(Instant::now(), 0)]);
        loop {
            ticks.tick().await;
            let snapshot = Snapshot::take(self.stage, self.metrics);
            let now = Instant::now();
            history.push_back((now, snapshot.handled()));
            while history.len() > 2 && history.get(1).is_some_and(|(at, _)| now - *at >= LINE_EVERY) {
                history.pop_front();
            }
            let (since, before) = history.front().copied().unwrap_or((now, 0));
            let seconds = (now - since).as_secs_f64().max(0.001);
            let scene = Scene {
                elapsed: now - self.began,
                span: self.args.span,
                is_ending: self.is_ending,
                per_second: (snapshot.handled() - before) as f64 / seconds,
                snapshot: &snapshot,
                recent: &self.stage.recent.lines(),
            };
            match &mut self.view {
                View::Picture(screen) => screen.draw(out, &scene)?,
                View::Lines => writeln!(out, "{}", line(&scene)).and_then(|()| out.flush())?,
            }
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed.
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Completes at the next signal that asks for the end.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
