//! A client of the API.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::Problem;
use crate::config::Secret;

/// How long an answer may take; a stream of events may go on after its head.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take until somebody takes the connection: it is most likely this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A longer answer is none of a relay.
const BYTES_MAX: usize = 64 * 1024 * 1024;

pub(in crate::cli) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
}

impl Client {
    pub(super) fn new(base: Url, token: Secret) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(TIMEOUT).no_proxy();
        Ok(Self { http: http.build().context("preparing to ask the relay")?, base, token })
    }

    /// Whether anybody answers there.
    pub(super) async fn is_there(&self) -> bool {
        let asked = self.http.get(self.address(&["healthz", "live"])).timeout(CONNECT_TIMEOUT).send().await;
        asked.is_ok()
    }

    /// What stands below `/api/v1`; `None` if there is no such thing.
    pub(in crate::cli) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
    ) -> anyhow::Result<Option<T>> {
        let answer = self.send(self.request(path, query)?).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = whole(succeeded(answer).await?).await?;
        serde_json::from_slice(&body).context("the answer of the relay is not what this version understands").map(Some)
    }

    /// An answer that may go on for ever.
    pub(in crate::cli) async fn stream(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<Response> {
        let request = self.request(path, query)?.header(ACCEPT, "application/jsonl");
        succeeded(self.send(request).await?).await
    }

    fn request(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<RequestBuilder> {
        let mut address = self.address(&["api", "v1"].iter().chain(path).copied().collect::<Vec<_>>());
        let query = serde_json::to_value(query).context("putting the question into words")?;
        for (name, value) in query.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            address.query_pairs_mut().append_pair(name, &text);
        }
        Ok(self.http.get(address).bearer_auth(self.token.current().expose_secret()))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let failed = || format!("asking the relay at {}", self.base);
        request.send().await.map_err(reqwest::Error::without_url).with_context(failed)
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut address = self.base.clone();
        // Only addresses like `mailto:` have no path to extend; what is asked for then is refused.
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        address
    }
}

async fn succeeded(answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = whole(answer).await?;
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => bail!("the relay refuses: {}", problem.detail),
        Err(_) => bail!("what answers there is no relay: {status}"),
    }
}

async fn whole(mut answer: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.context("reading the answer of the relay")? {
        body.extend_from_slice(&part);
        anyhow::ensure!(body.len() <= BYTES_MAX, "the answer of the relay is too long");
    }
    Ok(body)
}
