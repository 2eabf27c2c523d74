//! A relay under test: its configuration, its process, its store seen from outside.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rusqlite::{Connection, OpenFlags};

use crate::process::Process;

/// The secret of every sink; the receiver does not check.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const ADMIN_TOKEN: &str = "token-of-the-measurements";
const READY: &str = "the relay is running";

/// A directory for one store, with the configuration beside it; removed when dropped.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

/// A webhook sink that every event goes to.
pub(crate) struct Sink {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) concurrency: usize,
}

impl Place {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let base = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::Builder::new().prefix("cspr-relay-bench-").tempdir_in(base)?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a relay and waits until it runs; how long that took.
    pub(crate) fn start(&self, source: &str, sinks: &[Sink]) -> anyhow::Result<(Relay, Duration)> {
        self.start_with(&self.configuration(source, sinks))
    }

    /// The same with this configuration, whose store must be `data`.
    pub(crate) fn start_with(&self, configuration: &str) -> anyhow::Result<(Relay, Duration)> {
        let path = self.path().join("relay.yaml");
        let admin = format!("admin: {{ listen: \"127.0.0.1:0\", token: {ADMIN_TOKEN} }}");
        std::fs::write(&path, format!("{configuration}\n{admin}\n"))?;
        let began = Instant::now();
        let arguments = ["run".to_owned(), "--config".to_owned(), path.display().to_string()];
        let mut process = Process::start(self.path(), "relay", &arguments)?;
        process.wait_for(READY, Duration::from_secs(60))?;
        Ok((Relay { process, store: self.path().join("data/relay.db") }, began.elapsed()))
    }

    fn configuration(&self, source: &str, sinks: &[Sink]) -> String {
        let store = self.path().join("data");
        let names: Vec<&str> = sinks.iter().map(|sink| sink.name).collect();
        let mut text = format!(
            "source: {{ network: testnet, url: \"{source}\", api_key: emulator-key }}\n\
             store: {{ path: \"{}\" }}\n\
             routes: {{ everything: {{ match: all, sinks: [{}] }} }}\nsinks:\n",
            store.display(),
            names.join(", ")
        );
        for Sink { name, url, concurrency } in sinks {
            // Writing to a String cannot fail.
            let _written = writeln!(
                text,
                "  {name}: {{ concurrency: {concurrency}, webhook: {{ url: \"{url}\", timeout: 60s, secrets: \
                 [{SECRET}] }} }}"
            );
        }
        text
    }
}

pub(crate) struct Relay {
    pub(crate) process: Process,
    store: PathBuf,
}

impl Relay {
    fn open(&self) -> anyhow::Result<Connection> {
        Connection::open_with_flags(&self.store, OpenFlags::SQLITE_OPEN_READ_ONLY).context("opening the store to look")
    }

    /// Waits until events up to `seq` are durable.
    pub(crate) fn wait_durable(&self, seq: u64, bound: Duration) -> anyhow::Result<Durable> {
        let connection = self.open()?;
        let mut statement = connection.prepare("SELECT coalesce(max(seq), 0) FROM event")?;
        let mut newest = || statement.query_row([], |row| row.get::<_, u64>(0));
        let (began, before) = (Instant::now(), newest()?);
        let mut first = None;
        loop {
            let now = newest()?;
            let at = Instant::now();
            if now > before && first.is_none() {
                first = Some((at, now));
            }
            if let Some((first_at, first)) = first.filter(|_| now >= seq) {
                let rate = (now - first) as f64 / (at - first_at).as_secs_f64();
                return Ok(Durable { rate, count: now - before });
            }
            ensure!(began.elapsed() < bound, "only {now} of {seq} events were durable in {bound:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many events are durable.
    pub(crate) fn wait_accepted(&self, count: u64, bound: Duration) -> anyhow::Result<()> {
        let connection = self.open()?;
        let mut statement = connection.prepare("SELECT coalesce(max(seq), 0) FROM event")?;
        let began = Instant::now();
        while statement.query_row([], |row| row.get::<_, u64>(0))? < count {
            ensure!(began.elapsed() < bound, "{count} events were not durable in {bound:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// How many events were in one commit, on average.
    pub(crate) fn batch_mean(&self) -> anyhow::Result<f64> {
        let sql = "SELECT (SELECT max(seq) FROM event) * 1.0 / (SELECT count(*) FROM batch)";
        Ok(self.open()?.query_row(sql, [], |row| row.get(0))?)
    }
}

/// How events became durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable {
    /// Events a second, from the first commit seen to the last.
    pub(crate) rate: f64,
    pub(crate) count: u64,
}
