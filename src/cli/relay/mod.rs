//! Asking a relay: over its API while it runs, or its data directory while it does not. Either way the answer is the
//! same, and is printed by the same code.

mod client;
pub(in crate::cli) mod work;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(in crate::cli) use client::Client;

use crate::config::{self, Contact, Secret};

/// Which relay is meant.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Place {
    /// The relay's configuration, for its address and token [default: `$CSPR_RELAY_CONFIG`, or else
    /// `./cspr-relay.yaml`]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The data directory of a relay, to be read as it is; for one that is stopped, or has no admin.token
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// Where its admin side is, if not at admin.listen, such as `http://localhost:9464`
    #[arg(long, global = true, value_name = "URL", env = "CSPR_RELAY_URL")]
    url: Option<Url>,
    /// Its admin.token, if not that of the configuration; an environment variable is safer
    #[arg(long, global = true, value_name = "TOKEN", env = "CSPR_RELAY_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
}

/// A relay that can be asked.
pub(in crate::cli) enum Relay {
    Running(Client),
    /// Nobody answers: its directory.
    Stopped(PathBuf),
}

/// What the command line and the configuration say of where a relay is.
struct Asked {
    base: anyhow::Result<Url>,
    token: Option<Secret>,
    /// Its directory, if it is the relay of the configuration.
    store: Option<PathBuf>,
}

impl Place {
    /// The relay; `None` if the configuration has faults, which are written to `errors`.
    pub(in crate::cli) async fn relay(self, errors: &mut impl Write) -> anyhow::Result<Option<Relay>> {
        if let Some(directory) = self.data {
            return Ok(Some(Relay::Stopped(directory)));
        }
        let Some(Asked { base, token, store }) = self.admin(errors)? else { return Ok(None) };
        let Some(store) = store else {
            let token = token.context("--url needs a token: set CSPR_RELAY_ADMIN_TOKEN, or --admin-token")?;
            return Ok(Some(Relay::Running(Client::new(base?, token)?)));
        };
        let (Some(token), Ok(base)) = (token, base) else { return Ok(Some(Relay::Stopped(store))) };
        let client = Client::new(base, token)?;
        if client.is_there().await {
            return Ok(Some(Relay::Running(client)));
        }
        if store.exists() {
            writeln!(errors, "No relay answers at admin.listen: reading {} instead.", store.display())?;
        }
        Ok(Some(Relay::Stopped(store)))
    }

    /// The same for what only a running relay can do or tell.
    pub(in crate::cli) fn running(self, errors: &mut impl Write) -> anyhow::Result<Option<Client>> {
        if self.data.is_some() {
            bail!("only a running relay can do that, not a directory: leave --data away");
        }
        let Some(asked) = self.admin(errors)? else { return Ok(None) };
        let token = asked.token.context(
            "the configuration has no admin.token, so the relay answers nobody: set one and restart the relay",
        )?;
        Client::new(asked.base?, token).map(Some)
    }

    /// Where the relay is to be asked, and with what; `None` if the configuration has faults, which are told.
    fn admin(self, errors: &mut impl Write) -> anyhow::Result<Option<Asked>> {
        let given = self.admin_token.map(Secret::literal);
        if let Some(url) = self.url {
            // Then the configuration is asked for nothing but the token, and only if there is no other.
            let token = match given {
                Some(token) => Some(token),
                None => contact(self.config, errors)?.and_then(|contact| contact.admin.token),
            };
            return Ok(Some(Asked { base: Ok(url), token, store: None }));
        }
        let Some(Contact { admin, store }) = contact(self.config, errors)? else { return Ok(None) };
        // The configuration's own token comes first: the variable may be meant for another relay.
        Ok(Some(Asked { base: at(admin.listen), token: admin.token.or(given), store: Some(store) }))
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

/// Whoever listens everywhere listens here.
pub(super) fn at(listen: SocketAddr) -> anyhow::Result<Url> {
    if listen.port() == 0 {
        bail!("admin.listen has port 0, which is another one at each start: name the address with --url");
    }
    let host = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    Ok(Url::parse(&format!("http://{}", SocketAddr::new(host, listen.port())))?)
}

impl Relay {
    /// The answer of the API, or the same from the directory; `None` if there is no such thing.
    pub(in crate::cli) async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &[&str],
        query: &impl Serialize,
        read: impl FnOnce(&Path) -> anyhow::Result<Option<T>> + Send + 'static,
    ) -> anyhow::Result<Option<T>> {
        match self {
            Self::Running(client) => client.find(path, query).await,
            Self::Stopped(directory) => {
                let directory = directory.clone();
                let failed = format!("reading the relay's directory {}", directory.display());
                tokio::task::spawn_blocking(move || read(&directory)).await?.context(failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_listens_everywhere_is_asked_here() {
        let cases = [
            ("127.0.0.1:9464", "http://127.0.0.1:9464/"),
            ("0.0.0.0:80", "http://127.0.0.1/"),
            ("[::]:9464", "http://[::1]:9464/"),
            ("10.1.2.3:1", "http://10.1.2.3:1/"),
        ];
        for (listen, expected) in cases {
            assert_eq!(at(listen.parse().unwrap()).unwrap().as_str(), expected);
        }
        assert!(at("127.0.0.1:0".parse().unwrap()).unwrap_err().to_string().contains("--url"));
    }

    #[test]
    fn what_only_a_running_relay_can_do_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("relay.yaml");
        // Faults elsewhere are no matter.
        std::fs::write(&config, "store: { path: x }\nroutes: {}\nsinks: nonsense\n").unwrap();
        let nobody = Place { config: Some(config.clone()), data: None, url: None, admin_token: None };
        let refused = |place: Place| place.running(&mut Vec::new()).err().unwrap().to_string();
        assert!(refused(nobody.clone()).contains("no admin.token"));
        assert!(refused(Place { data: Some("x".into()), ..nobody.clone() }).contains("leave --data away"));
        std::fs::write(&config, "admin: { listen: here }\n").unwrap();
        let mut errors = Vec::new();
        assert!(nobody.running(&mut errors).unwrap().is_none());
        assert!(String::from_utf8(errors).unwrap().contains("admin.listen"));
    }
}
