//! How an event is named on the command line.

pub(super) use crate::admin::Which;

/// Reads an event id, a number, or a sequence as it stands on the wire.
pub(super) fn which(text: &str) -> Result<Which, String> {
    text.parse().map_err(str::to_owned)
}
