//! The live picture on a terminal, redrawn in place, and its plain form: one line a second.
//!
//! A picture never has a line wider than the terminal (it would wrap, and the next redraw would miss) nor more lines
//! than it: what does not fit is cut.

use std::io::{self, Write};
use std::time::Duration;

use terminal_size::{Height, Width, terminal_size};

use super::snapshot::{Row, Snapshot};

const COLUMNS_DEFAULT: usize = 80;
const LINES_DEFAULT: usize = 24;

/// One moment of the demonstration.
pub(super) struct Scene<'a> {
    pub(super) elapsed: Duration,
    /// How long it is to last, if not until Ctrl-C.
    pub(super) span: Option<Duration>,
    /// Whether nothing new is sent any more.
    pub(super) is_ending: bool,
    /// Accepted, unmatched and dropped events of the last second.
    pub(super) per_second: f64,
    pub(super) snapshot: &'a Snapshot,
    pub(super) recent: &'a [String],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    Title,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
        }
    }
}

/// Where pictures are drawn.
pub(super) struct Screen {
    has_colours: bool,
    /// Lines of the last picture, and the width that it was cut to.
    drawn: usize,
    columns: usize,
}

impl Screen {
    pub(super) fn new(has_colours: bool) -> Self {
        Self { has_colours, drawn: 0, columns: 0 }
    }

