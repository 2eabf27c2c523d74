//! `cspr-relay backfill`: what CSPR.cloud knows of a collection goes to a sink of a running relay.

use std::io::Write;

use super::USAGE;
use super::relay::Place;
use super::relay::work::{self, How, Words};
use crate::admin::OrderRequest;

/// Send a sink what there was before it: the tokens of a collection as they are, or all that was done with them
///
/// The relay asks CSPR.cloud's REST API, with the least urgency of all that it asks for, and goes on with the stream
/// meanwhile. Events bear `cspr-relay-origin: backfill`; what is stored already goes as the event that it is. What the
/// sink has had, or is about to get, is left alone, so that a second run sends only what is missing.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The contract package of the collection
    #[arg(long, value_name = "HASH")]
    package: String,
    /// The sink that gets it, whatever the routes say
    #[arg(long)]
    sink: String,
    /// All that was done with the tokens (`nft-token-actions`), instead of the tokens as they are (`nft-tokens`)
    #[arg(long)]
    history: bool,
    /// Also what the sink has had already
    #[arg(long)]
    again: bool,
    /// At most so many in a second
    #[arg(long, value_name = "EVENTS")]
    rate: Option<u32>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    place: Place,
}

/// Does it and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.place.running(errors)? else { return Ok(USAGE) };
    let Args { package: contract_package, sink, history, again, rate, .. } = args;
    let nouns = if history { ("action", "actions") } else { ("token", "tokens") };
    let order = OrderRequest::Backfill { sink, contract_package, history, again, rate };
    let code = work::run(&relay, order, Words { nouns, done: "sent" }, &args.how, out).await?;
    out.flush()?;
    Ok(code)
}
