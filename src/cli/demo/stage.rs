//! What a demonstration consists of: an emulated CSPR.cloud, three receivers, and the configuration between them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use reqwest::Url;

use crate::cli::listen::shown;
use crate::config::{
    AdminConfig, BacklogConfig, Condition, Config, DeadLettersConfig, DedupConfig, EgressConfig, Format, IdentityRule,
    Key, MatchConfig, Ordering, OwnershipConfig, PushDown, RepairConfig, RestConfig, RetryConfig, RouteConfig,
    Schedule, Secret, SinkConfig, SinkKind, SinkName, SourceConfig, StoreConfig, TlsConfig, WebhookConfig,
};
use crate::emulator::receiver::{self, Answer, Behaviour, Keeps, Observer, Received, Receiver, When};
use crate::emulator::{Emulator, Fault, Settings, Trigger};
use crate::event::{Network, Stream};
use crate::lifecycle::Lifecycle;
use crate::signature::{SigningKey, generate};

/// Any free port of this machine alone.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long `down` is down.
pub(super) const DOWN: Duration = Duration::from_secs(6);
const FLAKY_SHARE: f64 = 0.4;
const DUPLICATE_SHARE: f64 = 0.05;
/// Longer than a connection takes to count as a good one: after that it is made anew at once, time after time.
const DROP_EVERY: Duration = Duration::from_secs(12);
const PING_EVERY: Duration = Duration::from_secs(2);

/// Requests that the picture shows.
const RECENT_MAX: usize = 6;
const ACTION_CHARS: usize = 24;
const PACKAGE_CHARS: usize = 8;
const TOKEN_CHARS: usize = 24;

/// A collection and an owner of the emulated world.
const COLLECTION: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
const OWNER: &str = "66b1b6b393e5aed08be0759d52c484ba2921c844cc0918d5b8bb02849bb833d4";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the demonstration says of itself before it starts.
pub(super) const INTRODUCTION: &str = "\
cspr-relay demo: an emulated CSPR.cloud, the relay and three webhook receivers,
all on this machine. The source repeats 5 % of its events and drops its
connections every 12 s. The routes:

  all-tokens      all of nft-tokens         -> healthy  answers 204
  one-collection  updates of one collection -> flaky    fails 40 % of requests
  mints           what is created           -> down     503 for the first 6 s
  one-owner       nft-token-actions of one  -> healthy  the rest is unmatched
";

/// The receivers with the names of their sinks, and the last requests that any of them got.
pub(super) struct Stage {
    pub(super) emulator: Emulator,
    pub(super) receivers: Vec<(&'static str, Receiver)>,
    pub(super) recent: Recent,
    secret: String,
}

impl Stage {
    pub(super) async fn build(lifecycle: &Lifecycle, seed: u64) -> anyhow::Result<Self> {
        let emulator =
            Emulator::start(lifecycle, LOOPBACK, source(seed), None).await.context("starting the emulator")?;
        let secret = generate().map_err(std::io::Error::from).context("asking the system for random bytes")?;
        let recent = Recent::default();
        let mut receivers = Vec::new();
        for (name, behaviour) in [
            ("healthy", Behaviour::default()),
            ("flaky", Behaviour::new(Answer::Status(500), When::Share(FLAKY_SHARE))),
            ("down", Behaviour::always(Answer::Status(503))),
        ] {
            let keys = vec![SigningKey::parse(&secret).context("reading the new secret")?];
            let settings = receiver::Settings { keys, keeps: Keeps::Ids, behaviour, seed, ..Default::default() };
            let receiver = Receiver::start(lifecycle, LOOPBACK, settings, Some(recent.observer(name))).await;
            receivers.push((name, receiver.with_context(|| format!("starting the receiver {name}"))?));
        }
        Ok(Self { emulator, receivers, recent, secret })
    }

    /// Ends the outage.
    pub(super) fn repair(&self) {
        for (_, receiver) in self.receivers.iter().filter(|(name, _)| *name == "down") {
            receiver.set_behaviour(Behaviour::default());
        }
    }