    /// Replaces the last picture.
    pub(super) fn draw(&mut self, out: &mut impl Write, scene: &Scene<'_>) -> io::Result<()> {
        let size = terminal_size();
        let (columns, lines) = size
            .map_or((COLUMNS_DEFAULT, LINES_DEFAULT), |(Width(columns), Height(lines))| (columns.into(), lines.into()));
        let mut frame = String::new();
        if self.drawn > 0 && self.columns == columns {
            frame.push_str(&format!("\x1b[{}A\r", self.drawn));
        } else if self.drawn > 0 {
            // The old picture was wrapped anew by the terminal: nobody knows where it begins now.
            frame.push_str("\x1b[H\x1b[2J");
        }
        // Some characters are two columns wide, so the terminal is told not to wrap besides.
        frame.push_str("\x1b[?7l");
        let mut picture = picture(scene);
        picture.truncate(lines.saturating_sub(1));
        for (look, text) in &picture {
            let text: String = text.chars().take(columns).collect();
            let (begin, end) = if self.has_colours { (look.code(), "\x1b[0m") } else { ("", "") };
            frame.push_str(&format!("\x1b[2K{begin}{text}{end}\n"));
        }
        frame.push_str("\x1b[J\x1b[?7h");
        (self.drawn, self.columns) = (picture.len(), columns);
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

fn picture(scene: &Scene<'_>) -> Vec<(Look, String)> {
    let now = scene.snapshot;
    let seconds = scene.elapsed.as_secs();
    let time = match scene.span {
        _ if scene.is_ending => "ending: what was sent may still arrive".to_owned(),
        Some(span) => format!("{seconds} of {} s", span.as_secs()),
        None => format!("{seconds} s · Ctrl-C ends it with a reckoning"),
    };
    let link = match now.connected {
        0 => (Look::Bad, "connecting"),
        1 => (Look::Busy, "1 of 2 connections is up"),
        _ => (Look::Good, "2 of 2 connections are up"),
    };
    let mut lines = vec![
        (Look::Title, format!("cspr-relay demo · {time}")),
        (link.0, format!("{}, {} dropped so far, {} pings", link.1, now.disconnects, now.pings)),
        (
            Look::Plain,
            format!(
                "{} accepted, {} duplicates dropped, {} unmatched, {:.0} events/s",
                now.accepted, now.duplicates, now.unmatched, scene.per_second
            ),
        ),
        (Look::Plain, String::new()),
        (Look::Title, heading()),
    ];
    lines.extend(now.sinks.iter().map(|row| (look(row), columns(row))));
    lines.extend([(Look::Plain, String::new()), (Look::Title, "last requests".to_owned())]);
    lines.extend(scene.recent.iter().map(|line| (Look::Faint, line.clone())));
    lines
}

fn heading() -> String {
    format!(
        "{:<8}{:>10}{:>9}{:>9}{:>10}{:>6}{:>6}  {}",
        "sink", "delivered", "pending", "sending", "retrying", "held", "dead", "breaker"
    )
}

fn columns(row: &Row) -> String {
    format!(
        "{:<8}{:>10}{:>9}{:>9}{:>10}{:>6}{:>6}  {}",
        row.name,
        row.delivered,
        row.pending,
        row.in_flight,
        row.waiting,
        row.held,
        row.dead,
        breaker(row)
    )
}

fn breaker(row: &Row) -> &'static str {
    if row.is_open { "open" } else { "closed" }
}

fn look(row: &Row) -> Look {
    match row {
        Row { is_open: true, .. } => Look::Bad,
        Row { waiting: 1.., .. } => Look::Busy,
        _ => Look::Good,
    }
}

/// The scene as one line without control characters.
pub(super) fn line(scene: &Scene<'_>) -> String {
    let now = scene.snapshot;
    let mut line = format!(
        "{:>3}s, {} of 2 connections, {} accepted, {} duplicates, {} unmatched, {:.0}/s; delivered:",
        scene.elapsed.as_secs(),
        now.connected,
        now.accepted,
        now.duplicates,
        now.unmatched,
        scene.per_second
    );
    let sinks: Vec<String> = now.sinks.iter().map(brief).collect();
    line.push_str(&format!(" {}", sinks.join(", ")));
    line
}

/// Name and deliveries, and in brackets what is not as it should be.
fn brief(row: &Row) -> String {
    let counted = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let troubles =
        [counted(row.pending, "pending"), counted(row.dead, "dead"), row.is_open.then(|| "breaker open".to_owned())];
    let troubles: Vec<String> = troubles.into_iter().flatten().collect();
    let troubles = if troubles.is_empty() { String::new() } else { format!(" ({})", troubles.join(", ")) };
    format!("{} {}{troubles}", row.name, row.delivered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let healthy = Row { name: "healthy", delivered: 120, ..Row::default() };
        let down = Row { name: "down", pending: 40, waiting: 5, held: 2, is_open: true, ..Row::default() };
        let sinks = vec![healthy, down];
        Snapshot { connected: 2, accepted: 160, duplicates: 3, unmatched: 9, sinks, ..Snapshot::default() }
    }

    fn scene<'a>(snapshot: &'a Snapshot, recent: &'a [String]) -> Scene<'a> {
        let span = Some(Duration::from_secs(20));
        Scene { elapsed: Duration::from_secs(7), span, is_ending: false, per_second: 24.6, snapshot, recent }
    }

    #[test]
    fn a_scene_is_one_plain_line() {
        let expected = "  7s, 2 of 2 connections, 160 accepted, 3 duplicates, 9 unmatched, 25/s; \
            delivered: healthy 120, down 0 (40 pending, breaker open)";
        assert_eq!(line(&scene(&snapshot(), &[])), expected);
    }

    #[test]
    fn a_picture_is_replaced_by_one_of_the_same_place() {
        let (snapshot, recent) = (snapshot(), ["a request".to_owned()]);
        let scene = scene(&snapshot, &recent);
        let mut screen = Screen::new(false);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        screen.draw(&mut first, &scene).unwrap();
        screen.draw(&mut second, &scene).unwrap();
        let (first, second) = (String::from_utf8(first).unwrap(), String::from_utf8(second).unwrap());
        let lines = first.matches('\n').count();
        assert!(!first.contains("A\r") && first.contains("a request"));
        assert!(second.starts_with(&format!("\x1b[{lines}A\r")), "{second:?}");
        assert!(!first.contains("\x1b[3"), "no colours were asked for");
    }
}
