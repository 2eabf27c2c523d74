//! `cspr-relay check`: is the configuration right, and what would it do?

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::config::{self, Config, Faults, Loaded, MatchConfig, PushDown, RouteConfig, SinkKind, Subscription};
use crate::event::Stream;
use crate::route;

/// The exit code for a configuration with faults.
const FAULTY: u8 = 2;

/// Check the configuration and show what it would do
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The configuration file [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show each subscription with its reason, and each sink with its routes
    #[arg(short, long)]
    verbose: bool,
}

/// Writes faults and warnings to `errors`, the summary to `out`, and returns the exit code.
pub(crate) fn run(check: &Check, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<u8> {
    match config::load(&config::locate(check.config.clone())) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(errors, "warning: {warning}\n")?;
            }
            write!(out, "{}", report(&loaded, check.verbose))?;
            Ok(0)
        }
        Err(Faults(faults)) => {
            for fault in &faults {
                writeln!(errors, "{fault}\n")?;
            }
            let noun = if faults.len() == 1 { "fault" } else { "faults" };
            writeln!(errors, "{} {noun}", faults.len())?;
            Ok(FAULTY)
        }
    }
}

fn report(Loaded { config, warnings }: &Loaded, is_verbose: bool) -> String {
    let subscriptions = route::subscriptions(&config.routes, config.source.push_down);
    let mut streams: Vec<Stream> = subscriptions.iter().map(|subscription| subscription.stream).collect();
    streams.dedup();
    let names: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
    let mut report = format!(
        "ok: {} on {}, {}, {}, {}\n",
        names.join(", "),
        config.source.network,
        counted(config.routes.len(), "route"),
        counted(config.sinks.len(), "sink"),
        counted(warnings.len(), "warning"),
    );
    if is_verbose {
        for stream in streams {
            let own: Vec<_> = subscriptions.iter().filter(|subscription| subscription.stream == stream).collect();
            report.push_str(&explain(config, stream, &own));
        }
        report.push_str(&sinks(config));
    }
    report
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn explain(config: &Config, stream: Stream, subscriptions: &[&Subscription]) -> String {
    let packages: usize = subscriptions.iter().map(|one| one.contract_packages.len()).sum();
    let mut text = format!("\n{stream}: {}", counted(subscriptions.len(), "connection"));
    text.push_str(&match packages {
        0 => format!(", unfiltered: {}\n", why_unfiltered(config, stream)),
        _ => format!(", only {}: every route names packages\n", counted(packages, "package")),
    });
    let owners = subscriptions.first().map(|one| one.owners.len()).unwrap_or_default();
    if owners > 0 {
        text.push_str("  and only their owners, as push_down asks\n");
    }
    for route in config.routes.iter().filter(|route| route.stream == stream) {
        let sinks: Vec<String> = route.sinks.iter().map(ToString::to_string).collect();
        text.push_str(&format!("  {} → {}\n", route.name, sinks.join(", ")));
    }
    text
}

fn why_unfiltered(config: &Config, stream: Stream) -> String {
    let names_no_package = |route: &&RouteConfig| match &route.matcher {
        MatchConfig::All => true,
        MatchConfig::Keys(keys) => keys.contract_package.is_none(),
    };
    if config.source.push_down == PushDown::Off {
        return "push_down is off".to_owned();
    }
    let mut routes = config.routes.iter().filter(|route| route.stream == stream);
    match routes.find(names_no_package) {
        Some(route) => format!("the route `{}` names no package", route.name),
        None => "the routes name more packages than fit into a few connections".to_owned(),
    }
}

fn sinks(config: &Config) -> String {
    let mut text = "\nsinks\n".to_owned();
    for (name, sink) in &config.sinks {
        let kind = match &sink.kind {
            SinkKind::Webhook(webhook) => format!("webhook to {}", webhook.url.origin().ascii_serialization()),
            SinkKind::Stdout => "stdout".to_owned(),
        };
        text.push_str(&format!("  {name}: {kind}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

    /// Exit code, output and errors for a file with this text.
    fn check(yaml: &str) -> (u8, String, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let check = Check { config: Some(file.path().to_owned()), verbose: true };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(&check, &mut out, &mut errors).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
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
        let (code, out, errors) = check(&yaml(&format!("{one}, {all}")));
        assert_eq!(code, 0);
        let expected = "ok: nft-tokens, transfers on testnet, 2 routes, 1 sink, 1 warning\n\
             \nnft-tokens: 1 connection, only 1 package: every route names packages\n  one → bus\n\
             \ntransfers: 1 connection, unfiltered: the route `all` names no package\n  all → bus\n\
             \nsinks\n  bus: stdout\n";
        assert_eq!(out, expected);
        assert!(errors.starts_with("warning: ") && !errors.contains("hunter2"), "{errors}");
    }

    #[test]
    fn a_bad_file_ends_with_2_and_its_faults() {
        let (code, out, errors) = check(&yaml("one: { match: {}, sinks: [buss] }"));
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(errors.contains("routes.one.match: an empty `match`") && errors.ends_with("\n2 faults\n"), "{errors}");
    }
}