    /// What an operator would write for this stage, with the data in `directory`.
    pub(super) fn config(&self, directory: &Path) -> anyhow::Result<Config> {
        let mut sinks = BTreeMap::new();
        for (name, receiver) in &self.receivers {
            let url = Url::parse(&receiver.url()).context("the address of a receiver")?;
            sinks.insert(sink_name(name), sink(url, &self.secret, schedule(name)));
        }
        let source = SourceConfig {
            network: Network::Testnet,
            url: Url::parse(&self.emulator.base_url()).context("the address of the emulator")?,
            api_key: Secret::literal(Settings::default().api_key),
            persistent_session: Some("demo".to_owned()),
            silence_timeout: PING_EVERY * 5,
            push_down: PushDown::Packages,
            ca_file: None,
            rest: RestConfig {
                url: Url::parse(&self.emulator.rest_url()).context("the address of the emulator")?,
                requests_per_minute: 100,
                requests_per_day: 6_000,
            },
        };
        Ok(Config {
            source,
            store: StoreConfig { path: directory.to_owned(), retention: DAY, max_bytes: 1 << 30 },
            dedup: DedupConfig {
                identity: IdentityRule::State,
                window: DAY,
                window_without_deploy: Duration::from_secs(600),
                max_keys: 1_000_000,
            },
            ownership: OwnershipConfig::default(),
            repair: RepairConfig::default(),
            dead_letters: DeadLettersConfig { retention: DAY, max_bytes: 1 << 28 },
            egress: EgressConfig::default(),
            admin: AdminConfig { listen: LOOPBACK, token: None },
            sinks,
            routes: routes(),
            tests: Vec::new(),
            shutdown_timeout: Duration::from_secs(5),
        })
    }
}

fn source(seed: u64) -> Settings {
    Settings {
        ping_every: Some(PING_EVERY),
        faults: [(Fault::Duplicate, Trigger::Share(DUPLICATE_SHARE)), (Fault::Drop, Trigger::Every(DROP_EVERY))].into(),
        seed,
        ..Settings::default()
    }
}

/// Short, so that there is something to see. What `flaky` fails three times becomes a dead letter.
fn schedule(name: &str) -> Vec<Duration> {
    let millis: &[u64] = if name == "flaky" { &[500, 1_500] } else { &[500, 1_000, 2_000, 4_000, 5_000, 5_000] };
    millis.iter().copied().map(Duration::from_millis).collect()
}

fn sink(url: Url, secret: &str, schedule: Vec<Duration>) -> SinkConfig {
    let webhook = WebhookConfig {
        url,
        secrets: vec![Secret::literal(secret)],
        timeout: Duration::from_secs(5),
        headers: Vec::new(),
        reject_on: vec![400, 413, 415, 422],
        tls: TlsConfig::default(),
    };
    SinkConfig {
        labels: BTreeMap::new(),
        kind: SinkKind::Webhook(Box::new(webhook)),
        format: Format::Raw,
        retry: RetryConfig { schedule: Schedule::Listed(schedule), jitter: 0.2 },
        concurrency: 16,
        rate_limit: None,
        ordering: Ordering::Lane,
        backlog: BacklogConfig { max_bytes: 1 << 28, on_full: crate::config::OnFull::Expire },
    }
}

fn routes() -> Vec<RouteConfig> {
    let route = |name: &str, stream, conditions, sink| RouteConfig {
        name: name.into(),
        stream,
        matcher: MatchConfig { conditions },
        sinks: vec![sink_name(sink)],
    };
    let key = |key, value: &str| Condition::OneOf(key, std::iter::once(value.to_owned()).collect());
    let updates = vec![key(Key::ContractPackage, COLLECTION), key(Key::Action, "updated")];
    let mints = vec![key(Key::Action, "created")];
    let owned = vec![key(Key::Owner, OWNER)];
    vec![
        route("all-tokens", Stream::NftTokens, vec![], "healthy"),
        route("one-collection", Stream::NftTokens, updates, "flaky"),
        route("mints", Stream::NftTokens, mints, "down"),
        route("one-owner", Stream::NftTokenActions, owned, "healthy"),
    ]
}

pub(super) fn sink_name(name: &str) -> SinkName {
    SinkName(name.into())
}

/// The last requests, newest last, as lines without anything that could steer a terminal.
#[derive(Clone, Default)]
pub(super) struct Recent(Arc<Mutex<VecDeque<String>>>);

impl Recent {
    fn observer(&self, name: &'static str) -> Observer {
        let recent = self.clone();
        Box::new(move |received| {
            recent.push(line(name, received));
            Ok(())
        })
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= RECENT_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Time of day, receiver, answer, stream and action, package/token.
fn line(name: &str, received: &Received) -> String {
    let at = received.received_at.to_string();
    let status = received.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    format!(
        "{}  {name:<7}  {status}  {}.{}  {}/{}",
        at.get(11..23).unwrap_or(&at),
        shown(&received.stream, ACTION_CHARS),
        shown(&received.action, ACTION_CHARS),
        shown(&received.contract_package, PACKAGE_CHARS),
        shown(&received.token_id, TOKEN_CHARS),
    )
}
