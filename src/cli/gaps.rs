//! `cspr-relay gaps`: the spans in which a running relay may have missed something.

use std::io::{self, Write};

use super::USAGE;
use super::relay::Place;
use super::table::Table;
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
    let mut table = Table::new(["GAP", "STATE", "STREAM", "FROM", "TO", "CAUSE", "CAME BACK", "DETAIL"]);
    for gap in gaps {
        let to = gap.to.clone().unwrap_or_else(|| "goes on".to_owned());
        let said = [gap.detail.clone(), gap.note.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let (number, state, stream) = (gap.number.to_string(), gap.state.clone(), gap.stream.clone());
        table.row([number, state, stream, gap.from.clone(), to, gap.cause.clone(), gap.returned.to_string(), said]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(gaps: &[GapView]) -> String {
        let mut out = Vec::new();
        write(gaps, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn gaps_stand_in_a_table() {
        assert_eq!(shown(&[]), "There are no gaps: nothing can have been missed.\n");
        let gap = GapView {
            number: 3,
            stream: "nft-tokens".to_owned(),
            from: "2026-01-01T00:00:00.000Z".to_owned(),
            to: None,
            cause: "disconnected".to_owned(),
            detail: Some("the server\u{1b}[2J went away".to_owned()),
            state: "open".to_owned(),
            note: None,
            returned: 0,
        };
        let text = shown(&[gap]);
        let row = text.lines().nth(1).unwrap();
        assert!(row.starts_with("3    open   nft-tokens  2026-01-01T00:00:00.000Z  goes on  disconnected"), "{row}");
        assert!(!row.contains('\u{1b}'), "{row:?}");
    }
}
