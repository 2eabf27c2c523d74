//! What librdkafka tells beside the fate of records: errors of connections, its log, and that it needs a token.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::oauth::Tokens;
use crate::config::KafkaConnection;

/// The same complaint is logged this often at most.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// A shorter property may be a word of any message.
const SECRET_BYTES_MIN: usize = 4;

/// The callbacks of one producer; they run on its own thread.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) reports: Arc<Reports>,
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) runtime: Handle,
}

/// Whose client it is, as logs say it: the sink's, or that of a connection that several share.
pub(super) struct Label {
    pub(super) sink: Option<Box<str>>,
    pub(super) connection: Option<String>,
    pub(super) brokers: String,
}

/// What a producer complained of.
pub(super) struct Reports {
    label: Arc<Label>,
    secrets: Vec<SecretString>,
    last: Mutex<Option<Trouble>>,
    /// Since a record was confirmed; at the start nothing was.
    is_troubled: AtomicBool,
    /// A complaint was logged since then, or nothing yet.
    is_untold: AtomicBool,
    logged: Mutex<Option<(RDKafkaErrorCode, Instant)>>,
}

#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) at: Instant,
    pub(super) code: RDKafkaErrorCode,
    pub(super) reason: String,
}

impl Trouble {
    /// Whether it explains by itself why nothing was confirmed.
    pub(super) fn is_definite(&self) -> bool {
        use RDKafkaErrorCode::{Authentication, Resolve, SSL, SaslAuthenticationFailed};
        matches!(self.code, Authentication | SaslAuthenticationFailed | SSL | Resolve)
    }
}

impl Reports {
    pub(super) fn new(connection: &KafkaConnection, label: Arc<Label>) -> Self {
        let secrets = connection.secrets().filter(|secret| secret.expose_secret().len() >= SECRET_BYTES_MIN);
        Self {
            label,
            secrets: secrets.collect(),
            last: Mutex::default(),
            is_troubled: true.into(),
            is_untold: true.into(),
            logged: Mutex::default(),
        }
    }

    /// What it complained of since `began`; or before, if nothing was confirmed since then: librdkafka tells the same
    /// again only after a while.
    pub(super) fn trouble_of(&self, began: Instant) -> Option<Trouble> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.filter(|trouble| trouble.at >= began || self.is_troubled.load(Ordering::Relaxed))
    }

    /// A record was confirmed. Costs a look where all is well.
    pub(super) fn confirmed(&self) {
        if self.is_troubled.load(Ordering::Relaxed) {
            self.is_troubled.store(false, Ordering::Relaxed);
            if self.is_untold.swap(false, Ordering::Relaxed) {
                let Label { sink, connection, brokers } = &*self.label;
                tracing::info!(sink, connection, broker = brokers, "connected to the cluster: it confirms records");
            }
        }
    }

    /// librdkafka keeps secrets out of its messages; this holds even where it does not.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let hide = |text: String, secret: &SecretString| text.replace(secret.expose_secret(), "***");
        self.secrets.iter().fold(text.to_owned(), hide)
    }

    pub(super) fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        let reason = self.without_secrets(reason);
        self.log(code, &reason);
        self.is_troubled.store(true, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // It only sums up what was told about each broker, and that says why.
        if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
            *last = Some(Trouble { at: Instant::now(), code, reason });
        }
    }

    fn log(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_summary = |last| last == code || code == RDKafkaErrorCode::AllBrokersDown;
        let Label { sink, connection, brokers } = &*self.label;
        let is_known = logged.is_some_and(|(last, at)| is_summary(last) && at.elapsed() < COMPLAINT_EVERY);
        if is_known {
            tracing::debug!(sink, connection, broker = brokers, reason, "the Kafka client still has trouble");
        } else {
            *logged = Some((code, Instant::now()));
            self.is_untold.store(true, Ordering::Relaxed);
            tracing::warn!(sink, connection, broker = brokers, reason, "the Kafka client has trouble, and tries again");
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// What matters of it comes as an error too.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{}", self.reports.without_secrets(message));
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        self.reports.note(code, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = self.tokens.as_ref().ok_or("OAUTHBEARER needs `oauth` in the connection")?;
        Ok(self.runtime.block_on(tokens.for_a_client())?)
    }
}
