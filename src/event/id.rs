//! The text form of an event's identity.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};

/// The identity of an event, the same on every sink, attempt and restart: `evt_` and 26 letters of lower-case base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId(pub(crate) [u8; 16]);

const PREFIX: &str = "evt_";

fn base32() -> &'static Encoding {
    static BASE32: std::sync::OnceLock<Encoding> = std::sync::OnceLock::new();
    BASE32.get_or_init(|| {
        let mut spec = Specification::new();
        spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        #[expect(clippy::expect_used, reason = "a constant alphabet of 32 different letters is valid")]
        spec.encoding().expect("the base32 alphabet is valid")
    })
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        base32().encode_display(&self.0).fmt(f)
    }
}

/// The text is not an event id.
#[derive(Debug, thiserror::Error)]
#[error("not an event id: expected `evt_` and 26 letters of base32")]
pub(crate) struct IdError;

impl FromStr for EventId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let code = text.strip_prefix(PREFIX).ok_or(IdError)?;
        let bytes = base32().decode(code.as_bytes()).map_err(|_| IdError)?;
        bytes.try_into().map(Self).map_err(|_| IdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = EventId(*b"0123456789abcdef");
        let text = id.to_string();
        assert_eq!(text.len(), 30);
        assert_eq!(text.parse::<EventId>().unwrap(), id);
        assert!("evt_short".parse::<EventId>().is_err());
        assert!("01234".parse::<EventId>().is_err());
    }
}
