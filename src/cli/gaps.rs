//! `cspr-relay gaps`: the spans in which a running relay may have missed something.

use std::io::{self, Write};

use super::USAGE;
use super::listen::shown;
use super::relay::Place;
use super::table::{Table, whole_seconds};
use crate::admin::gaps::{CloseRequest, GapView, Gaps};

/// Look at the spans in which events may have been missed, and say that one was seen to
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// All that are known, newest first
    List {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Ask CSPR.cloud's REST API once more what happened in a gap
    Repair {
        number: u64,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Note that somebody has seen to a gap, which is then no longer open
    Close {
        number: u64,
        /// Why it needs no more attention, for whoever looks later
        #[arg(long)]
        note: String,
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
            let gaps: Gaps = relay.get(&["gaps"]).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&gaps)?)?;
            } else {
                write(&gaps.gaps, out)?;
            }
        }
        Verb::Repair { number, json } => {
            let path = ["gaps", &number.to_string(), "repair"];
            let gap: GapView = relay.post(&path, &serde_json::Value::Null).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&gap)?)?;
            } else {
                writeln!(out, "Gap {number} of {} is open again: it is repaired within seconds.", gap.stream)?;
            }
        }
        Verb::Close { number, note, json } => {
            let gap: GapView = relay.post(&["gaps", &number.to_string(), "close"], &CloseRequest { note }).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&gap)?)?;
            } else {
                writeln!(out, "Gap {number} of {} is closed.", gap.stream)?;
            }
        }
    }
    out.flush()?;
    Ok(0)
}

fn write(gaps: &[GapView], out: &mut impl Write) -> io::Result<()> {
    if gaps.is_empty() {
        return writeln!(out, "There are no gaps: nothing can have been missed.");
    }
    let mut table = Table::new(["gap", "state", "stream", "from", "to", "back"]);
    for gap in gaps {
        let to = gap.to.as_deref().map_or_else(|| "goes on".to_owned(), whole_seconds);
        let (number, state, stream) = (gap.number.to_string(), gap.state.clone(), gap.stream.clone());
        table.row([number, state, stream, whole_seconds(&gap.from), to, gap.returned.to_string()]);
    }
    table.write(out)?;
    writeln!(out)?;
    gaps.iter().try_for_each(|gap| writeln!(out, "{}: {}", gap.number, shown(&about(gap), usize::MAX)))
}

/// Why there is a gap, and why it is in its state.
fn about(gap: &GapView) -> String {
    let parts = [Some(gap.cause.as_str()), gap.detail.as_deref(), gap.note.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(gaps: &[GapView]) -> String {
        let mut out = Vec::new();
        write(gaps, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn gaps_fit_eighty_columns_and_say_why_below() {
        assert_eq!(written(&[]), "There are no gaps: nothing can have been missed.\n");
        let goes_on = GapView {
            number: 104,
            stream: "nft-token-actions".to_owned(),
            from: "2026-01-01T00:00:00.123Z".to_owned(),
            to: None,
            cause: "disconnected".to_owned(),
            detail: Some("the server\u{1b}[2J went away".to_owned()),
            state: "open".to_owned(),
            note: None,
            returned: 0,
        };
        let ended = GapView {
            to: Some("2026-01-01T00:00:02.123Z".to_owned()),
            state: "unrepairable".to_owned(),
            note: Some("no route names a package".to_owned()),
            returned: 12,
            ..goes_on.clone()
        };
        let expected = "\
gap  state         stream             from                  to                    back
104  open          nft-token-actions  2026-01-01T00:00:00Z  goes on                  0
104  unrepairable  nft-token-actions  2026-01-01T00:00:00Z  2026-01-01T00:00:02Z    12

104: disconnected; the server\\u{1b}[2J went away
104: disconnected; the server\\u{1b}[2J went away; no route names a package
";
        assert_eq!(written(&[goes_on, ended]), expected);
    }
}
