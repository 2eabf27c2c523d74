//! Webhooks: one signed HTTP request for each attempt.
//!
//! - The body is the message in the form that the sink asked for; what is known about it stands in headers (see
//!   [`super::wire`]).
//! - That body is signed afresh at each attempt with every configured secret, as Standard Webhooks has it; secrets from
//!   files are read at that moment and never kept elsewhere.
//! - 2xx is success and nothing else; redirects are not followed and proxies of the environment are not used.
//! - The configured time-out bounds the whole attempt, from name resolution to the last byte that is read of the answer.
//! - Certificates are verified against the platform's roots and `ca_file`, with TLS 1.2 or later.

mod answer;
mod client;
mod follow;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Body, Method, Request, Url};
use tokio::time::Instant;

use self::answer::Judge;
use self::client::Clients;
use self::follow::Follow;
use super::egress::Guard;
use super::wire::{self, Encoder, Message};
use super::{Cause, Failure, Outcome, Sink};
use crate::clock::Clock;
use crate::config::{EgressConfig, HeaderText, Template, WebhookConfig};
use crate::event::Delivery;
use crate::signature::{self, SigningKey};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("cspr-relay/", env!("CARGO_PKG_VERSION")));

/// A webhook, ready to send. Building it opens no connection.
#[derive(Debug)]
pub(super) struct Webhook {
    encoder: Encoder,
    url: Url,
    timeout: Duration,
    reject_on: Vec<u16>,
    keys: Vec<Follow<SigningKey>>,
    /// The operator's own headers.
    headers: Vec<(HeaderName, OwnValue)>,
    clients: Clients,
    clock: Clock,
}

/// The value of one of the operator's own headers.
#[derive(Debug)]
enum OwnValue {
    Fixed(Follow<HeaderValue>),
    Template(Template),
}

impl Webhook {
    /// Fails if the URL holds an address that must not be dialled or a TLS file is missing or broken.
    pub(super) fn new(
        encoder: Encoder,
        config: &WebhookConfig,
        concurrency: usize,
        egress: &EgressConfig,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let guard = Guard::new(egress);
        if let Some(address) = literal_address(&config.url) {
            guard.check(address)?;
        }
        let headers = config.headers.iter().map(|(name, value)| {
            let name = HeaderName::try_from(name).with_context(|| format!("`{name}` is not a header name"))?;
            Ok((name, OwnValue::new(value)))
        });
        Ok(Self {
            url: config.url.clone(),
            timeout: config.timeout,
            reject_on: config.reject_on.clone(),
            keys: config.secrets.iter().cloned().map(Follow::new).collect(),
            headers: headers.collect::<anyhow::Result<_>>()?,
            clients: Clients::new(&encoder.sink, config, concurrency, guard)?,
            clock: clock.clone(),
            encoder,
        })
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let request = match self.request(delivery) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        let deadline = Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.clients.current().execute(request)).await {
            Ok(Ok(response)) => {
                let by = Judge { reject_on: &self.reject_on, now: self.clock.now(), deadline };
                answer::judge(response, by).await
            }
            Ok(Err(error)) => Outcome::Retry { failure: answer::unanswered(&error), after: None },
            Err(_) => retry(Cause::Timeout, format!("no answer within {:?}", self.timeout)),
        }
    }

    /// Without one, the outcome says whether the event or the sink's secrets and headers are to blame.
    fn request(&self, delivery: &Delivery) -> Result<Request, Outcome> {
        let message = self.encoder.encode(delivery).map_err(reject)?;
        let mut headers = HeaderMap::with_capacity(32);
        self.insert_own(&mut headers, delivery)?;
        self.insert_ours(&mut headers, delivery, &message).map_err(denied)?;
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(Body::from(message.body));
        Ok(request)
    }

    /// The operator's headers come first: what the relay itself says afterwards takes their place.
    fn insert_own(&self, headers: &mut HeaderMap, delivery: &Delivery) -> Result<(), Outcome> {
        for (name, value) in &self.headers {
            match value {
                OwnValue::Fixed(text) => {
                    let value = text.value(secret_header).map_err(|error| denied(format!("header {name}: {error}")))?;
                    headers.insert(name, value);
                }
                OwnValue::Template(template) => {
                    let value = wire::render_header(template, delivery).map_err(reject)?;
                    insert(headers, name.clone(), &value).map_err(denied)?;
                }
            }
        }
        Ok(())
    }

    fn insert_ours(&self, headers: &mut HeaderMap, delivery: &Delivery, message: &Message<'_>) -> Result<(), String> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(message.content_type));
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in &message.headers {
            insert(headers, HeaderName::from_static(name), value)?;
        }
        let (id, timestamp) = (wire::printed(&delivery.event.id), self.clock.now().unix_seconds());
        let keys = self.keys()?;
        if !keys.is_empty() {
            let signature = signature::sign(&keys, &id, timestamp, &message.body);
            insert(headers, WEBHOOK_SIGNATURE, &signature)?;
        }
        insert(headers, WEBHOOK_ID, &id)?;
        headers.insert(WEBHOOK_TIMESTAMP, timestamp.into());
        Ok(())
    }

    fn keys(&self) -> Result<Vec<SigningKey>, String> {
        let numbered = self.keys.iter().zip(1..);
        let keys = numbered.map(|(key, number)| {
            key.value(SigningKey::parse).map_err(|error| format!("not sent: secret {number} of this sink: {error}"))
        });
        keys.collect()
    }
}

impl OwnValue {
    fn new(text: &HeaderText) -> Self {
        match text {
            HeaderText::Fixed(secret) => Self::Fixed(Follow::new(secret.clone())),
            HeaderText::Template(template) => Self::Template(template.clone()),
        }
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.attempt(delivery))
    }
}

/// The address that the URL names itself, which no resolver will see.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn secret_header(text: &str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "the value has control characters")?;
    value.set_sensitive(true);
    Ok(value)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), String> {
    let value = HeaderValue::from_str(value).map_err(|_| format!("header {name}: the value has control characters"))?;
    headers.insert(name, value);
    Ok(())
}

fn reject(failure: Failure) -> Outcome {
    Outcome::Reject { failure }
}

fn denied(detail: String) -> Outcome {
    retry(Cause::Denied, detail)
}

fn retry(cause: Cause, detail: String) -> Outcome {
    Outcome::Retry { failure: Failure { cause, status: None, detail }, after: None }
}
