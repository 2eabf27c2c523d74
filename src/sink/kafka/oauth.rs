//! Tokens for OAUTHBEARER, by the client credentials grant of OAuth 2 (RFC 6749, section 4.4).
//!
//! A token is fetched ahead of its end by the deliveries that need it, one at a time, so that librdkafka, which asks on
//! the thread that also brings confirmations, finds one without waiting.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use data_encoding::BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::client::OAuthToken;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::OauthConfig;

const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure nobody asks again for this long.
const PAUSE: Duration = Duration::from_secs(5);
/// Servers may leave the life of a token out.
const LIFE_UNSAID: Duration = Duration::from_secs(300);
/// A token is renewed after this part of its life; librdkafka asks at four fifths.
const RENEWED_AFTER: f64 = 0.6;
const ANSWER_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Tokens {
    config: OauthConfig,
    http: Client,
    clock: Clock,
    state: Mutex<State>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The last failure, until it may be tried again.
    failure: Option<(String, Instant)>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    renew_at: Instant,
    ends_at: Instant,
    ends_ms: u64,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// Section 5.2 of the RFC; the code is one of a few words.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Tokens {
    pub(super) fn new(config: &OauthConfig, clock: &Clock) -> anyhow::Result<Self> {
        let mut http = Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_version_min(reqwest::tls::Version::TLS_1_2);
        if let Some(file) = &config.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} does not hold certificates in PEM", file.display()))?;
            http = http.tls_certs_merge(authorities);
        }
        let http = http.build().context("could not set up the HTTP client for tokens")?;
        let (state, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { config: config.clone(), http, clock: clock.clone(), state, fetching })
    }

    /// Sees to it that there is a token. Of many callers one fetches; while an older token is good the others go on.
    pub(super) async fn keep_fresh(&self) -> Result<(), String> {
        let now = Instant::now();
        match self.token(now) {
            Some(token) if now < token.renew_at || self.failure(now).is_some() => return Ok(()),
            Some(_) => {
                // The older one serves until it ends; the failure was logged.
                if let Ok(_only_one) = self.fetching.try_lock() {
                    let _renewed = self.fetch().await;
                }
                return Ok(());
            }
            None => {}
        }
        let _only_one = self.fetching.lock().await;
        let now = Instant::now();
        match (self.token(now), self.failure(now)) {
            (Some(_), _) => Ok(()),
            (None, Some(failure)) => Err(failure),
            (None, None) => self.fetch().await,
        }
    }

    /// The token for librdkafka.
    pub(super) async fn for_a_client(&self) -> Result<OAuthToken, String> {
        self.keep_fresh().await?;
        let token = self.token(Instant::now()).ok_or("the token has just ended")?;
        Ok(OAuthToken {
            token: token.text.expose_secret().to_owned(),
            principal_name: self.config.client_id.clone(),
            lifetime_ms: i64::try_from(token.ends_ms).unwrap_or(i64::MAX),
        })
    }

    fn token(&self, now: Instant) -> Option<Token> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.token.clone().filter(|token| now < token.ends_at)
    }

    fn failure(&self, now: Instant) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failure.as_ref().filter(|(_, until)| now < *until).map(|(failure, _)| failure.clone())
    }

    async fn fetch(&self) -> Result<(), String> {
        let fetched = self.ask().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(token) => {
                *state = State { token: Some(token), failure: None };
                Ok(())
            }
            Err(reason) => {
                let failure = format!("no token from {}: {reason}", self.config.token_url);
                tracing::warn!(detail = failure, "a token for Kafka could not be had");
                state.failure = Some((failure.clone(), Instant::now() + PAUSE));
                Err(failure)
            }
        }
    }

    /// Bodies are not told: a server may echo what it was sent.
    async fn ask(&self) -> Result<Token, String> {
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.config.scope {
            form += &format!("&scope={}", encoded(scope));
        }
        let request = self
            .http
            .post(self.config.token_url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, self.authorization()?)
            .body(form);
        let began = (Instant::now(), self.clock.now());
        let response =
            request.send().await.map_err(|error| format!("{:#}", anyhow::Error::from(error.without_url())))?;
        let status = response.status();
        let body = body(response).await?;
        if !status.is_success() {
            let code =
                serde_json::from_slice::<Refusal>(&body).ok().map(|refusal| refusal.error).filter(|it| is_word(it));
            return Err(format!(
                "HTTP {}{}",
                status.as_u16(),
                code.map_or_else(String::new, |code| format!(": {code}"))
            ));
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| "the answer has no `access_token`".to_owned())?;
        let life = answer.expires_in.map_or(LIFE_UNSAID, Duration::from_secs);
        Ok(Token {
            text: answer.access_token.into(),
            renew_at: began.0 + life.mul_f64(RENEWED_AFTER),
            ends_at: began.0 + life,
            ends_ms: began.1.0.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    fn authorization(&self) -> Result<HeaderValue, String> {
        let secret = self.config.client_secret.current();
        let pair = format!("{}:{}", encoded(&self.config.client_id), encoded(secret.expose_secret()));
        let text = format!("Basic {}", BASE64.encode(pair.as_bytes()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| "the client id cannot be sent".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too long for a token".to_owned());
        }
    }
    Ok(body)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An error code of the RFC, and not some other text.
fn is_word(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
