//! Asking a running relay: where it is and its token come from the configuration, so that a command works wherever the
//! relay's own configuration is, in a container without a shell too.

pub(super) mod work;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::{Client, RequestBuilder, Url};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::Problem;
use crate::config::{self, AdminConfig};

/// More than the relay takes for any answer.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which relay.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Whom {
    /// The relay's configuration, for its admin.listen and admin.token [default: `$CSPR_RELAY_CONFIG`, or else
    /// `./cspr-relay.yaml`]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where its admin side is, if not at admin.listen, such as `http://localhost:9464`
    #[arg(long, global = true, value_name = "URL")]
    url: Option<Url>,
}

/// A relay that can be asked.
pub(super) struct Relay {
    base: Url,
    token: String,
    client: Client,
}

impl Whom {
    pub(super) fn new(config: Option<PathBuf>, url: Option<Url>) -> Self {
        Self { config, url }
    }

    /// `None` if the configuration has faults, which are written to `errors`.
    pub(super) fn relay(self, errors: &mut impl Write) -> anyhow::Result<Option<Relay>> {
        match config::load(&config::locate(self.config)) {
            Ok(loaded) => Relay::new(&loaded.config.admin, self.url).map(Some),
            Err(faults) => {
                faults.0.iter().try_for_each(|fault| writeln!(errors, "{fault}\n"))?;
                writeln!(errors, "Where the relay is could not be learnt from there.")?;
                Ok(None)
            }
        }
    }
}

impl Relay {
    fn new(admin: &AdminConfig, url: Option<Url>) -> anyhow::Result<Self> {
        let Some(token) = &admin.token else {
            bail!("the configuration has no admin.token, so the relay answers nobody: set one and restart the relay");
        };
        let base = match url {
            Some(url) => url,
            None => at(admin.listen)?,
        };
        let client = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).no_proxy().build()?;
        Ok(Self { base, token: token.current().expose_secret().to_owned(), client })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(self.client.get(self.address(path)?)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self.client.post(self.address(path)?).header("content-type", "application/json");
        self.ask(request.body(serde_json::to_vec(body)?)).await
    }

    fn address(&self, path: &str) -> anyhow::Result<Url> {
        self.base.join(path).with_context(|| format!("{} is no address of a relay", self.base))
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let answer = request.bearer_auth(&self.token).send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).context("the relay answered something else: is it of this version?");
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(anyhow!("{}", problem.detail)),
            Err(_) => Err(anyhow!("whoever listens at {} is no relay: it answered {status}", self.base)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = if error.is_timeout() { "in time" } else { "there" };
        anyhow!("no relay answers {why} at {}: is it running, and is that its admin.listen?", self.base)
    }
}

/// Whoever listens everywhere listens here.
fn at(listen: SocketAddr) -> anyhow::Result<Url> {
    if listen.port() == 0 {
        bail!("admin.listen has port 0, which is another one at each start: name the address with --url");
    }
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    Ok(Url::parse(&format!("http://{}", SocketAddr::new(host, listen.port())))?)
}

/// A name as a part of a path.
pub(super) fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

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

    #[tokio::test]
    async fn whoever_is_not_there_or_no_relay_is_told_apart() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        drop(taken);
        let admin = AdminConfig { listen, token: Some(Secret::literal("x")) };
        let error = Relay::new(&admin, None).unwrap().get::<()>("/").await.unwrap_err().to_string();
        assert!(error.contains("no relay answers there at"), "{error}");
        let error = Relay::new(&AdminConfig { token: None, ..admin }, None).err().unwrap().to_string();
        assert!(error.contains("no admin.token"), "{error}");
    }
}
