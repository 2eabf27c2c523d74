//! `cspr-relay health`: does a running relay take events?
//!
//! It is what a container without a shell has for `HEALTHCHECK`, and what the chart's `helm test` runs in a pod of its
//! own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::redirect::Policy;
use tokio::time::{sleep, timeout};

use crate::config;

/// Bounds one question, from the connection to the end of the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);

/// Ask a running relay whether it takes events
///
/// It does while it runs and is not being stopped; no sink and no source has a say in it. The exit code is 0 if it does
/// and 1 if not.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where its admin side is, as HOST:PORT [default: `admin.listen` of the configuration]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Ask again for so many seconds while the answer is no
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// The configuration file [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let address = match args.address {
        Some(address) => address,
        None => configured(args.config)?,
    };
    let client = reqwest::Client::builder().timeout(ASK_TIMEOUT).redirect(Policy::none()).no_proxy().build()?;
    let asking = async {
        loop {
            let answer = ask(&client, &address).await;
            if answer.is_ok() || args.wait == 0 {
                return answer;
            }
            sleep(PAUSE).await;
        }
    };
    match args.wait {
        0 => asking.await?,
        seconds => match timeout(Duration::from_secs(seconds), asking).await {
            Ok(answer) => answer?,
            // The last answer, which says more than that time is over.
            Err(_) => ask(&client, &address).await?,
        },
    }
    writeln!(out, "the relay at {address} takes events")?;
    Ok(())
}

/// Where the relay of that configuration listens, as seen from its own machine.
fn configured(path: Option<PathBuf>) -> anyhow::Result<String> {
    let path = config::locate(path);
    let loaded = config::load(&path)
        .map_err(|_| anyhow!("{} has faults: see `cspr-relay check`, or give --address", path.display()))?;
    Ok(near(loaded.config.admin.listen).to_string())
}

/// An unspecified address is reached by the loopback of its kind.
fn near(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

async fn ask(client: &reqwest::Client, address: &str) -> anyhow::Result<()> {
    let url = format!("http://{address}/healthz/ready");
    let asked = client.get(&url).send().await;
    let answer = asked
        .with_context(|| format!("no relay answers at {address}: is it running, and is this its admin.listen?"))?;
    let status = answer.status();
    if !status.is_success() {
        bail!("the relay at {address} takes no events: it answers {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_asked_by_loopback() {
        let cases = [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ];
        for (listen, asked) in cases {
            assert_eq!(near(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
