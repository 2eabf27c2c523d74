//! Real brokers, started by the scripts that tests use (`scripts/servers`); a script ends with its input.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// A broker that runs until this is dropped.
pub(crate) struct Broker {
    said: String,
    script: Child,
}

impl Broker {
    /// Waits until it is ready. Fails if it is not installed; the script says why on standard error.
    pub(crate) fn start(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name);
        let mut script = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(script.stdout.take().context("its output is piped")?).lines();
        let mut broker = Self { said: String::new(), script };
        let is_ready = loop {
            match lines.next().transpose()? {
                Some(line) if line == "ok" => break true,
                Some(line) => broker.said += &(line + "\n"),
                None => break false,
            }
        };
        ensure!(is_ready, "{name} did not start: {}", broker.said);
        Ok(broker)
    }

    /// Where it listens, `127.0.0.1:port`.
    pub(crate) fn address(&self, listener: &str) -> anyhow::Result<String> {
        let mut words = self.said.split_whitespace();
        let port = words.find_map(|word| word.strip_prefix(listener)?.strip_prefix('='));
        Ok(format!("127.0.0.1:{}", port.context("the server does not say where it listens")?))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        // It cleans up, and nothing waits for what it says.
        let _ended = self.script.wait();
    }
}
