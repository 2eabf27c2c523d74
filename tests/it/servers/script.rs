//! Real servers for the tests, started by the scripts of `scripts/servers`, which also fetch and clean up.
//!
//! A script ends, and takes its server with it, when its standard input does: when the handle here is dropped, or
//! when this process ends in whatever way.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::receivers::leave_out;

/// What a script ends with when its server is not installed.
const NOT_INSTALLED: i32 = 69;

/// A server and the script that answers for it.
pub(crate) struct Server {
    script: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said when it was ready, such as where it listens.
    pub(crate) said: String,
}

impl Server {
    /// Starts the server of that name and waits until it is ready. `None`: it is not installed, which was said loudly
    /// and is a failure where `CI=true`. Blocks.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name);
        let mut command = Command::new(path);
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (commands, answers) = (script.stdin.take().unwrap(), BufReader::new(script.stdout.take().unwrap()));
        let mut server = Self { script, commands, answers, said: String::new() };
        match server.answer() {
            Ok(said) => {
                server.said = said;
                Some(server)
            }
            Err(said) => {
                let output = server.script.wait_with_output().unwrap();
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(NOT_INSTALLED), "{name} did not start:\n{said}{errors}");
                leave_out(&format!("what needs {name}: {errors}"));
                None
            }
        }
    }

    /// Has the script do something and gives what it printed. Blocks.
    pub(crate) fn command(&mut self, line: &str) -> String {
        writeln!(self.commands, "{line}").unwrap();
        self.answer().unwrap_or_else(|said| panic!("{line}: {said}"))
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
