//! One suite for every kind of sink: what is true of a delivery whatever the destination is.
//!
//! The real relay and an emulator run against a [`Destination`]: a thing that can be killed, stopped, made to refuse and
//! be read. A new kind of sink gets all of it by an adapter and a line at the end of this file.

mod amqp;
mod cases;
mod judge;
mod kafka;
mod kills;
mod trial;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;

/// What the adapter of a kind of sink can do. Everything it has taken is durable to it: it survives [`Self::kill`].
trait Destination: Sized {
    /// Messages above this many bytes are refused for good; at most 3 MiB, since events are not much larger.
    const BYTES_MAX: usize;

    /// An empty one that is ready. `None`: its server is not installed, which was said.
    async fn start(name: &str) -> Option<Self>;

    /// The key of the sink that says where to, as one line of YAML. Its time-out is two seconds, and it has a header
    /// `X-Life` with `${LIFE:-0}`.
    fn sink(&self, access: &Access<'_>) -> String;

    /// The secret that it takes, and another one of the same form.
    fn secrets(&self) -> [String; 2];

    /// The authority of its certificate, in PEM, and a stranger.
    fn authorities(&self) -> [String; 2];

    /// As `kill -9`: it takes no connections until [`Self::restart`].
    async fn kill(&mut self);
    async fn restart(&mut self);

    /// As SIGSTOP: connections are taken up, and nothing happens, until [`Self::resume`].
    async fn pause(&mut self);
    async fn resume(&mut self);

    /// It refuses every message, for a reason that may pass, until [`Self::accept`].
    async fn refuse(&mut self);
    async fn accept(&mut self);

    /// Everything it has taken so far, in the order in which it took it.
    async fn received(&mut self) -> &[Receipt];

    /// The same as a client finds it that shares no code with the relay: what it has read when it has `count` different
    /// ids. `None`: there is no such client, or it is not installed, which was said.
    async fn ids_read_by_another_client(&mut self, count: usize) -> Option<Vec<String>>;
}

/// How a relay is to reach a destination.
struct Access<'a> {
    /// Holds the secret.
    secret_file: &'a Path,
    /// With TLS; the file holds the authority to trust.
    ca_file: Option<&'a Path>,
    /// A template for its key, or for a header where a destination has no keys.
    key: Option<&'a str>,
}

/// A message that a destination has taken.
#[derive(Clone, Debug)]
struct Receipt {
    id: String,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Receipt {
    /// Empty if there is no such header.
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    fn number(&self) -> u64 {
        let (_, number) = self.header("cspr-relay-sequence").split_once('-').unwrap();
        u64::from_str_radix(number, 16).unwrap()
    }

    fn lane(&self) -> [&str; 3] {
        ["cspr-relay-stream", "cspr-relay-contract-package", "cspr-relay-token-id"].map(|name| self.header(name))
    }
}

/// A test for each case, with a destination of the kind.
macro_rules! suite {
    ($kind:ident, $destination:ty: $($module:ident: $($case:ident)*;)*) => {
        mod $kind {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::super::$module::$case::<$destination>(stringify!($case)).await;
                }
            )*)*
        }
    };
}

/// The suite for each kind of sink.
macro_rules! suites {
    ($($kind:ident: $destination:ty,)*) => {
        mod of {
            $(
                suite! {
                    $kind, $destination:
                    cases:
                    everything_arrives_once_and_in_order
                    awkward_events_arrive_as_they_are
                    an_event_that_makes_no_key_is_a_dead_letter_alone
                    one_that_is_away_at_the_start_is_waited_for
                    one_that_is_stopped_gets_everything_when_it_goes_on
                    nothing_is_settled_before_it_is_taken
                    what_is_too_large_is_a_dead_letter_and_holds_up_nothing
                    a_wrong_secret_is_told_and_a_right_one_is_taken_up
                    a_stranger_s_certificate_is_refused
                    a_polite_stop_loses_and_repeats_nothing;
                    kills:
                    kills_of_the_destination_lose_nothing
                    kills_of_the_relay_lose_nothing;
                }
            )*
        }
    };
}

suites! {
    webhook: crate::conformance::webhook::Webhook,
    kafka: crate::conformance::kafka::Topic,
    amqp: crate::conformance::amqp::Exchange,
}
