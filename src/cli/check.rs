//! `cspr-relay check`: is the configuration right, and what would it do?

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{FAILED, check_tests};
use crate::config::{self, AmqpConfig, Config, Fault, Faults, Loaded, Severity, SinkKind};
use crate::route::{self, Plan};

/// The exit code for a configuration with faults.
const FAULTY: u8 = 2;

/// Check the configuration and show what it would do
///
/// Tells every fault of every file at once, with its place, its line and the likely remedy. Nothing is connected to and
/// nothing is written.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 it can be used (there may be warnings), 2 it has faults, or the command line has"
)]
pub(crate) struct Check {
    /// The configuration file [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show each subscription with its reason, each sink, and the files that were read
    #[arg(short, long)]
    verbose: bool,
    /// How to tell: as text, or as JSON on standard output, an array of {file, line, column, path, severity, message,
    /// hint}
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "verbose")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Writes faults and warnings to `errors` and the summary to `out`, or everything as JSON to `out`, and returns the
/// exit code.
pub(crate) fn run(check: &Check, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<u8> {
    let outcome = config::load(&config::locate(check.config.clone()));
    let (findings, code) = match &outcome {
        Ok(loaded) => {
            let failures = check_tests::failures(&loaded.config);
            let code = if failures.is_empty() { 0 } else { FAILED };
            ([loaded.warnings.clone(), failures].concat(), code)
        }
        Err(Faults(findings)) => (findings.clone(), FAULTY),
    };
    match (check.format, &outcome) {
        (Format::Json, _) => writeln!(out, "{:#}", findings.iter().map(as_json).collect::<Value>())?,
        (Format::Text, Ok(loaded)) if code == 0 => {
            tell(&findings, errors)?;
            write!(out, "{}", report(loaded, check.verbose))?;
        }
        (Format::Text, _) => {
            tell(&findings, errors)?;
            writeln!(errors, "{}", count(&findings))?;
        }
    }
    Ok(code)
}

fn tell(findings: &[Fault], errors: &mut dyn Write) -> io::Result<()> {
    findings.iter().try_for_each(|fault| writeln!(errors, "{fault}\n"))
}

fn count(findings: &[Fault]) -> String {
    let count = |severity| findings.iter().filter(|fault| fault.severity == severity).count();
    let faults = counted(count(Severity::Error), "fault");
    match count(Severity::Warning) {
        0 => faults,
        warnings => format!("{faults}, {}", counted(warnings, "warning")),
    }
}

/// Numbers are null for a fault without a place.
fn as_json(fault: &Fault) -> Value {
    let place = |number: usize| (fault.line > 0).then_some(number);
    json!({
        "file": fault.file.to_string_lossy(),
        "line": place(fault.line),
        "column": place(fault.column),
        "path": fault.path,
        "severity": fault.severity.as_str(),
        "message": fault.message,
        "hint": fault.hint,
    })
}

fn report(Loaded { config, warnings, files }: &Loaded, is_verbose: bool) -> String {
    let plans = route::plans(&config.routes, config.source.push_down);
    let names: Vec<&str> = plans.iter().map(|plan| plan.stream.as_str()).collect();
    let mut report = format!(
        "ok: {} on {}, {}, {}, {}\n",
        names.join(", "),
        config.source.network,
        counted(config.routes.len(), "route"),
        counted(config.sinks.len(), "sink"),
        counted(warnings.len(), "warning"),
    );
    if !config.tests.is_empty() {
        report.push_str(&format!("ok: {} of the routes\n", counted(config.tests.len(), "test")));
    }
    if is_verbose {
        report.extend(plans.iter().map(|plan| explain(config, plan)));
        report.push_str(&sinks(config));
        report.push_str("\nread\n");
        files.iter().for_each(|file| report.push_str(&format!("  {}\n", file.display())));
    }
    report
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn explain(config: &Config, plan: &Plan) -> String {
    let mut text = format!("\n{plan}\n");
    for route in config.routes.iter().filter(|route| route.stream == plan.stream) {
        let sinks: Vec<String> = route.sinks.iter().map(ToString::to_string).collect();
        text.push_str(&format!("  {} → {}\n", route.name, sinks.join(", ")));
    }
    text
}

fn sinks(config: &Config) -> String {
    let mut text = "\nsinks\n".to_owned();
    for (name, sink) in &config.sinks {
        let kind = match &sink.kind {
            SinkKind::Webhook(webhook) => format!("webhook to {}", webhook.url.origin().ascii_serialization()),
            SinkKind::Kafka(kafka) => format!("Kafka at {}", kafka.connection.brokers.join(", ")),
            SinkKind::Amqp(amqp) => format!("AMQP to exchange `{}` at {}", amqp.exchange, hosts(amqp)),
            SinkKind::Stdout => "stdout".to_owned(),
        };
        text.push_str(&format!("  {name}: {kind}\n"));
    }
    text
}

fn hosts(amqp: &AmqpConfig) -> String {
    amqp.brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

    /// Exit code, output and errors for a file with this text, which is called FILE in them.
    fn check(yaml: &str, format: Format) -> (u8, String, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let check = Check { config: Some(file.path().to_owned()), verbose: true, format };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(&check, &mut out, &mut errors).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&file.path().display().to_string(), "FILE");
        (code, text(out), text(errors))
    }

    fn yaml(routes: &str) -> String {
        format!(
            "source: {{ network: testnet, api_key: hunter2 }}\nsinks: {{ bus: {{ stdout: }} }}\nroutes: {{ {routes} }}"
        )
    }

    #[test]
    fn a_good_file_is_summed_up_and_explained() {
        let one = format!("one: {{ match: {{ contract_package: {HASH} }}, sinks: bus }}");
        let all = "all: { stream: transfers, match: all, sinks: bus }";
        let (code, out, errors) = check(&yaml(&format!("{one}, {all}")), Format::Text);
        assert_eq!(code, 0);
        let expected = "ok: nft-tokens, transfers on testnet, 2 routes, 1 sink, 1 warning\n\
             \nsubscribes to nft-tokens for 1 package, because every route names its packages\n  one → bus\n\
             \nsubscribes to all of transfers, because the route `all` can match any package\n  all → bus\n\
             \nsinks\n  bus: stdout\n\
             \nread\n  FILE\n";
        assert_eq!(out, expected);
        assert!(errors.starts_with("FILE:1:38: warning: ") && !errors.contains("hunter2"), "{errors}");
    }

    #[test]
    fn a_bad_file_ends_with_2_and_its_faults() {
        let (code, out, errors) = check(&yaml("one: { match: {}, sinks: [buss] }"), Format::Text);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(errors.contains("routes.one.match: an empty `match`"), "{errors}");
        assert!(errors.ends_with("\n2 faults, 1 warning\n"), "{errors}");
    }

    #[test]
    fn machines_get_json() {
        let (code, out, errors) = check(&yaml("one: { match: all, sinks: [bus, buss] }"), Format::Json);
        assert_eq!((code, errors.as_str()), (2, ""));
        let expected = json!([
            {
                "file": "FILE", "line": 1, "column": 38, "path": "source.api_key", "severity": "warning",
                "message": "a secret is written into the file",
                "hint": "take it from the environment with ${NAME}, or from a file with ${file:/path}"
            },
            {
                "file": "FILE", "line": 3, "column": 43, "path": "routes.one.sinks[1]", "severity": "error",
                "message": "there is no sink `buss`", "hint": "did you mean `bus`?"
            },
        ]);
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
        let (code, out, _) = check(&yaml("one: { match: all, sinks: [bus] }"), Format::Json);
        assert_eq!((code, out.contains("warning")), (0, true), "{out}");
    }

    #[test]
    fn a_file_that_is_not_there_has_no_line() {
        let check = Check { config: Some("/nonexistent/x.yaml".into()), verbose: false, format: Format::Json };
        let mut out = Vec::new();
        assert_eq!(run(&check, &mut out, &mut Vec::new()).unwrap(), 2);
        let told: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&told[0]["line"], &told[0]["severity"]), (&Value::Null, &json!("error")));
    }

    /// Two routes and two tests; `expected` is what the one about a cheap token says.
    fn tested(expected: &str, format: Format) -> (u8, String, String) {
        let event = |price: u8| {
            format!(
                r#"'{{"data":{{"contract_package_hash":"{HASH}","token_id":"1","price":{price}}},"action":"created"}}'"#
            )
        };
        let dear = "dear: { match: { where: { /data/price: { gt: 20 } } }, sinks: bus }";
        let yaml = format!(
            "{}\ntests:\n\
             \x20 cheap: {{ event: {}, {expected} }}\n\
             \x20 rich: {{ event: {}, sinks: [bus], routes: [dear] }}\n",
            yaml(&format!("one: {{ match: {{ token_id: 2 }}, sinks: bus }}, {dear}")),
            event(20),
            event(21),
        );
        check(&yaml, format)
    }

    #[test]
    fn tests_that_hold_are_counted() {
        let (code, out, _) = tested("sinks: []", Format::Text);
        assert_eq!(code, 0);
        assert!(out.contains("\nok: 2 tests of the routes\n"), "{out}");
    }

    #[test]
    fn a_test_that_fails_shows_the_difference_and_why() {
        let (code, out, errors) = tested("sinks: [bus], routes: [one]", Format::Text);
        assert_eq!((code, out.as_str()), (1, ""));
        let (_, told) = errors.split_once("\nFILE:").unwrap();
        let expected = "5:3: tests.cheap: the event goes elsewhere\n\
             \x20 expected sinks: bus\n  actual sinks:   none\n\
             \x20 expected routes: one\n  actual routes:   none\n\
             \x20 route one: match.token_id: expected \"2\", found \"1\"\n\
             \x20 route dear: match.where./data/price.gt: expected a number > 20, found 20\n\
             \n1 fault, 1 warning\n";
        assert_eq!(told, expected);
        let (code, out, _) = tested("sinks: [bus], routes: [one]", Format::Json);
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &told[1]["path"], &told[1]["line"]), (1, &json!("tests.cheap"), &json!(5)));
    }

    #[test]
    fn an_event_that_cannot_be_used_fails_its_test() {
        let with = |event: &str| {
            let yaml = yaml("all: { match: all, sinks: bus }");
            let tests = format!("tests: {{ odd: {{ event: {event}, sinks: bus }} }}");
            let (code, _, errors) = check(&format!("{yaml}\n{tests}"), Format::Text);
            assert_eq!(code, 1);
            errors
        };
        assert!(with("nowhere.json").contains("the event cannot be read: "));
        assert!(with("'{}'").contains("the event is no message of nft-tokens: "));
    }
}
