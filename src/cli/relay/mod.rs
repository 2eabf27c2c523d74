//! Asking a relay: over its API while it runs, or its data directory while it does not. Either way the answer is the
//! same, and is printed by the same code.

mod client;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(in crate::cli) use client::Client;

use crate::config::{self, Contact, Secret};

/// Which relay is meant.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Place {
    /// The configuration file, for the relay's address and token [default: `$CSPR_RELAY_CONFIG`, or else
    /// `./cspr-relay.yaml`]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["data", "url"])]
    config: Option<PathBuf>,
    /// The data directory of a relay, to be read as it is; for one that is stopped, or has no admin.token
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// The address of a relay's admin side, such as http://127.0.0.1:9464; no configuration is needed then
    #[arg(long, global = true, value_name = "URL", env = "CSPR_RELAY_URL")]
    url: Option<Url>,
    /// Its admin.token; an environment variable is safer
    #[arg(long, global = true, value_name = "TOKEN", env = "CSPR_RELAY_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
}

/// A relay that can be asked.
pub(in crate::cli) enum Relay {
    Running(Client),
    /// Nobody answers: its directory.
    Stopped(PathBuf),
}

impl Place {
    /// The relay; `None` if the configuration has faults, which are written to `errors`.
    pub(in crate::cli) async fn relay(self, errors: &mut impl Write) -> anyhow::Result<Option<Relay>> {
        if let Some(directory) = self.data {
            return Ok(Some(Relay::Stopped(directory)));
        }
        if let Some(url) = self.url {
            let token =
                self.admin_token.context("--url needs a token: set CSPR_RELAY_ADMIN_TOKEN, or --admin-token")?;
            return Ok(Some(Relay::Running(Client::new(url, Secret::literal(token))?)));
        }
        let Some(contact) = contact(self.config, errors)? else { return Ok(None) };
        // What the configuration says of the token comes first: the variable may be meant for another relay.
        let token = contact.admin.token.or_else(|| self.admin_token.map(Secret::literal));
        let Some(token) = token else { return Ok(Some(Relay::Stopped(contact.store))) };
        let address = reachable(contact.admin.listen);
        let client = Client::new(format!("http://{address}/").parse().context("the address of the relay")?, token)?;
        if client.is_there().await {
            return Ok(Some(Relay::Running(client)));
        }
        if contact.store.exists() {
            writeln!(errors, "No relay answers at {address}: reading {} instead.", contact.store.display())?;
        }
        Ok(Some(Relay::Stopped(contact.store)))
    }

    /// The data directory; `None` if the configuration has faults, which are written to `errors`.
    pub(in crate::cli) fn directory(self, errors: &mut impl Write) -> io::Result<Option<PathBuf>> {
        if let Some(path) = self.data {
            return Ok(Some(path));
        }
        Ok(contact(self.config, errors)?.map(|contact| contact.store))
    }
}

/// Where the relay is, by its configuration.
fn contact(path: Option<PathBuf>, errors: &mut impl Write) -> io::Result<Option<Contact>> {
    match config::contact(&config::locate(path)) {
        Ok(contact) => Ok(Some(contact)),
        Err(faults) => {
            faults.0.iter().try_for_each(|fault| writeln!(errors, "{fault}\n"))?;
            writeln!(
                errors,
                "Where the relay is could not be learnt from there; --url names its address, --data its directory."
            )?;
            Ok(None)
        }
    }
}

/// From this machine one that listens everywhere is reached at home.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(address, listen.port())
}

impl Relay {
    /// The answer of the API, or the same from the directory; `None` if there is no such thing.
    pub(in crate::cli) async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &[&str],
        query: &impl Serialize,
        read: impl FnOnce(&std::path::Path) -> anyhow::Result<Option<T>> + Send + 'static,
    ) -> anyhow::Result<Option<T>> {
        match self {
            Self::Running(client) => client.get(path, query).await,
            Self::Stopped(directory) => {
                let directory = directory.clone();
                tokio::task::spawn_blocking(move || read(&directory)).await?
            }
        }
    }

    /// For what only a running relay knows.
    pub(in crate::cli) fn running(self) -> anyhow::Result<Client> {
        match self {
            Self::Running(client) => Ok(client),
            Self::Stopped(_) => anyhow::bail!(
                "this asks a running relay: start it, and give its configuration an admin.token (or name it with --url)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_listens_everywhere_is_reached_at_home() {
        for (listen, expected) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:1", "[::1]:1"), ("10.0.0.7:9464", "10.0.0.7:9464")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
