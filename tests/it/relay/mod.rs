//! The real binary under test: an emulator and relays as processes, sinks in this process, and what an operator sees.
//!
//! Each test has a [`Scene`] of its own: a directory, free ports, and processes that end with it. Nothing here sleeps
//! for a fixed time: [`until`] polls what can be observed, with a deadline.

mod admin;
mod audit;
mod backfill;
mod collections;
mod disk;
mod faults;
mod formats;
mod full;
mod gaps;
mod gate;
mod hostile;
mod kill;
pub(crate) mod listener;
mod missed;
mod operate;
mod operational;
pub(crate) mod oracle;
mod order;
mod owners;
mod ownership;
mod real;
mod reload;
mod repair;
mod resumed;
mod sick;
mod start;
mod stop;
pub(crate) mod store;
mod sync;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::receivers::leave_out;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_cspr-relay");
pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Generous, since a busy machine is no fault of the relay; nothing waits this long when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const NFT_TOKENS: &[&str] = &["nft-tokens"];
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// Lines of each log that a failed test shows.
const TAIL_LINES: usize = 30;

/// A directory with the configuration, the data and the logs of one test.
pub(crate) struct Scene {
    directory: tempfile::TempDir,
    processes: std::cell::Cell<usize>,
}

/// A running relay or emulator; killed when dropped, and its log shown if the test failed.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: PathBuf,
    out: PathBuf,
}

