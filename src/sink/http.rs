//! The HTTP client of one sink: its connections, its TLS, its files.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use reqwest::{Certificate, Client, Identity, Url, redirect, tls};
use tokio::time::Instant;

use super::egress::Guard;
use crate::config::{SinkName, TlsConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an HTTP/2 connection is asked whether it lives, and how long the answer may take. All requests share
/// it, and one that times out does not end it, so a dead one would fail them all until the kernel gives up.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How often certificate files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(5);

/// What a client is made from.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) sink: SinkName,
    pub(super) url: Url,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
    pub(super) tls: TlsConfig,
    pub(super) guard: Guard,
}

/// A client that follows its certificate files.
#[derive(Debug)]
pub(super) struct Http {
    recipe: Recipe,
    present: Mutex<Present>,
}

#[derive(Debug)]
struct Present {
    client: Client,
    files: Vec<Option<SystemTime>>,
    looked_at: Instant,
}

impl Http {
    /// Fails if an address is forbidden or a certificate file is unusable. Makes no connection.
    pub(super) fn new(recipe: Recipe) -> anyhow::Result<Self> {
        if let Some(address) = literal_address(&recipe.url) {
            recipe.guard.check(address).context("the host of url")?;
        }
        if recipe.tls.dangerous_accept_any_certificate {
            tracing::warn!(sink = %recipe.sink, "dangerous_accept_any_certificate is on: anybody can pose as this sink");
        }
        // Before they are read, so that a change in between is seen at the next look.
        let files = recipe.file_times();
        let present = Present { client: recipe.client()?, files, looked_at: Instant::now() };
        Ok(Self { recipe, present: Mutex::new(present) })
    }

    /// The present client; made anew if a certificate file has changed. New files that are broken leave the old
    /// client in place.
    pub(super) fn client(&self) -> Client {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.files.is_empty() || present.looked_at.elapsed() < FILES_EVERY {
            return present.client.clone();
        }
        present.looked_at = Instant::now();
        let files = self.recipe.file_times();
        if files != present.files {
            present.files = files;
            match self.recipe.client() {
                Ok(client) => {
                    tracing::info!(sink = %self.recipe.sink, "certificate files have changed: new connections use them");
                    present.client = client;
                }
                Err(error) => tracing::warn!(
                    sink = %self.recipe.sink,
                    error = format!("{error:#}"),
                    "certificate files have changed but cannot be used: the old ones stay in force"
                ),
            }
        }
        present.client.clone()
    }
}

impl Recipe {
    fn client(&self) -> anyhow::Result<Client> {
        let mut builder = Client::builder()
            .user_agent(concat!("cspr-relay/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            // The environment of the process decides nothing: a proxy would see what the egress guard must not.
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(self.connections)
            .http2_keep_alive_interval(PING_EVERY.min(self.timeout))
            .http2_keep_alive_timeout(PING_EVERY.min(self.timeout))
            .http2_keep_alive_while_idle(true)
            .tls_version_min(tls::Version::TLS_1_2)
            .dns_resolver(self.guard.clone());
        if let Some(path) = &self.tls.ca_file {
            let pem = read(path)?;
            let authorities =
                Certificate::from_pem_bundle(&pem).with_context(|| format!("reading {}", path.display()))?;
            anyhow::ensure!(!authorities.is_empty(), "{} holds no certificate", path.display());
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(files) = &self.tls.client_certificate {
            let mut pem = read(&files.certificate_file)?;
            pem.push(b'\n');
            pem.extend(read(&files.key_file)?);
            let identity = Identity::from_pem(&pem).with_context(|| {
                format!("using {} with {}", files.certificate_file.display(), files.key_file.display())
            })?;
            builder = builder.identity(identity);
        }
        if self.tls.dangerous_accept_any_certificate {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        builder.build().context("building the HTTP client")
    }

    /// When each certificate file was last changed; empty if there are none.
    fn file_times(&self) -> Vec<Option<SystemTime>> {
        let certificate = self.tls.client_certificate.as_ref();
        let paths = self.tls.ca_file.iter().chain(certificate.map(|files| &files.certificate_file));
        let paths = paths.chain(certificate.map(|files| &files.key_file));
        paths.map(|path| path.metadata().and_then(|meta| meta.modified()).ok()).collect()
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn literal_address(url: &Url) -> Option<std::net::IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
