//! `cspr-relay quarantine`: messages that could not be handled, once more or never again.

use std::io::Write;

use super::USAGE;
use super::remote::Whom;
use super::remote::work::{self, How, Words};
use crate::admin::{OrderRequest, QuarantineFilterRequest};

/// Take up messages of the quarantine once more, or let go of them
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Put them through intake once more, after a fix; what is still unusable, or wanted by no route, stays
    Reroute {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        how: How,
    },
    /// Let go of them for good
    Drop {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Filters {
    /// Only the one of this number
    #[arg(long)]
    number: Option<u64>,
    /// Only those of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only those with this in their reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl From<Filters> for QuarantineFilterRequest {
    fn from(filters: Filters) -> Self {
        let Filters { number, stream, reason } = filters;
        Self { number, stream, reason }
    }
}

/// Does what the verb says and gives the exit code.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(relay) = args.whom.relay(errors)? else { return Ok(USAGE) };
    let nouns = ("message", "messages");
    let (order, done, how) = match args.verb {
        Verb::Reroute { filters, how } => {
            (OrderRequest::RerouteQuarantined { filter: filters.into() }, "taken up", how)
        }
        Verb::Drop { filters, how } => (OrderRequest::DropQuarantined { filter: filters.into() }, "dropped", how),
    };
    let code = work::run(&relay, order, Words { nouns, done }, &how, out).await?;
    out.flush()?;
    Ok(code)
}
