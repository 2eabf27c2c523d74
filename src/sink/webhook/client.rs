//! The HTTP client of one webhook: connections, TLS, and the files that TLS depends on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use reqwest::{Certificate, Client, Identity};
use tokio::time::Instant;

use crate::config::{TlsConfig, WebhookConfig};
use crate::sink::egress::Guard;

/// How often the TLS files are looked at; a change takes effect with the next new connection after that.
const FILES_CHECKED_EVERY: Duration = Duration::from_secs(5);

/// Below the 5 s after which common servers (Node, uvicorn) close an idle connection, so that few requests meet a
/// connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A host that does not take up a connection by then is not going to.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// A dead HTTP/2 connection is found by pings, since the end of a request does not end it.
const HTTP2_PING: Duration = Duration::from_secs(10);

/// Builds the client and builds it again when a TLS file has changed.
#[derive(Debug)]
pub(super) struct Clients {
    sink: String,
    config: WebhookConfig,
    concurrency: usize,
    guard: Guard,
    /// Empty: nothing can change.
    files: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    client: Client,
    /// What was there when the client was built, or when building it failed.
    stamps: Vec<Option<Stamp>>,
    checked_at: Instant,
}

/// Tells one content of a file from another.
type Stamp = (SystemTime, u64);

impl Clients {
    pub(super) fn new(sink: &str, config: &WebhookConfig, concurrency: usize, guard: Guard) -> anyhow::Result<Self> {
        if config.tls.dangerous_accept_any_certificate {
            tracing::warn!(sink, "certificates of this sink are not verified: anybody may read and forge its events");
        }
        let files = files(&config.tls);
        let stamps = stamps(&files);
        let client = build(config, concurrency, &guard)?;
        let state = Mutex::new(State { client, stamps, checked_at: Instant::now() });
        Ok(Self { sink: sink.to_owned(), config: config.clone(), concurrency, guard, files, state })
    }

    /// The client to use now. When TLS files have changed it is a new one; broken files leave the old one in place.
    pub(super) fn current(&self) -> Client {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.files.is_empty() && state.checked_at.elapsed() >= FILES_CHECKED_EVERY {
            state.checked_at = Instant::now();
            self.follow_files(&mut state);
        }
        state.client.clone()
    }

    fn follow_files(&self, state: &mut State) {
        let stamps = stamps(&self.files);
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        match build(&self.config, self.concurrency, &self.guard) {
            Ok(client) => {
                tracing::info!(sink = self.sink, "TLS files of this sink changed and were read again");
                state.client = client;
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    sink = self.sink,
                    error,
                    "TLS files of this sink changed but are broken: the old ones stay"
                );
            }
        }
    }
}

fn files(tls: &TlsConfig) -> Vec<PathBuf> {
    let client = tls.client_certificate.iter().flat_map(|own| [&own.certificate_file, &own.key_file]);
    tls.ca_file.iter().chain(client).cloned().collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}

/// Proxies of the environment are not used: through one the egress guard would see the proxy's address only.
fn build(config: &WebhookConfig, concurrency: usize, guard: &Guard) -> anyhow::Result<Client> {
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .dns_resolver(guard.clone())
        .tcp_nodelay(true)
        .connect_timeout(config.timeout.min(CONNECT_TIMEOUT_MAX))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(concurrency)
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_keep_alive_timeout(HTTP2_PING);
    let builder = if config.url.scheme() == "https" {
        with_tls(builder, &config.tls)?
    } else {
        // No certificate will be looked at, so none need to be on the machine.
        builder.tls_certs_only([])
    };
    builder.build().context("could not set up the HTTP client")
}

fn with_tls(builder: reqwest::ClientBuilder, tls: &TlsConfig) -> anyhow::Result<reqwest::ClientBuilder> {
    let mut builder = builder
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .tls_danger_accept_invalid_certs(tls.dangerous_accept_any_certificate);
    if let Some(file) = &tls.ca_file {
        let authorities = Certificate::from_pem_bundle(&read(file)?)
            .with_context(|| format!("{} does not hold certificates in PEM", file.display()))?;
        anyhow::ensure!(!authorities.is_empty(), "{} holds no certificate in PEM", file.display());
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some(own) = &tls.client_certificate {
        let mut pem = read(&own.key_file)?;
        pem.push(b'\n');
        pem.extend(read(&own.certificate_file)?);
        let names = || format!("{} and {}", own.certificate_file.display(), own.key_file.display());
        let identity = Identity::from_pem(&pem)
            .with_context(|| format!("{} are not a certificate and its key in PEM", names()))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("could not read {}", file.display()))
}
