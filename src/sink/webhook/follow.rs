//! A configured text in its parsed form, parsed anew only when the text has changed.

use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::config::Secret;

/// A [`Secret`] and the last value that was made of it.
#[derive(Debug)]
pub(super) struct Follow<T> {
    secret: Secret,
    last: Mutex<Option<(SecretString, T)>>,
}

impl<T: Clone> Follow<T> {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, last: Mutex::new(None) }
    }

    /// The present value. An error is not kept: the next call parses again.
    pub(super) fn value<E>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, E> {
        let text = self.secret.current();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, value)) = &*last
            && known.expose_secret() == text.expose_secret()
        {
            return Ok(value.clone());
        }
        let value = parse(text.expose_secret())?;
        *last = Some((text, value.clone()));
        Ok(value)
    }
}
