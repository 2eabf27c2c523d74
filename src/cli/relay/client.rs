//! A client of the API.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use reqwest::header::CONTENT_TYPE;
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

    /// What stands below `/api/v1`.
    pub(in crate::cli) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        let found = self.find(path, &()).await?;
        found.context("whoever answers there does not know of this: is it a relay of this version?")
    }

    /// The same with a query; `None` if there is no such thing.
    pub(in crate::cli) async fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
    ) -> anyhow::Result<Option<T>> {
        let answer = self.send(self.http.get(self.below(path, query)?)).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(answer).await.map(Some)
    }

    /// Has the relay do something.
    pub(in crate::cli) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = self.http.post(self.below(path, &())?).header(CONTENT_TYPE, "application/json");
        let answer = self.send(request.body(serde_json::to_vec(body)?)).await?;
        self.read(answer).await
    }

    /// An answer that may go on for ever.
    pub(in crate::cli) async fn stream(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<Response> {
        let answer = self.send(self.http.get(self.below(path, query)?)).await?;
        self.succeeded(answer).await
    }

    fn below(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<Url> {
        let mut address = self.address(&["api", "v1"].iter().chain(path).copied().collect::<Vec<_>>());
        let query = serde_json::to_value(query).context("putting the question into words")?;
        for (name, value) in query.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            address.query_pairs_mut().append_pair(name, &text);
        }
        Ok(address)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let request = request.bearer_auth(self.token.current().expose_secret());
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> anyhow::Result<T> {
        let body = self.whole(self.succeeded(answer).await?).await?;
        serde_json::from_slice(&body).context("the relay answered something else: is it of this version?")
    }

    async fn succeeded(&self, answer: Response) -> anyhow::Result<Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&self.whole(answer).await?) {
            Ok(problem) => bail!("{}", problem.detail),
            Err(_) => bail!("whoever listens at {} is no relay: it answered {status}", self.base),
        }
    }

    async fn whole(&self, mut answer: Response) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&part);
            ensure!(body.len() <= BYTES_MAX, "the answer of the relay is too long");
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = if error.is_timeout() { "in time" } else { "there" };
        anyhow!("no relay answers {why} at {}: is it running, and is that its admin.listen?", self.base)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_not_there_is_told() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", taken.local_addr().unwrap()).parse().unwrap();
        drop(taken);
        let client = Client::new(base, Secret::literal("x")).unwrap();
        assert!(!client.is_there().await);
        let error = client.get::<()>(&["jobs"]).await.unwrap_err().to_string();
        assert!(error.contains("no relay answers there at"), "{error}");
    }

    #[test]
    fn what_is_asked_for_cannot_leave_its_place_in_the_address() {
        let client = Client::new("http://localhost:9464".parse().unwrap(), Secret::literal("x")).unwrap();
        let query = serde_json::json!({ "sink": "a&b=c", "limit": 5, "route": null });
        let address = client.below(&["tokens", "../x?y", "events"], &query).unwrap();
        assert_eq!(address.as_str(), "http://localhost:9464/api/v1/tokens/..%2Fx%3Fy/events?limit=5&sink=a%26b%3Dc");
    }
}
