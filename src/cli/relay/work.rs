//! Orders from the command line: first what they would do, then, with `--yes`, doing it, with a bar on a terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Client;
use crate::admin::{CountsView, Forecast, JobView, OrderRequest};

/// How often a job is asked after.
const LOOK: Duration = Duration::from_millis(200);
/// The exit code of a job that did not come to its end.
const NOT_DONE: u8 = 1;

/// How an order is carried out.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct How {
    /// Do it; without this only say what would be done
    #[arg(long)]
    yes: bool,
    /// Do not wait for the end; `cspr-relay jobs` shows it
    #[arg(long, requires = "yes")]
    detach: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// The words for what an order does.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Words {
    /// Of one and of several.
    pub(in crate::cli) nouns: (&'static str, &'static str),
    /// As in "3 dead letters are replayed".
    pub(in crate::cli) done: &'static str,
}

/// Does what `how` says and gives the exit code.
pub(in crate::cli) async fn run(
    relay: &Client,
    order: OrderRequest,
    words: Words,
    how: &How,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let forecast: Forecast = relay.post(&["jobs", "dry-run"], &order).await?;
    if !how.yes {
        if how.json {
            writeln!(out, "{}", serde_json::to_string(&forecast)?)?;
        } else {
            out.write_all(would(&forecast, words).as_bytes())?;
        }
        return Ok(0);
    }
    let mut job: JobView = relay.post(&["jobs"], &order).await?;
    if !how.json {
        let number = job.number;
        writeln!(out, "Job {number} is at work; `cspr-relay jobs cancel {number}` ends it where it is.")?;
        out.flush()?;
    }
    if !how.detach {
        job = watch(relay, job, forecast.counts.matched, how.json).await?;
    }
    if how.json {
        writeln!(out, "{}", serde_json::to_string(&job)?)?;
    } else if !how.detach {
        out.write_all(ended(&job, words).as_bytes())?;
    }
    Ok(if matches!(job.state.as_str(), "running" | "done") { 0 } else { NOT_DONE })
}

/// Waits for the end of a job, with a bar if somebody looks.
async fn watch(relay: &Client, mut job: JobView, length: u64, is_json: bool) -> anyhow::Result<JobView> {
    let is_seen = std::io::stderr().is_terminal() && !is_json;
    let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {per_sec}, {eta} left {msg}") {
        bar.set_style(style);
    }
    while job.state == "running" {
        bar.set_message(job.trouble.clone().unwrap_or_default());
        tokio::time::sleep(LOOK).await;
        job = relay.get(&["jobs", &job.number.to_string()]).await?;
        bar.set_length(length.max(job.counts.matched));
        bar.set_position(job.counts.matched);
    }
    bar.finish_and_clear();
    Ok(job)
}

fn number(count: u64, (one, many): (&str, &str)) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What an order would do.
fn would(forecast: &Forecast, words: Words) -> String {
    let Forecast { counts, complete } = forecast;
    let least = if *complete { "" } else { "At least " };
    let mut text = format!("{least}{} would be {}.\n", number(counts.done, words.nouns), words.done);
    text += &rest(counts);
    if counts.done > 0 {
        text += "Nothing was done; say --yes to do it.\n";
    }
    text
}

/// What a job has done.
fn ended(job: &JobView, words: Words) -> String {
    let how = match (job.state.as_str(), &job.why) {
        ("done", _) => String::new(),
        ("failed", Some(why)) => format!("The job failed: {why}.\n"),
        (state, _) => format!("The job was {state}.\n"),
    };
    let was = if job.counts.done == 1 { "was" } else { "were" };
    format!("{how}{} {was} {}.\n{}", number(job.counts.done, words.nouns), words.done, rest(&job.counts))
}

/// What was, or would be, left alone.
fn rest(counts: &CountsView) -> String {
    let lines = [
        (counts.delivered, "left alone: delivered already (--again sends them all the same)"),
        (counts.waiting, "left alone: on their way already"),
        (counts.skipped, "left alone: superseded"),
        (counts.gone, "gone meanwhile"),
        (counts.left, "left alone: their sink is not configured, or they are still unusable or wanted by no route"),
    ];
    let told = lines.into_iter().filter(|(count, _)| *count > 0);
    let mut text: String = told.map(|(count, what)| format!("{count} {what}.\n")).collect();
    if counts.superseded > 0 && counts.skipped == 0 {
        text += &format!(
            "{} of them superseded: a newer event of the same token went to the same sink since; a receiver that goes \
             by the sequence ignores the older one (--skip-superseded leaves them alone).\n",
            counts.superseded
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words = Words { nouns: ("dead letter", "dead letters"), done: "replayed" };

    #[test]
    fn a_forecast_tells_what_would_be_done_and_what_not() {
        let counts = CountsView { done: 2, waiting: 3, superseded: 1, ..CountsView::default() };
        let text = would(&Forecast { counts, complete: true }, WORDS);
        assert!(
            text.starts_with("2 dead letters would be replayed.\n3 left alone: on their way already.\n1 of them"),
            "{text}"
        );
        assert!(text.ends_with("say --yes to do it.\n"), "{text}");
        let none = would(&Forecast { counts: CountsView::default(), complete: false }, WORDS);
        assert_eq!(none, "At least 0 dead letters would be replayed.\n");
    }

    #[test]
    fn an_end_tells_how_it_came() {
        let job = |state: &str, why: Option<&str>| JobView {
            number: 7,
            what: String::new(),
            state: state.to_owned(),
            why: why.map(str::to_owned),
            trouble: None,
            created_at: String::new(),
            ended_at: None,
            counts: CountsView { done: 1, ..CountsView::default() },
        };
        assert_eq!(ended(&job("done", None), WORDS), "1 dead letter was replayed.\n");
        assert_eq!(ended(&job("cancelled", None), WORDS), "The job was cancelled.\n1 dead letter was replayed.\n");
        assert!(ended(&job("failed", Some("no room")), WORDS).starts_with("The job failed: no room.\n"));
    }
}
