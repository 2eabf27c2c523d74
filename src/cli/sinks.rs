//! `cspr-relay sinks`: list, pause and resume a sink of a running relay, try it, and let go of what is parked for one.

use std::io::Write;

use super::USAGE;
use super::relay::work::{self, How, Words};
use super::relay::{Client, Place};
use super::status::sinks;
use crate::admin::sinks::Sinks;
use crate::admin::{OrderRequest, PauseChange, PauseView, TestResult};

/// The exit code of a test event that was not delivered.
const NOT_DELIVERED: u8 = 1;

/// List the sinks of a running relay; pause, resume and test them
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List them, as without a verb
    List {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Attempt nothing more at a sink until it is resumed; its events wait, over restarts too
    Pause {
        sink: String,
        /// For whoever finds it paused
        #[arg(long)]
        reason: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// End a pause, also that of a sink that said it was gone (410)
    Resume {
        sink: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Send a sink one event that never was, marked `cspr-relay-test: true`, and say what came of it
    Test {
        sink: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let go of the deliveries that are kept for a sink that is not in the configuration any more
    DropParked {
        sink: String,
        #[command(flatten)]
        how: How,
    },
}

/// Does what the verb says and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.place.running(errors)? else { return Ok(USAGE) };
    let code = match args.verb.unwrap_or(Verb::List { json: false }) {
        Verb::List { json } => list(&relay, json, out).await?,
        Verb::Pause { sink, reason, json } => {
            let body = serde_json::json!({ "reason": reason });
            change(&relay, &sink, "pause", &body, json, out).await?
        }
        Verb::Resume { sink, json } => change(&relay, &sink, "resume", &serde_json::Value::Null, json, out).await?,
        Verb::Test { sink, json } => test(&relay, &sink, json, out).await?,
        Verb::DropParked { sink, how } => {
            let words = Words { nouns: ("parked delivery", "parked deliveries"), done: "dropped" };
            work::run(&relay, OrderRequest::DropParked { sink }, words, &how, out).await?
        }
    };
    out.flush()?;
    Ok(code)
}

async fn list(relay: &Client, is_json: bool, out: &mut impl Write) -> anyhow::Result<u8> {
    let listed: Sinks = relay.get(&["sinks"]).await?;
    match is_json {
        true => writeln!(out, "{}", serde_json::to_string(&listed)?)?,
        false => sinks::write(&listed, out)?,
    }
    Ok(0)
}

async fn change(
    relay: &Client,
    sink: &str,
    verb: &str,
    body: &serde_json::Value,
    is_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let changed: PauseChange = relay.post(&["sinks", sink, verb], body).await?;
    if is_json {
        writeln!(out, "{}", serde_json::to_string(&changed)?)?;
    } else {
        writeln!(out, "{}", told(&changed))?;
    }
    Ok(0)
}

fn told(changed: &PauseChange) -> String {
    let sink = &changed.sink;
    let why = |pause: &PauseView| format!("since {} by {}: {}", pause.since, pause.by, pause.reason);
    match (&changed.before, &changed.after) {
        (None, None) => format!("The sink `{sink}` was not paused."),
        (Some(before), None) => format!("The sink `{sink}` goes on. It was paused {}", why(before)),
        (None, Some(_)) => format!("The sink `{sink}` is paused. `cspr-relay sinks resume {sink}` lets it go on."),
        (Some(before), Some(_)) => {
            format!("The sink `{sink}` is paused, for a new reason. It was paused {}", why(before))
        }
    }
}

async fn test(relay: &Client, sink: &str, is_json: bool, out: &mut impl Write) -> anyhow::Result<u8> {
    let result: TestResult = relay.post(&["sinks", sink, "test"], &serde_json::Value::Null).await?;
    let code = if result.delivered { 0 } else { NOT_DELIVERED };
    if is_json {
        writeln!(out, "{}", serde_json::to_string(&result)?)?;
        return Ok(code);
    }
    let status = result.status.map(|status| format!(", status {status}")).unwrap_or_default();
    let (id, took) = (&result.id, result.took_ms);
    match (&result.cause, &result.detail) {
        (Some(cause), detail) => {
            let detail = detail.as_deref().unwrap_or_default();
            writeln!(
                out,
                "The sink `{sink}` did not take the test event {id} ({took} ms{status}).\n{cause}: {detail}"
            )?;
        }
        (None, _) => writeln!(out, "The sink `{sink}` took the test event {id} ({took} ms{status}).")?,
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_what_was_before() {
        let pause = PauseView { since: "then".to_owned(), by: "operator".to_owned(), reason: "works".to_owned() };
        let told = |before: bool, after: bool| {
            let view = |is: bool| is.then(|| pause.clone());
            told(&PauseChange { sink: "a".to_owned(), before: view(before), after: view(after) })
        };
        assert_eq!(told(false, false), "The sink `a` was not paused.");
        assert_eq!(told(true, false), "The sink `a` goes on. It was paused since then by operator: works");
        assert!(told(false, true).contains("`cspr-relay sinks resume a`"));
        assert!(told(true, true).contains("for a new reason. It was paused since then"));
    }
}
