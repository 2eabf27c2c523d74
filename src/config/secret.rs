//! Text that may be secret, and may come from a file that changes.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A configured text that does not print. One that comes from a file follows the file.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn literal(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The present value; a file that changed is read again.
    pub fn current(&self) -> SecretString {
        SecretString::from(self.0.expose_secret().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
