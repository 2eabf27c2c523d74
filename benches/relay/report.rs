//! The table.

use std::fmt;
use std::time::Duration;

use crate::process::Process;

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

pub(crate) struct Row {
    name: String,
    figure: String,
    ratio: String,
    aim: String,
    cpu: String,
    memory: String,
}

/// What a process has used for a number of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    cpu: Duration,
    events: u64,
    peak_mib: u64,
}

impl Usage {
    /// Since `before`, which is what [`Process::cpu`] said then.
    pub(crate) fn since(process: &Process, before: Duration, events: u64) -> Self {
        Self { cpu: process.cpu().saturating_sub(before), events, peak_mib: process.peak_mib() }
    }
}

impl Usage {
    /// Time on a processor for each event, in microseconds.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.events.max(1) as f64
    }
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, figure: impl Into<String>) -> Self {
        let (name, figure) = (name.into(), figure.into());
        let [ratio, aim, cpu, memory] = Default::default();
        Self { name, figure, ratio, aim, cpu, memory }
    }

    pub(crate) fn ratio(mut self, ratio: impl Into<String>) -> Self {
        self.ratio = ratio.into();
        self
    }

    pub(crate) fn aim(mut self, aim: impl Into<String>) -> Self {
        self.aim = aim.into();
        self
    }

    pub(crate) fn usage(mut self, usage: Usage) -> Self {
        self.cpu = format!("{:.1} µs", usage.cpu_micros());
        self.memory = format!("{} MiB", usage.peak_mib);
        self
    }

    fn cells(&self) -> [&str; 6] {
        [&self.name, &self.figure, &self.ratio, &self.aim, &self.cpu, &self.memory]
    }
}

impl Report {
    /// Adds a row, and shows it at once: the whole takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{:<52} {}  {}", row.name, row.figure, row.ratio);
        self.rows.push(row);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "figure", "beside the bare loop", "aim", "CPU per event", "peak memory"];
        let lines = || std::iter::once(head).chain(self.rows.iter().map(Row::cells));
        let widths: Vec<usize> = (0..head.len())
            .map(|column| lines().filter_map(|cells| Some(cells.get(column)?.chars().count())).max().unwrap_or(0))
            .collect();
        writeln!(f)?;
        for (number, cells) in lines().enumerate() {
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{}", "-".repeat(width + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Events a second, with thousands set apart.
pub(crate) fn rate(events_per_second: f64) -> String {
    let text = format!("{events_per_second:.0}");
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + "/s"
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
