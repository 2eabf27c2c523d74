//! `cspr-relay jobs`: the work that operators have set a running relay to.

use std::io::Write;

use super::USAGE;
use super::relay::Place;
use crate::admin::{JobView, Jobs};

/// Look at the replays and drops that a running relay works on, and end one
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Those at work and those that ended lately, newest first
    List {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// End one where it is; what it has done stays done
    Cancel {
        number: u64,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Does what the verb says and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.place.running(errors)? else { return Ok(USAGE) };
    match args.verb {
        Verb::List { json } => {
            let jobs: Jobs = relay.get(&["jobs"]).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&jobs)?)?;
            } else {
                out.write_all(table(&jobs.jobs).as_bytes())?;
            }
        }
        Verb::Cancel { number, json } => {
            let job: JobView = relay.post(&["jobs", &number.to_string(), "cancel"], &serde_json::Value::Null).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&job)?)?;
            } else if job.state == "running" {
                writeln!(out, "Job {number} ends with the step that is under way.")?;
            } else {
                writeln!(out, "Job {number} has ended: {}.", job.state)?;
            }
        }
    }
    out.flush()?;
    Ok(0)
}

fn table(jobs: &[JobView]) -> String {
    if jobs.is_empty() {
        return "There are no jobs.\n".to_owned();
    }
    let mut text = format!("{:>6}  {:<9}  {:<24}  {:>10}  {:>10}\n", "JOB", "STATE", "BEGUN", "MATCHED", "DONE");
    for job in jobs {
        let JobView { number, state, created_at, counts, .. } = job;
        text += &format!("{number:>6}  {state:<9}  {created_at:<24}  {:>10}  {:>10}\n", counts.matched, counts.done);
        text += &job.trouble.as_ref().map(|trouble| format!("        waits: {trouble}\n")).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::CountsView;

    #[test]
    fn jobs_stand_in_a_table() {
        assert_eq!(table(&[]), "There are no jobs.\n");
        let job = JobView {
            number: 3,
            state: "running".to_owned(),
            why: None,
            trouble: Some("HTTP 429".to_owned()),
            created_at: "2026-01-01T00:00:00.000Z".to_owned(),
            ended_at: None,
            counts: CountsView { matched: 10, done: 7, ..CountsView::default() },
        };
        let text = table(&[job]);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(
            lines,
            [
                vec!["JOB", "STATE", "BEGUN", "MATCHED", "DONE"],
                vec!["3", "running", "2026-01-01T00:00:00.000Z", "10", "7"],
                vec!["waits:", "HTTP", "429"],
            ]
        );
    }
}
