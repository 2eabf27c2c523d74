//! `cspr-relay jobs`: the work that operators have set a running relay to.

use std::io::{self, Write};

use super::USAGE;
use super::listen::shown;
use super::relay::Place;
use super::table::{Table, whole_seconds};
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
                write(&jobs.jobs, out)?;
            }
        }
        Verb::Cancel { number, json } => {
            let job: JobView = relay.post(&["jobs", &number.to_string(), "cancel"], &serde_json::Value::Null).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&job)?)?;
            } else {
                writeln!(
                    out,
                    "Job {number} has ended: {}. What it did before stays done: {}.",
                    job.state, job.counts.done
                )?;
            }
        }
    }
    out.flush()?;
    Ok(0)
}

/// A line for each; below the table, why some of them failed, or wait.
pub(super) fn write(jobs: &[JobView], out: &mut impl Write) -> io::Result<()> {
    if jobs.is_empty() {
        return writeln!(out, "There are no jobs.");
    }
    let mut table = Table::new(["job", "state", "begun", "matched", "done", "what"]);
    for job in jobs {
        let JobView { number, what, state, created_at, counts, .. } = job.clone();
        let (begun, matched, done) = (whole_seconds(&created_at), counts.matched.to_string(), counts.done.to_string());
        table.row([number.to_string(), state, begun, matched, done, what]);
    }
    table.write(out)?;
    for JobView { number, why, trouble, .. } in jobs {
        let told = why.iter().map(|why| ("failed", why)).chain(trouble.iter().map(|trouble| ("waits", trouble)));
        told.into_iter().try_for_each(|(how, why)| writeln!(out, "job {number} {how}: {}", shown(why, usize::MAX)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::CountsView;

    fn written(jobs: &[JobView]) -> String {
        let mut out = Vec::new();
        write(jobs, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn jobs_stand_in_a_table() {
        assert_eq!(written(&[]), "There are no jobs.\n");
        let job = JobView {
            number: 3,
            what: "replay events, sink=crm".to_owned(),
            state: "running".to_owned(),
            why: None,
            trouble: Some("HTTP 429".to_owned()),
            created_at: "2026-01-01T00:00:00.000Z".to_owned(),
            ended_at: None,
            counts: CountsView { matched: 10, done: 7, ..CountsView::default() },
        };
        let failed = JobView {
            number: 2,
            state: "failed".to_owned(),
            why: Some("no\troom".to_owned()),
            trouble: None,
            ..job.clone()
        };
        let expected = "job  state    begun                 matched  done  what\n\
                        3    running  2026-01-01T00:00:00Z       10     7  replay events, sink=crm\n\
                        2    failed   2026-01-01T00:00:00Z       10     7  replay events, sink=crm\n\
                        job 3 waits: HTTP 429\n\
                        job 2 failed: no\\troom\n";
        assert_eq!(written(&[job, failed]), expected);
    }
}
