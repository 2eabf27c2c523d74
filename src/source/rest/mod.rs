//! CSPR.cloud's REST API: one client for whatever the stream alone cannot tell.
//!
//! What it promises: never more requests than the budget allows (`crate::budget`), whoever asks; every request ends within
//! a time limit; a server that is busy, slow or down is asked again a few times, as late as it says; nothing that it
//! returns makes its way into a message but numbers and the documented words, since a gateway was seen that echoes the
//! key. What it does not do: keep on disk how much was asked; it tells that as it changes ([`Rest::spent`]).

mod answer;
mod listing;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;
mod turns;
mod walk;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::sleep;

pub(crate) use answer::RestError;
pub(crate) use listing::Listing;
pub(crate) use tokens::{Action, ActionsOf};
pub(crate) use turns::Account;
pub(crate) use walk::Walked;

use super::retry::Trouble;
use crate::backoff::Backoff;
use crate::budget::{Purpose, Spent};
use crate::config::{Secret, SourceConfig};
use turns::Turns;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Who has to wait longer for an answer is told so.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// An answer beyond this is no page of 250 rows.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How often a request is made before its failure is the caller's.
const TRIES_MAX: u32 = 5;
/// A server that wants to be left alone for longer than this gets no further try.
const WAIT_MAX: Duration = Duration::from_secs(120);
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(20) };
/// The most that the service gives in one page.
const PAGE_SIZE: usize = 250;

/// How many tokens of a package somebody owns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Ownership {
    pub(crate) contract_package_hash: String,
    pub(crate) owner_hash: String,
    /// 0: an account; 1: a contract.
    pub(crate) owner_type: Option<u8>,
    pub(crate) tokens_number: u64,
}

/// Whose ownerships are asked for; hashes without prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownerships {
    Package(String),
    Owner(String),
    /// The one row of an owner in a package, if there is one.
    OwnerInPackage {
        owner: String,
        package: String,
    },
}

/// The client. It keeps connections open, and its clones share one budget, so one serves the whole process.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    base: Url,
    api_key: Secret,
    http: Client,
    turns: Arc<Turns>,
    purpose: Purpose,
    backoff: Backoff,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    data: Vec<T>,
    // Some endpoints are documented without the counters.
    item_count: Option<u64>,
    page_count: Option<u64>,
}

impl<T> Page<T> {
    /// Whether none comes after it, `page` being its number. Beyond the last page there is nothing, whatever the
    /// counter says.
    fn is_last(&self, page: u64) -> bool {
        self.data.is_empty() || self.page_count.map_or(self.data.len() < PAGE_SIZE, |pages| page >= pages)
    }
}

impl Rest {
    /// Everything that can be wrong in the configuration is found here; nothing is asked yet. It asks with the least
    /// urgency: see [`Self::at`].
    pub(crate) fn new(source: &SourceConfig, account: Account) -> anyhow::Result<Self> {
        let mut http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_version_min(reqwest::tls::Version::TLS_1_2);
        if let Some(file) = &source.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} does not hold certificates in PEM", file.display()))?;
            http = http.tls_certs_merge(authorities);
        }
        Ok(Self {
            base: source.rest.url.clone(),
            api_key: source.api_key.clone(),
            http: http.build().context("could not set up the HTTP client for CSPR.cloud")?,
            turns: Arc::new(Turns::new(&source.rest, account)),
            purpose: Purpose::Backfill,
            backoff: BACKOFF,
        })
    }

    /// The same client, for another purpose.
    pub(crate) fn at(&self, purpose: Purpose) -> Self {
        Self { purpose, ..self.clone() }
    }

    /// What was asked in the last day, for the next run, as it changes.
    pub(crate) fn spent(&self) -> watch::Receiver<Spent> {
        self.turns.spent()
    }

    /// One page of rows, the greatest numbers of tokens first; pages count from 1.
    async fn ownership_page(&self, whose: &Ownerships, page: u64) -> Result<Page<Ownership>, RestError> {
        let (kind, hash, filter) = match whose {
            Ownerships::Package(package) => ("contract-packages", package, None),
            Ownerships::Owner(owner) => ("accounts", owner, None),
            Ownerships::OwnerInPackage { owner, package } => ("accounts", owner, Some(package)),
        };
        let mut query = vec![("page", page.to_string()), ("page_size", PAGE_SIZE.to_string())];
        query.extend(filter.map(|package| ("contract_package_hash", package.clone())));
        self.fetch(&self.address(&[kind, hash, "nft-token-ownership"], &query)?).await
    }

    fn address(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, RestError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(RestError::Unusable("source.rest.url takes no path".to_owned())),
        };
        url.query_pairs_mut().extend_pairs(query);
        Ok(url)
    }

    /// Asks until there is an answer, at most [`TRIES_MAX`] times.
    async fn fetch<T: DeserializeOwned>(&self, url: &Url) -> Result<T, RestError> {
        let mut tries = 0;
        loop {
            self.turns.turn(self.purpose).await;
            tries += 1;
            let failed = match self.ask_noting(url).await {
                Ok(found) => {
                    self.turns.note_answer();
                    return Ok(found);
                }
                Err(error) => error,
            };
            self.turns.note_failure(&failed);
            let RestError::Passing(trouble) = failed else { return Err(failed) };
            let wait = self.wait_after(&trouble, tries);
            if let Trouble::Throttled { .. } = trouble {
                self.turns.hold(wait);
            }
            if tries == TRIES_MAX || wait > WAIT_MAX {
                return Err(RestError::Passing(trouble));
            }
            tracing::debug!(?trouble, tries, wait_ms = wait.as_millis(), "CSPR.cloud's REST API is asked again later");
            sleep(wait).await;
        }
    }

    fn wait_after(&self, trouble: &Trouble, tries: u32) -> Duration {
        match trouble {
            Trouble::Throttled { retry_after: Some(wait), .. } => *wait,
            _ => self.backoff.delay(tries, fastrand::f64()),
        }
    }

    /// As [`Self::ask`]; a wait for the answer shows before it is over.
    async fn ask_noting<T: DeserializeOwned>(&self, url: &Url) -> Result<T, RestError> {
        let mut asking = pin!(self.ask(url));
        tokio::select! {
            answered = &mut asking => return answered,
            () = sleep(SLOW_AFTER) => self.turns.note_slow(SLOW_AFTER),
        }
        asking.await
    }

    async fn ask<T: DeserializeOwned>(&self, url: &Url) -> Result<T, RestError> {
        let headers = self.headers().map_err(|error| RestError::Unusable(error.to_string()))?;
        let response = self.http.get(url.clone()).headers(headers).send().await.map_err(answer::transport)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body(response).await?;
        match status {
            StatusCode::OK => answer::parsed(&body),
            _ => Err(answer::refused(status, &headers, &body)),
        }
    }

    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut key = HeaderValue::from_str(self.api_key.current().expose_secret())
            .map_err(|_| anyhow!("the API key has characters that no HTTP header can carry: check source.api_key"))?;
        key.set_sensitive(true);
        let agent = HeaderValue::from_static(concat!("cspr-relay/", env!("CARGO_PKG_VERSION")));
        let headers =
            [(AUTHORIZATION, key), (USER_AGENT, agent), (ACCEPT, HeaderValue::from_static("application/json"))];
        Ok(headers.into_iter().collect())
    }
}

/// The whole body, unless it is too long to be a page.
async fn body(mut response: Response) -> Result<Vec<u8>, RestError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(answer::transport)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(RestError::Unusable(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
