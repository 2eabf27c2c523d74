//! Signed HTTP requests, by Standard Webhooks.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request};
use secrecy::{ExposeSecret, SecretString};

use super::egress::{Forbidden, Guard, Unresolved};
use super::http::{Http, Recipe};
use super::{Cause, Failure, Outcome, Sink, answer, wire};
use crate::clock::Clock;
use crate::config::{EgressConfig, Secret, SinkConfig, SinkName, WebhookConfig};
use crate::event::Delivery;
use crate::signature::{SigningKey, sign};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) struct Webhook {
    name: SinkName,
    config: WebhookConfig,
    http: Http,
    clock: Clock,
    keys: Mutex<Keys>,
}

/// Parsed secrets, as long as their texts stay the same.
#[derive(Default)]
struct Keys {
    texts: Vec<SecretString>,
    parsed: Arc<[SigningKey]>,
}

impl Webhook {
    pub(super) fn new(
        name: &SinkName,
        sink: &SinkConfig,
        config: &WebhookConfig,
        egress: &EgressConfig,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let http = Http::new(Recipe {
            sink: name.clone(),
            url: config.url.clone(),
            timeout: config.timeout,
            connections: sink.concurrency,
            tls: config.tls.clone(),
            guard: Guard::new(egress),
        })?;
        Ok(Self { name: name.clone(), config: config.clone(), http, clock: clock.clone(), keys: Mutex::default() })
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let headers = match self.headers(delivery) {
            Ok(headers) => headers,
            Err(detail) => return retry(Cause::Invalid, detail),
        };
        let mut request = Request::new(Method::POST, self.config.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(delivery.event.body.clone().into());
        let exchange = async {
            match self.http.client().execute(request).await {
                Ok(response) => answer::judge(response, &self.config.reject_on, self.clock.now()).await,
                Err(error) => failed(error),
            }
        };
        let timeout = self.config.timeout;
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| retry(Cause::Timeout, format!("no complete answer within {} ms", timeout.as_millis())))
    }

    /// The error says what is wrong with a secret or a header, without its value.
    fn headers(&self, delivery: &Delivery) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::with_capacity(32);
        for (name, value) in &self.config.headers {
            let header =
                HeaderName::try_from(name.as_str()).map_err(|_| format!("the header name {name} is illegal"))?;
            let value = HeaderValue::try_from(value.current().expose_secret());
            let mut value = value.map_err(|_| format!("the value of header {name} is illegal"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        headers.insert(CONTENT_TYPE, JSON);
        let event = &delivery.event;
        let (id, seconds) = (event.id.to_string(), self.clock.now().unix_seconds());
        let keys = self.keys()?;
        let mut put = |name: HeaderName, text: &str| {
            // Our own values are encoded to visible ASCII, so none is left out here.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        if !keys.is_empty() {
            put(WEBHOOK_SIGNATURE, &sign(&keys, &id, seconds, &event.body));
        }
        put(WEBHOOK_ID, &id);
        put(WEBHOOK_TIMESTAMP, &seconds.to_string());
        wire::each_fact(delivery, &self.name.0, |name, value| {
            if let Some(value) = wire::encoded(&value) {
                put(HeaderName::from_static(name), &value);
            }
        });
        Ok(headers)
    }

    fn keys(&self) -> Result<Arc<[SigningKey]>, String> {
        let texts: Vec<SecretString> = self.config.secrets.iter().map(Secret::current).collect();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = texts.len() == keys.texts.len()
            && texts.iter().zip(&keys.texts).all(|(new, old)| new.expose_secret() == old.expose_secret());
        if !is_same {
            let parsed: Result<Arc<[_]>, _> =
                texts.iter().map(|text| SigningKey::parse(text.expose_secret())).collect();
            keys.parsed = parsed.map_err(|error| format!("a secret of this sink cannot sign: {error}"))?;
            keys.texts = texts;
        }
        Ok(Arc::clone(&keys.parsed))
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.attempt(delivery))
    }
}

fn retry(cause: Cause, detail: String) -> Outcome {
    Outcome::Retry { failure: Failure { cause, status: None, detail }, after: None }
}

/// The failure behind a request that got no answer, without its address: a query may hold secrets.
fn failed(error: reqwest::Error) -> Outcome {
    let error = error.without_url();
    let mut cause = if error.is_timeout() { Cause::Timeout } else { Cause::Connect };
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(inner) = next {
        cause = known_cause(inner).unwrap_or(cause);
        let text = inner.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        next = inner.source();
    }
    let detail = if texts.is_empty() { error.to_string() } else { texts.join(": ") };
    retry(cause, detail)
}

fn known_cause(error: &(dyn std::error::Error + 'static)) -> Option<Cause> {
    if error.is::<Forbidden>() {
        return Some(Cause::Forbidden);
    }
    if error.is::<Unresolved>() {
        return Some(Cause::Dns);
    }
    is_tls(error).then_some(Cause::Tls)
}

/// A TLS failure comes wrapped in I/O errors, one in the other, whose `source` skips what they wrap.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}

#[cfg(test)]
pub(super) mod tests;
