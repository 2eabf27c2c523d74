//! `cspr-relay health`: does a running relay take events?
//!
//! It is what a container without a shell has for `HEALTHCHECK`, and what the chart's `helm test` runs in a pod of its
//! own, without a configuration and without the token.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::time::{sleep, timeout};

use super::listen::shown;
use super::relay;
use crate::admin::Health;
use crate::config;

/// Bounds one question, from the connection to the end of the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);

/// Ask a running relay whether it takes events
///
/// It does while it runs and is not being stopped; no sink and no source has a say in it. The exit code is 0 if it does
/// and 1 if not. A relay that is well and has no room for more events says so, with 0: a restart would not help.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where its admin side is, such as `http://localhost:9464` [default: `admin.listen` of the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Ask again for so many seconds while the answer is no
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// The configuration file [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let base = args.url.map_or_else(|| configured(args.config), Ok)?;
    let url = base.join("/healthz/ready").with_context(|| format!("{base} is no address of a relay"))?;
    let client = Client::builder().timeout(ASK_TIMEOUT).redirect(Policy::none()).no_proxy().build()?;
    let asking = async {
        loop {
            match ask(&client, &url).await {
                Ok(health) => return health,
                Err(_) => sleep(PAUSE).await,
            }
        }
    };
    let health = match timeout(Duration::from_secs(args.wait), asking).await {
        Ok(health) => health,
        // The last answer says more than that time is over.
        Err(_) => ask(&client, &url).await?,
    };
    match health.detail {
        None => writeln!(out, "the relay at {base} takes events")?,
        Some(why) => writeln!(out, "the relay at {base} is well and takes no events: {}", shown(&why, usize::MAX))?,
    }
    Ok(())
}

/// Where the relay of that configuration listens, as seen from its own machine.
fn configured(path: Option<PathBuf>) -> anyhow::Result<Url> {
    let path = config::locate(path);
    let loaded = config::load(&path)
        .map_err(|_| anyhow!("{} has faults: see `cspr-relay check`, or give --url", path.display()))?;
    relay::at(loaded.config.admin.listen)
}

async fn ask(client: &Client, url: &Url) -> anyhow::Result<Health> {
    let asked = client.get(url.clone()).send().await;
    let answer =
        asked.with_context(|| format!("no relay answers at {url}: is it running, and is this its admin.listen?"))?;
    let status = answer.status();
    if !status.is_success() {
        bail!("the relay at {url} takes no events: it answers {status}");
    }
    let answer = answer.text().await.with_context(|| format!("reading the answer of {url}"))?;
    serde_json::from_str(&answer).with_context(|| format!("what answers at {url} is no relay"))
}
