//! Child processes of the binary under test, and what the kernel says of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const BINARY: &str = env!("CARGO_BIN_EXE_cspr-relay");
/// Of `/proc/<pid>/stat`; the kernel's constant on every platform of today.
const TICKS_PER_SECOND: u64 = 100;

/// A running child; killed when dropped.
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts the binary with everything that it prints going to a file `<name>.log` in `directory`.
    pub(crate) fn start(directory: &Path, name: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let output = directory.join(format!("{name}.log"));
        let file = File::create(&output).with_context(|| format!("creating {}", output.display()))?;
        let mut command = Command::new(BINARY);
        command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        command.env("NO_COLOR", "1");
        let child = command.spawn().with_context(|| format!("starting {BINARY}"))?;
        Ok(Self { child, output })
    }

    /// Waits until the output has `text` in it, and gives the output.
    pub(crate) fn wait_for(&mut self, text: &str, bound: Duration) -> anyhow::Result<String> {
        let began = Instant::now();
        loop {
            let output = std::fs::read_to_string(&self.output).unwrap_or_default();
            if output.contains(text) {
                return Ok(output);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended with {status}: {output}");
            }
            if began.elapsed() > bound {
                bail!("{text:?} did not come within {bound:?}: {output}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Time spent on a processor so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The second field is the name in parentheses, and may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// The most memory that it ever had resident, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.status("VmHWM:") / 1024
    }

    pub(crate) fn present_mib(&self) -> u64 {
        self.status("VmRSS:") / 1024
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // An error says that it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
