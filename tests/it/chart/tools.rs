//! The tools that judge the chart, and how the tests call them. `scripts/chart/tools` fetches and pins them.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::receivers::{TOOL_MISSING, leave_out};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub(super) fn chart() -> PathBuf {
    root().join("charts/cspr-relay")
}

/// Where the tools are. `None`: they cannot be had here, which was said loudly and is a failure where `CI=true`.
pub(super) fn tools() -> Option<&'static Tools> {
    static TOOLS: OnceLock<Option<Tools>> = OnceLock::new();
    TOOLS.get_or_init(Tools::fetch).as_ref()
}

pub(super) struct Tools(PathBuf);

/// What a tool answered.
pub(super) struct Answer {
    pub(super) is_content: bool,
    pub(super) said: String,
    /// What it wrote to standard output alone.
    pub(super) out: String,
}

impl Tools {
    fn fetch() -> Option<Self> {
        let output = Command::new(root().join("scripts/chart/tools")).output().unwrap();
        if output.status.success() {
            return Some(Self(String::from_utf8(output.stdout).unwrap().trim_end().into()));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(TOOL_MISSING), "the tools for the chart could not be made:\n{said}");
        leave_out(&format!("the Helm chart: {said}"));
        None
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs a tool with this on its standard input.
    pub(super) fn run(&self, name: &str, arguments: &[&str], input: &str) -> Answer {
        run(self.path(name), arguments, input)
    }

    /// As [`Self::run`], for a tool that has to be content.
    pub(super) fn content(&self, name: &str, arguments: &[&str], input: &str) -> String {
        let answer = self.run(name, arguments, input);
        assert!(answer.is_content, "{name} {arguments:?}:\n{}", answer.said);
        answer.out
    }
}

pub(super) fn run(program: impl AsRef<OsStr>, arguments: &[&str], input: &str) -> Answer {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let Output { status, stdout, stderr } = std::thread::scope(|scope| {
        // From a thread, since it may answer before it has read everything; one that reads nothing is its own affair.
        scope.spawn(move || {
            let _unread = stdin.write_all(input.as_bytes());
        });
        child.wait_with_output().unwrap()
    });
    let out = String::from_utf8(stdout).unwrap();
    let said = format!("{out}{}", String::from_utf8_lossy(&stderr));
    Answer { is_content: status.success(), said, out }
}

/// One way to render the chart.
#[derive(Clone, Default)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Values files of the chart's examples.
    pub(super) examples: Vec<&'static str>,
    /// Values, as YAML.
    pub(super) values: String,
    pub(super) release: &'static str,
    pub(super) kube_version: &'static str,
}

impl Case {
    pub(super) fn of(example: &'static str) -> Self {
        Self { name: example, examples: vec![example], release: "relay", kube_version: "1.37.0", ..Self::default() }
    }

    pub(super) fn with(mut self, name: &'static str, values: &str) -> Self {
        self.name = name;
        self.values = values.to_owned();
        self
    }

    /// Has Helm render it: `helm3` or `helm4`.
    pub(super) fn helm(&self, tools: &Tools, helm: &str) -> Answer {
        let examples: Vec<_> = self
            .examples
            .iter()
            .map(|name| chart().join(format!("examples/{name}.yaml")).display().to_string())
            .collect();
        let chart = chart().display().to_string();
        let mut arguments = vec!["template", self.release, &chart, "--namespace", "events"];
        arguments.extend(["--kube-version", self.kube_version]);
        examples.iter().for_each(|path| arguments.extend(["--values", path]));
        if !self.values.is_empty() {
            arguments.extend(["--values", "-"]);
        }
        tools.run(helm, &arguments, &self.values)
    }

    /// What it renders to, as text.
    pub(super) fn text(&self, tools: &Tools) -> String {
        let answer = self.helm(tools, "helm4");
        assert!(answer.is_content, "{}: {}", self.name, answer.said);
        answer.out
    }

    pub(super) fn objects(&self, tools: &Tools) -> Objects {
        Objects::parse(&self.text(tools))
    }
}

/// What was rendered.
pub(super) struct Objects(pub(super) Vec<Value>);

impl Objects {
    fn parse(text: &str) -> Self {
        let documents = text.split("\n---").map(|part| part.strip_prefix("---").unwrap_or(part));
        let parse = |text| serde_yaml::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        Self(documents.map(parse).filter(|object| !object.is_null()).collect())
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub(super) fn one(&self, kind: &str) -> &Value {
        self.0.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("there is no {kind}"))
    }

    /// The data of a ConfigMap.
    pub(super) fn config_map(&self, name: &str) -> Option<&serde_json::Map<String, Value>> {
        self.of_kind("ConfigMap").find(|map| map["metadata"]["name"] == name)?["data"].as_object()
    }
}

/// Compares with a file of the project. With `UPDATE=1` in the environment the file is written anew: read the difference
/// before it is committed.
pub(super) fn same_as_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        // At once, since other tests read it.
        let written = path.with_extension("new");
        fs::write(&written, text).unwrap();
        fs::rename(written, path).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "{} is out of date: run the test with UPDATE=1 and read the difference", path.display());
}
