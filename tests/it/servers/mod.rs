//! Real servers for the tests, started by the scripts of `scripts/servers`, which also fetch and clean up.
//!
//! A script ends, and takes its server with it, when its standard input does: when the [`Server`] here is dropped, or
//! when this process ends in whatever way. A server that tests share ([`Shared`]) belongs to one of them at a time.

pub(crate) mod kafka;
pub(crate) mod rabbitmq;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::block_in_place;

use crate::receivers::leave_out;

/// What a script ends with when its server is not installed.
const NOT_INSTALLED: i32 = 69;

/// A server and the script that answers for it. Its methods block, which needs a runtime with several threads.
pub(crate) struct Server {
    script: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said when it was ready, such as where it listens.
    said: String,
    /// What was done to it and not undone yet: the commands that undo it.
    owed: BTreeSet<&'static str>,
}

impl Server {
    /// Starts the server of that name and waits until it is ready. `None`: it is not installed, which was said loudly
    /// and is a failure where `CI=true`.
    fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name);
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let (commands, answers) = (script.stdin.take().unwrap(), BufReader::new(script.stdout.take().unwrap()));
        let mut server = Self { script, commands, answers, said: String::new(), owed: BTreeSet::new() };
        match block_in_place(|| server.answer()) {
            Ok(said) => {
                server.said = said;
                Some(server)
            }
            Err(said) => {
                let mut errors = String::new();
                std::io::Read::read_to_string(&mut server.script.stderr.take().unwrap(), &mut errors).unwrap();
                let code = server.script.wait().unwrap().code();
                assert_eq!(code, Some(NOT_INSTALLED), "{name} did not start:\n{said}{errors}");
                leave_out(&format!("what needs {name}: {errors}"));
                None
            }
        }
    }

    /// The value of `key=value` in what it said at the start.
    fn place(&self, key: &str) -> &str {
        let mut words = self.said.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("`{key}` is not in what the server said: {}", self.said))
    }

    /// Has the script do something and gives what it printed.
    pub(crate) fn command(&mut self, line: &str) -> String {
        block_in_place(|| {
            writeln!(self.commands, "{line}").unwrap();
            self.answer().unwrap_or_else(|said| panic!("{line}: {said}"))
        })
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.owed.clear();
        self.owed.insert("start");
        self.command("kill9");
    }

    pub(crate) fn restart(&mut self) {
        self.command("start");
        self.owed.remove("start");
    }

    /// Stops the process where it is; its sockets stay open.
    pub(crate) fn pause(&mut self) {
        self.owed.insert("resume");
        self.command("pause");
    }

    pub(crate) fn resume(&mut self) {
        self.command("resume");
        self.owed.remove("resume");
    }

    /// Undoes what a test has left behind.
    fn heal(&mut self) {
        for command in std::mem::take(&mut self.owed) {
            self.command(command);
        }
    }

    /// The lines up to the verdict; an error if that is one, or does not come.
    fn answer(&mut self) -> Result<String, String> {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = self.answers.read_line(&mut line).unwrap();
            match line.trim_end() {
                "ok" => return Ok(said),
                _ if length == 0 => return Err(said),
                "error" => return Err(said),
                _ => said += &line,
            }
        }
    }
}

impl Drop for Server {
    #[expect(clippy::print_stdout, reason = "what is printed belongs to the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() && writeln!(self.commands, "log").is_ok() {
            let log = self.answer().unwrap_or_else(|said| said);
            println!("--- the end of the server's log:\n{log}\n");
        }
    }
}

/// A kind of server.
pub(crate) trait Kind: Sized {
    /// One that runs. `None`: it is not installed, which was said.
    fn start() -> Option<Self>;

    fn server(&mut self) -> &mut Server;
}

/// A server that the tests share.
pub(crate) struct Shared<K>(Mutex<Option<K>>);

impl<K: Kind> Shared<K> {
    const fn new() -> Self {
        Self(Mutex::const_new(None))
    }

    /// The server, running and in order; nobody else has it meanwhile.
    async fn turn(&'static self) -> Option<Turn<K>> {
        let mut shared = self.0.lock().await;
        if shared.is_none() {
            *shared = K::start();
        }
        shared.as_mut()?.server().heal();
        Some(Turn(shared))
    }
}

/// A shared server as long as one test has it. A failed test may leave it in any state: the next one gets another.
pub(crate) struct Turn<K: 'static>(MutexGuard<'static, Option<K>>);

impl<K> Deref for Turn<K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.0.as_ref().expect("there is one as long as somebody has it")
    }
}

impl<K> DerefMut for Turn<K> {
    fn deref_mut(&mut self) -> &mut K {
        self.0.as_mut().expect("there is one as long as somebody has it")
    }
}

impl<K> Drop for Turn<K> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0 = None;
        }
    }
}
