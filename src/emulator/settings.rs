//! The knobs of the emulated service.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::handshake::Refusal;

/// How the service behaves. The default is what is documented or was observed.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The one key that is let in.
    pub(crate) api_key: String,
    pub(crate) bad_key: BadKey,
    pub(crate) sessions: Sessions,
    /// Text `Ping`: the first after this, then again and again. `None`: never.
    pub(crate) ping_every: Option<Duration>,
    /// The protocol's own ping frames.
    pub(crate) protocol_ping_every: Option<Duration>,
    /// Messages longer than this are sent in fragments of this size.
    pub(crate) fragment_bytes: Option<usize>,
    /// A pause after each message.
    pub(crate) slow: Option<Duration>,
    /// What [`Fault::Drop`] does.
    pub(crate) closing: Closing,
    /// How long [`Fault::Stall`] lasts.
    pub(crate) stall: Duration,
    pub(crate) giant_bytes: usize,
    /// [`Fault::Duplicate`] repeats the event sent this many events before; 0: the last one.
    pub(crate) duplicate_distance: usize,
    /// Whether a duplicate carries another envelope timestamp.
    pub(crate) duplicates_are_restamped: bool,
    pub(crate) faults: BTreeMap<Fault, Trigger>,
    /// The share of handshakes that are refused, and how.
    pub(crate) refuse: Option<(f64, Refusal)>,
    /// Published events that are kept: what a connection may lag behind, and what a persistent session brings again.
    pub(crate) history: usize,
    /// Whether every event sent is kept for [`super::Emulator::sent`].
    pub(crate) keeps_sent: bool,
    /// For the faults that happen by chance.
    pub(crate) seed: u64,
    /// `None`: there is no REST API, and no cost of keeping account for it.
    pub(crate) rest: Option<RestSettings>,
}

/// How the REST API behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestSettings {
    /// How long it takes until it knows of what the stream has told.
    pub(crate) lag: Duration,
    /// Whether lists come without `item_count` and `page_count`.
    pub(crate) omits_counters: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: "emulator-key".to_owned(),
            bad_key: BadKey::Json,
            sessions: Sessions::Replay,
            ping_every: Some(Duration::from_secs(5)),
            protocol_ping_every: None,
            fragment_bytes: None,
            slow: None,
            closing: Closing::Code(1001),
            stall: Duration::from_secs(90),
            giant_bytes: 5 << 20,
            duplicate_distance: 0,
            duplicates_are_restamped: true,
            faults: BTreeMap::new(),
            refuse: None,
            history: 16_384,
            keeps_sent: false,
            seed: 1,
            rest: None,
        }
    }
}

/// The answer to a wrong key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BadKey {
    /// 401 with the documented JSON.
    Json,
    /// 401 with a text that repeats the key, as a gateway was seen to do.
    Echo,
    /// 403.
    Forbidden,
}

/// What `Persistent-Session` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sessions {
    /// What was published while the session was away is sent first, as far as the history reaches.
    Replay,
    /// As if the header were not there.
    Ignore,
    /// 403, as a free key might get.
    Refuse,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    Code(u16),
    /// No goodbye.
    Eof,
}

impl FromStr for Closing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "eof" {
            return Ok(Self::Eof);
        }
        match text.parse() {
            Ok(code @ 1000..=4999) => Ok(Self::Code(code)),
            _ => Err("expected a close code from 1000 to 4999, or `eof`".to_owned()),
        }
    }
}

/// What can go wrong on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// The connection ends; see [`Closing`].
    Drop,
    /// Nothing more is sent for a while, keep-alives included; what is published meanwhile does not come.
    Stall,
    /// The next event is never sent, and nothing else shows it; REST knows of it.
    Lose,
    /// An event is sent again.
    Duplicate,
    /// The next two events change places.
    Reorder,
    /// A text that is no event.
    Garbage,
    /// A message beyond every sensible limit.
    Giant,
    /// A text frame that is not UTF-8.
    InvalidUtf8,
}

/// When a fault happens: `0.01` (the share of events after which it does) or a period in whole seconds like `30s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trigger {
    Share(f64),
    Every(Duration),
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither a share like 0.01 nor a period like 30s");
        if let Some(seconds) = text.strip_suffix('s') {
            let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
            return if seconds > 0 { Ok(Self::Every(Duration::from_secs(seconds))) } else { Err(wrong()) };
        }
        match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self::Share(share)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_shares_or_periods() {
        assert_eq!("0.01".parse(), Ok(Trigger::Share(0.01)));
        assert_eq!("30s".parse(), Ok(Trigger::Every(Duration::from_secs(30))));
        for wrong in ["1.5", "-1", "0s", "s", "often", "NaN", ""] {
            assert!(wrong.parse::<Trigger>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn closings_are_codes_or_eof() {
        assert_eq!("1012".parse(), Ok(Closing::Code(1012)));
        assert_eq!("eof".parse(), Ok(Closing::Eof));
        assert!("12".parse::<Closing>().is_err());
    }
}
