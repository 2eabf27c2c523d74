//! What the texts of the stream are: the one place to change if CSPR.cloud changes its frames.

/// The kinds of message that come over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A JSON object, by its first character; whether it is well formed is for others to say.
    Event,
    /// The server's keep-alive, a text of its own beside the protocol's ping frames.
    KeepAlive,
    Other,
}

/// Looks at the first and last non-blank bytes only. Binary messages are judged like texts: none was ever seen, and
/// one that holds an object is better examined than skipped.
pub(super) fn kind(message: &[u8]) -> Kind {
    match message.trim_ascii() {
        [b'{', ..] => Kind::Event,
        b"Ping" => Kind::KeepAlive,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_starts_like_an_object_is_an_event() {
        let table: [(&str, Kind); 12] = [
            (r#"{"data":{}}"#, Kind::Event),
            (" \r\n\t{}", Kind::Event),
            ("{ broken", Kind::Event),
            ("Ping", Kind::KeepAlive),
            (" Ping\n", Kind::KeepAlive),
            ("ping", Kind::Other),
            ("Pong", Kind::Other),
            ("", Kind::Other),
            ("   ", Kind::Other),
            ("hello", Kind::Other),
            ("[{}]", Kind::Other),
            ("\"{\"", Kind::Other),
        ];
        for (text, expected) in table {
            assert_eq!(kind(text.as_bytes()), expected, "{text:?}");
        }
    }
}
