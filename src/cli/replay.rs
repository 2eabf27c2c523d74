//! `cspr-relay replay`: stored events go to a sink of a running relay, again or for the first time.

use std::io::Write;

use super::USAGE;
use super::relay::Place;
use super::relay::work::{self, How, Words};
use crate::admin::{EventFilterRequest, OrderRequest};

/// Send stored events to a sink, again or for the first time
///
/// Events are stored as long as `store.retention` says, if some route wanted them. They keep their ids and bear
/// `cspr-relay-replay: true`. What the sink has had already, or is about to get, is left alone. A sink that did not
/// exist when the events were accepted can be filled that way.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The sink that gets them
    #[arg(long)]
    sink: String,
    /// Only those accepted at this time or later, such as `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only those accepted before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only those that this route matched when they were accepted
    #[arg(long)]
    route: Option<String>,
    /// Only those of this contract package
    #[arg(long, value_name = "HASH")]
    package: Option<String>,
    /// Only those of this token id
    #[arg(long, value_name = "TOKEN_ID")]
    token: Option<String>,
    /// Only those with this action
    #[arg(long)]
    action: Option<String>,
    /// Only this event
    #[arg(long, value_name = "EVENT_ID")]
    id: Option<String>,
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
    let filter = EventFilterRequest {
        from: args.from,
        until: args.until,
        stream: args.stream,
        route: args.route,
        contract_package: args.package,
        token_id: args.token,
        action: args.action,
        event: args.id,
    };
    let order = OrderRequest::ReplayEvents { sink: args.sink, filter, again: args.again, rate: args.rate };
    let words = Words { nouns: ("event", "events"), done: "replayed" };
    let code = work::run(&relay, order, words, &args.how, out).await?;
    out.flush()?;
    Ok(code)
}