/// How a relay is configured; the rest has defaults that suit most tests.
struct Setup<'a> {
    source: &'a str,
    streams: &'a [&'a str],
    /// Lines of YAML at top level.
    more: &'a str,
    /// Name, address and further lines of YAML.
    sinks: &'a [(&'a str, &'a str, &'a str)],
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), processes: 0.into() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A file with these lines, for `emulate --replay`.
    pub(crate) fn lines(&self, lines: &[String]) -> String {
        let path = self.path("messages.jsonl");
        fs::write(&path, lines.join("\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Starts an emulator of `nft-tokens` with these further arguments and gives its address.
    pub(crate) async fn emulator(&self, arguments: &[&str]) -> (Process, String) {
        self.emulator_of_all(&[&["--stream", "nft-tokens"], arguments].concat()).await
    }

    /// The same with both NFT streams. It publishes as soon as one of them is asked for, so the other one may miss the
    /// first events.
    async fn emulator_of_all(&self, arguments: &[&str]) -> (Process, String) {
        let log = self.path("sent.jsonl");
        let fixed = ["emulate", "--listen", "127.0.0.1:0", "--log", log.to_str().unwrap()];
        let emulator = self.spawn("emulator", Command::new(BINARY).args(fixed).args(arguments));
        let says = || Some(emulator.said().split_once("listens at ")?.1.split_once(". ")?.0.to_owned());
        until("the emulator listens", || says().is_some()).await;
        let url = says().unwrap();
        (emulator, url)
    }

    /// Writes a configuration in which every sink gets every event.
    fn configure(&self, setup: &Setup<'_>) -> PathBuf {
        let names: Vec<&str> = setup.sinks.iter().map(|(name, ..)| *name).collect();
        let mut sinks = String::new();
        for (name, url, more) in setup.sinks {
            sinks += &format!(
                "  {name}:\n    webhook: {{ url: \"{url}\", secrets: [\"{SECRET}\"], timeout: 5s, \
                 headers: {{ X-Life: \"${{LIFE:-0}}\" }} }}\n{more}"
            );
        }
        let (names, data) = (names.join(", "), self.data());
        let streams = setup.streams.iter();
        let text = format!(
            "source: {{ network: testnet, api_key: emulator-key, {} }}\n{}\nsinks:\n{sinks}\nroutes:\n{}",
            setup.source,
            match setup.more.contains("store:") {
                true => setup.more.to_owned(),
                false => format!("store: {{ path: \"{}\" }}\n{}", data.display(), setup.more),
            },
            streams.map(|s| format!("  {s}: {{ stream: {s}, match: all, sinks: [{names}] }}\n")).collect::<String>(),
        );
        let path = self.path("relay.yaml");
        fs::write(&path, listening_anywhere(text)).unwrap();
        path
    }

    pub(crate) fn relay(&self, config: &Path) -> Process {
        self.relay_in_life(config, 1, "")
    }

    /// A relay whose requests say which life of it they come from, with these kill points.
    pub(crate) fn relay_in_life(&self, config: &Path, life: u64, kill_points: &str) -> Process {
        with_free_port(config);
        let mut command = Command::new(BINARY);
        command.args(["run", "--config"]).arg(config).env("LIFE", life.to_string()).env("FAILPOINTS", kill_points);
        self.spawn("relay", &mut command)
    }

    /// A relay with these further arguments.
    pub(crate) fn relay_with(&self, config: &Path, arguments: &[&str]) -> Process {
        with_free_port(config);
        let mut command = Command::new(BINARY);
        self.spawn("relay", command.args(arguments).args(["run", "--config"]).arg(config))
    }

    pub(crate) fn spawn(&self, name: &str, command: &mut Command) -> Process {
        let number = self.processes.replace(self.processes.get() + 1);
        let (log, out) = (self.path(&format!("{number}-{name}.log")), self.path(&format!("{number}-{name}.out")));
        let (stdout, stderr) = (File::create(&out).unwrap(), File::create(&log).unwrap());
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).kill_on_drop(true);
        Process { child: command.spawn().unwrap(), log, out }
    }
}

impl Process {
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it wrote to its standard output.
    fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Waits until the log holds this text.
    pub(crate) async fn logs(&self, text: &str) {
        until(&format!("the log says: {text}"), || self.log().contains(text)).await;
    }

    /// As `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, as Kubernetes does.
    async fn terminate(&self) {
        self.signal("TERM").await;
    }

    pub(crate) async fn signal(&self, name: &str) {
        let Some(id) = self.child.id() else { return };
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for its end; the exit code, `None` after a signal.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        timeout(DEADLINE, self.child.wait()).await.expect("it ends in time").unwrap().code()
    }

    /// Stops it politely: it must end well, and must never have panicked.
    pub(crate) async fn stop(&mut self) {
        self.terminate().await;
        assert_eq!(self.ended().await, Some(0), "a polite stop ends well");
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

impl Drop for Process {
    #[expect(clippy::print_stdout, reason = "what is printed belongs to the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Its directory may be gone by now; a second panic would hide the first.
            let log =
                fs::read(&self.log).map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into_owned());
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            println!("--- the end of {}:\n{}\n", self.log.display(), tail.join("\n"));
        }
    }
}

/// Many relays run beside each other in the tests: unless a configuration says otherwise its admin side takes any port.
fn listening_anywhere(text: String) -> String {
    let says_where = text.lines().any(|line| line.starts_with("admin:"));
    if says_where { text } else { text + "\nadmin: { listen: \"127.0.0.1:0\" }\n" }
}

pub(crate) fn with_free_port(config: &Path) {
    if let Ok(text) = fs::read_to_string(config) {
        fs::write(config, listening_anywhere(text)).unwrap();
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl FnMut() -> bool) {
    within(DEADLINE, what, is_so).await;
}

pub(crate) async fn within(deadline: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        sleep(POLL).await;
    }
}

/// A message of `nft-tokens` about `token`; `n` makes it an event of its own.
pub(crate) fn message(token: &str, n: u32) -> String {
    let package = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
    let owner = "66b1b6b393e5aed08be0759d52c484ba2921c844cc0918d5b8bb02849bb833d4";
    format!(
        r#"{{"data":{{"contract_package_hash":"{package}","token_id":"{token}","owner_type":0,"owner_hash":"{owner}","onchain_metadata":{{"n":{n}}},"is_burned":false}},"action":"updated","extra":{{"deploy_hash":"{n:064x}"}},"timestamp":"2026-01-01T00:00:00Z"}}"#
    )
}
