//! `cspr-relay token`: the history of a token.

use std::io::Write;

use super::USAGE;
use super::events::{List, TokenName, history};
use super::relay::Place;

/// The exit code when nothing is known of the token.
const NOT_FOUND: u8 = 1;

/// List the events of a token, newest first, and what became of them
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenName,
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    place: Place,
}

/// Asks, writes and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.place.relay(errors).await? else { return Ok(USAGE) };
    let is_found = history(&relay, args.token, &args.list, out, errors).await?;
    if !is_found {
        writeln!(
            errors,
            "Nothing is known of this token: no event of it was accepted, or retention has removed them."
        )?;
    }
    out.flush()?;
    Ok(if is_found { 0 } else { NOT_FOUND })
}
