//! Standard Webhooks 1.0, symmetric signatures (`v1`): secrets, signing, verifying.
//!
//! Pure functions over bytes: the body need not be UTF-8, and the time is given by the caller.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far a receiver's and a sender's clocks may be apart, as all libraries of the standard have it.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(5 * 60);

const PREFIX: &str = "whsec_";
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;

/// A secret that is ready to sign. Does not print.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

/// Why a text is not a secret. Never contains any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("a webhook secret starts with `whsec_`")]
    Prefix,
    #[error("an asymmetric key (`whsk_`, `whpk_`) is not supported: use a `whsec_` secret")]
    Asymmetric,
    #[error("what follows `whsec_` must be base64 with padding")]
    Base64,
    #[error("a webhook secret holds 24 to 64 bytes, this one {0}")]
    Length(usize),
}

/// The three headers of a signed request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// `webhook-id`.
    pub(crate) id: &'a str,
    /// `webhook-timestamp`: whole seconds since 1970.
    pub(crate) timestamp: &'a str,
    /// `webhook-signature`: one or more signatures, separated by spaces.
    pub(crate) signature: &'a str,
}

/// What a request is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    /// Any of them may have signed.
    pub(crate) keys: &'a [SigningKey],
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// How far the timestamp may lie from `now`; `None`: any distance.
    pub(crate) tolerance: Option<Duration>,
}

/// Why a request is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("the timestamp is not a whole number of seconds since 1970")]
    Timestamp,
    #[error("the timestamp is {seconds} s old, more than the tolerance")]
    TooOld { seconds: u64 },
    #[error("the timestamp lies {seconds} s in the future, more than the tolerance")]
    TooNew { seconds: u64 },
    #[error("there is no `v1,…` signature with 32 bytes of base64")]
    NoSignature,
    #[error("no signature fits the id, the timestamp, the body and a secret")]
    Mismatch,
}

impl SigningKey {
    /// Reads `whsec_<base64>`; white space around it, such as a file's last newline, is ignored.
    pub(crate) fn parse(secret: &str) -> Result<Self, SecretError> {
        let secret = secret.trim();
        if secret.starts_with("whsk_") || secret.starts_with("whpk_") {
            return Err(SecretError::Asymmetric);
        }
        let code = secret.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let key = BASE64.decode(code.as_bytes()).map_err(|_| SecretError::Base64)?;
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(SecretError::Length(key.len()));
        }
        let mac = Hmac::new_from_slice(&key).map_err(|_| SecretError::Length(key.len()))?;
        Ok(Self(mac))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The value of `webhook-signature`: one signature for each key, in their order.
pub(crate) fn sign(keys: &[SigningKey], id: &str, timestamp: u64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let mut header = String::with_capacity(keys.len() * 48);
    for key in keys {
        let separator = if header.is_empty() { "v1," } else { " v1," };
        header.push_str(separator);
        BASE64.encode_append(&key.mac(id, &timestamp, body).finalize().into_bytes(), &mut header);
    }
    header
}

/// Says whether one of the keys signed the request. Signatures are compared in constant time; those of other versions
/// are passed over.
pub(crate) fn verify(signed: Signed<'_>, body: &[u8], check: Check<'_>) -> Result<(), VerifyError> {
    let timestamp: u64 = signed.timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    check_age(timestamp, check)?;
    let tags: Vec<Vec<u8>> = signed.signature.split(' ').filter_map(tag).collect();
    if tags.is_empty() {
        return Err(VerifyError::NoSignature);
    }
    let macs = check.keys.iter().map(|key| key.mac(signed.id, signed.timestamp, body));
    let mut pairs = macs.flat_map(|mac| tags.iter().map(move |tag| (mac.clone(), tag)));
    match pairs.any(|(mac, tag)| mac.verify_slice(tag).is_ok()) {
        true => Ok(()),
        false => Err(VerifyError::Mismatch),
    }
}

fn check_age(timestamp: u64, check: Check<'_>) -> Result<(), VerifyError> {
    let Some(tolerance) = check.tolerance else { return Ok(()) };
    let (age, lead) = (check.now.saturating_sub(timestamp), timestamp.saturating_sub(check.now));
    if age > tolerance.as_secs() {
        return Err(VerifyError::TooOld { seconds: age });
    }
    if lead > tolerance.as_secs() {
        return Err(VerifyError::TooNew { seconds: lead });
    }
    Ok(())
}

/// The bytes of one `v1` signature.
fn tag(entry: &str) -> Option<Vec<u8>> {
    let code = entry.strip_prefix("v1,")?;
    BASE64.decode(code.as_bytes()).ok().filter(|tag| tag.len() == 32)
}

/// A fresh secret of 32 bytes from the random source of the operating system.
pub(crate) fn generate() -> Result<String, getrandom::Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(format!("{PREFIX}{}", BASE64.encode(&key)))
}
