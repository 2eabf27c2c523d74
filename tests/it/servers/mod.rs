//! Real servers that tests start and stop themselves, on loopback. What they consist of is fetched, with its checksums,
//! by the scripts in `scripts/servers`.
//!
//! A server's directory is below `target/servers` and named after this process. It goes with the server; those of
//! processes that were killed go when the next one begins.

pub(crate) mod kafka;
pub(crate) mod rabbitmq;
mod script;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// A busy machine takes its time to start a virtual machine.
const START_MAX: Duration = Duration::from_secs(120);
const TAIL_LINES: usize = 40;

/// The directory of a server, removed when dropped.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(kind: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        static SWEPT: Once = Once::new();
        let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/running");
        fs::create_dir_all(&below).unwrap();
        SWEPT.call_once(|| sweep(&below));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = below.join(format!("{}-{number}-{kind}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // One that stays is swept by the next run.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// Removes what processes that are no more have left.
fn sweep(below: &Path) {
    for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let (process, _) = name.split_once('-').unwrap();
        let is_alive = std::process::Command::new("kill").args(["-0", process]).stderr(Stdio::null()).status();
        if !is_alive.unwrap().success() {
            let _removed = fs::remove_dir_all(entry.path());
        }
    }
}

/// A server's process; killed when dropped, and its log shown if the test failed.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it and waits until its log holds `ready`.
    pub(crate) async fn start(command: &mut Command, log: PathBuf, ready: &str) -> Self {
        let file = File::create(&log).unwrap();
        let output = (file.try_clone().unwrap(), file);
        command.stdin(Stdio::null()).stdout(output.0).stderr(output.1).kill_on_drop(true);
        let mut server = Self { child: command.spawn().unwrap(), log };
        let began = Instant::now();
        while !server.log().contains(ready) {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", server.tail());
            assert!(began.elapsed() < START_MAX, "the server is not ready\n{}", server.tail());
            sleep(Duration::from_millis(50)).await;
        }
        server
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// As `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// It stops in the middle of whatever it does, with its connections open.
    pub(crate) async fn pause(&self) {
        self.signal("STOP").await;
    }

    pub(crate) async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
    }
}

impl Drop for Server {
    #[expect(clippy::print_stdout, reason = "what is printed belongs to the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the end of {}:\n{}\n", self.log.display(), self.tail());
        }
    }
}

/// Runs one of the scripts in `scripts/servers` to its end; the error is what it wrote.
pub(crate) fn script(name: &str, arguments: &[&str]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name);
    let output = std::process::Command::new(script).args(arguments).output().map_err(|error| error.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}
