//! The sections that there is one of: `source`, `store`, `dedup`, `dead_letters`, `ownership`, `repair`, `egress`, `admin`.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use secrecy::ExposeSecret;

use super::outline::{Form, words_of};
use super::reader::{Place, duration_or_off};
use super::shape::{NoMapping, Node, Text, shape};
use super::{
    AdminConfig, DeadLettersConfig, DedupConfig, EgressConfig, IdentityRule, OwnershipConfig, PushDown, RepairConfig,
    RestConfig, Secret, SourceConfig, StoreConfig,
};
use crate::event::Network;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const GIB: u64 = 1 << 30;
/// More is no limit; the free tier has 100.
const REQUESTS_PER_MINUTE_MAX: usize = 100_000;
const REQUESTS_PER_DAY_MAX: usize = 100_000_000;
/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

const PUSH_DOWN: [(&str, PushDown); 3] =
    [("packages", PushDown::Packages), ("packages_and_owners", PushDown::PackagesAndOwners), ("off", PushDown::Off)];
const IDENTITY: [(&str, IdentityRule); 2] =
    [("state", IdentityRule::State), ("deploy_token", IdentityRule::DeployToken)];
const BOOL: [(&str, bool); 2] = [("true", true), ("false", false)];
const NETWORKS: [(&str, Network); 2] =
    [(Network::Mainnet.as_str(), Network::Mainnet), (Network::Testnet.as_str(), Network::Testnet)];

shape! {
    Source {
        network: NoMapping = Form::words(|| words_of(&NETWORKS)).required(),
        url: NoMapping = Form::pattern("^wss?://[^/@]+/?$"),
        api_key: NoMapping = Form::TEXT.required(),
        persistent_session: NoMapping,
        silence_timeout: NoMapping = Form::DURATION,
        push_down: NoMapping = Form::words(|| words_of(&PUSH_DOWN)),
        ca_file: NoMapping,
        rest: Rest,
    }
}

shape! {
    Rest {
        url: NoMapping = Form::pattern("^https?://[^/@]+/?$"),
        requests_per_minute: NoMapping = Form::number(1, REQUESTS_PER_MINUTE_MAX),
        requests_per_day: NoMapping = Form::number(1, REQUESTS_PER_DAY_MAX),
    }
}

shape! { Store { path: NoMapping, retention: NoMapping = Form::DURATION, max_bytes: NoMapping = Form::SIZE, } }

shape! {
    Dedup {
        identity: NoMapping = Form::words(|| words_of(&IDENTITY)),
        window: NoMapping = Form::DURATION,
        window_without_deploy: NoMapping = Form::DURATION,
        max_keys: NoMapping = Form::number(1, usize::MAX),
    }
}

shape! { DeadLetters { retention: NoMapping = Form::DURATION, max_bytes: NoMapping = Form::SIZE, } }

shape! {
    Ownership {
        settle: NoMapping = Form::DURATION,
        reconcile: NoMapping = Form::DURATION,
        emit_baseline: NoMapping = Form::BOOL,
    }
}

shape! {
    Repair {
        settle: NoMapping = Form::DURATION,
        recheck: NoMapping = Form::DURATION,
        audit: NoMapping = Form::DURATION_OR_OFF,
    }
}

shape! { Egress { deny: NoMapping = Form::pattern("^[0-9A-Fa-f:.]+(/[0-9]+)?$").list(), } }

shape! {
    Admin {
        listen: NoMapping = Form::pattern("^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]+$"),
        token: NoMapping,
    }
}

/// None only if a fault was noted.
pub(super) fn source(parent: &Place<'_>, node: Option<Node<Source>>) -> Option<SourceConfig> {
    let (source, place) = parent.map("source", node);
    let network = network(&place, source.network);
    let url = match (source.url, network) {
        (None, Some(network)) => Some(built_in(network.streaming_address())),
        (None, None) => None,
        (Some(node), _) => url(&place, node, ["wss", "ws"]).and_then(|(url, place)| without_path(url, &place)),
    };
    let api_key = api_key(&place, source.api_key);
    let persistent_session = place.parse("persistent_session", source.persistent_session, header_text);
    let silence_timeout = place.duration("silence_timeout", source.silence_timeout, Duration::from_secs(60));
    let push_down = place.choice("push_down", source.push_down, &PUSH_DOWN).unwrap_or_default();
    let ca_file = file(&place, "ca_file", source.ca_file);
    let rest = rest(&place, source.rest, network);
    Some(SourceConfig {
        network: network?,
        url: url?,
        api_key: api_key?,
        persistent_session,
        silence_timeout,
        push_down,
        ca_file,
        rest: rest?,
    })
}

/// None only if a fault was noted.
fn rest(parent: &Place<'_>, node: Option<Node<Rest>>, network: Option<Network>) -> Option<RestConfig> {
    let (rest, place) = parent.map("rest", node);
    let limits = 1..=REQUESTS_PER_MINUTE_MAX;
    let requests_per_minute = place.number("requests_per_minute", rest.requests_per_minute, limits, 100);
    let limits = 1..=REQUESTS_PER_DAY_MAX;
    let requests_per_day = place.number("requests_per_day", rest.requests_per_day, limits, 6_000) as u64;
    let url = match rest.url {
        Some(node) => url(&place, node, ["https", "http"]).and_then(|(url, place)| without_path(url, &place)),
        None => network.map(|network| built_in(network.rest_address())),
    };
    Some(RestConfig { url: url?, requests_per_minute, requests_per_day })
}

fn network(place: &Place<'_>, node: Option<Text>) -> Option<Network> {
    if node.is_none() {
        place.fault("`network` is missing: mainnet or testnet");
    }
    place.choice("network", node, &NETWORKS)
}

fn built_in(address: &'static str) -> Url {
    #[expect(clippy::expect_used, reason = "a constant; a test reads all of them")]
    Url::parse(address).expect("the built-in addresses are valid")
}

fn without_path(url: Url, place: &Place<'_>) -> Option<Url> {
    let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if has_more {
        place.fault("expected an address without path and query: paths are appended to it");
    }
    (!has_more).then_some(url)
}

/// The key `url` below `place`, with the place of its value.
pub(super) fn url<'a>(place: &Place<'a>, node: Text, schemes: [&str; 2]) -> Option<(Url, Place<'a>)> {
    url_at(place, "url", node, schemes)
}

/// The same for a key of another name.
pub(super) fn url_at<'a>(place: &Place<'a>, key: &str, node: Text, schemes: [&str; 2]) -> Option<(Url, Place<'a>)> {
    if node.spelling(place.document.source).is_some_and(|text| text.contains('@')) {
        place.hide(&node);
    }
    let given = place.text(key, Some(node))?;
    let url = given.parse(|text| address(text, schemes))?;
    Some((url, given.place))
}

/// An absolute address with one of the two `schemes`, a host, and no user or password in it.
fn address(text: &str, schemes: [&str; 2]) -> Result<Url, String> {
    let [first, second] = schemes;
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("expected an address with {first}:// or {second}://, found {}:", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user and password do not belong into a URL: send them in a header".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL names no host".to_owned());
    }
    Ok(url)
}

fn api_key(place: &Place<'_>, node: Option<Text>) -> Option<Secret> {
    let Some(node) = node else {
        place.fault_with("`api_key` is missing", Some("get one at https://cspr.cloud".to_owned()));
        return None;
    };
    let place = place.key("api_key", node.at);
    let secret = place.secret(&node, false)?;
    header_text(secret.current().expose_secret()).map_err(|reason| place.fault(reason)).ok()?;
    Some(secret)
}

/// Text that can stand in a header: visible ASCII and inner spaces, not empty.
pub(super) fn header_text(text: &str) -> Result<String, String> {
    let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match text {
        "" => Err("must not be empty".to_owned()),
        _ if !is_visible || text.trim() != text => {
            Err("is sent as a header, so it may have visible ASCII characters only".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// A file that can be opened now; its path is relative to the file that names it.
pub(super) fn file(place: &Place<'_>, key: &str, node: Option<Text>) -> Option<PathBuf> {
    place.parse(key, node, |text| {
        let path = place.beside(text);
        match File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() => Err(format!("cannot read {}: it is a directory", path.display())),
            Ok(_) => Ok(path),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    })
}

pub(super) fn store(parent: &Place<'_>, node: Option<Node<Store>>) -> StoreConfig {
    let (store, place) = parent.map("store", node);
    StoreConfig {
        path: place.parse("path", store.path, path).unwrap_or_else(|| "./data".into()),
        retention: place.duration("retention", store.retention, 7 * DAY),
        max_bytes: place.size("max_bytes", store.max_bytes, 10 * GIB),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.into()) }
}

pub(super) fn dedup(parent: &Place<'_>, node: Option<Node<Dedup>>) -> DedupConfig {
    let (dedup, place) = parent.map("dedup", node);
    let short = Duration::from_secs(10 * 60);
    DedupConfig {
        identity: place.choice("identity", dedup.identity, &IDENTITY).unwrap_or_default(),
        window: place.duration("window", dedup.window, 7 * DAY),
        window_without_deploy: place.duration("window_without_deploy", dedup.window_without_deploy, short),
        max_keys: place.number("max_keys", dedup.max_keys, 1..=usize::MAX, 3_000_000),
    }
}

pub(super) fn dead_letters(parent: &Place<'_>, node: Option<Node<DeadLetters>>) -> DeadLettersConfig {
    let (dead_letters, place) = parent.map("dead_letters", node);
    DeadLettersConfig {
        retention: place.duration("retention", dead_letters.retention, 30 * DAY),
        max_bytes: place.size("max_bytes", dead_letters.max_bytes, 2 * GIB),
    }
}

pub(super) fn ownership(parent: &Place<'_>, node: Option<Node<Ownership>>) -> OwnershipConfig {
    let (ownership, place) = parent.map("ownership", node);
    let default = OwnershipConfig::default();
    OwnershipConfig {
        settle: place.duration("settle", ownership.settle, default.settle),
        reconcile: place.duration("reconcile", ownership.reconcile, default.reconcile),
        emit_baseline: place.choice("emit_baseline", ownership.emit_baseline, &BOOL).unwrap_or(default.emit_baseline),
    }
}

pub(super) fn repair(parent: &Place<'_>, node: Option<Node<Repair>>) -> RepairConfig {
    let (repair, place) = parent.map("repair", node);
    let default = RepairConfig::default();
    RepairConfig {
        settle: place.duration("settle", repair.settle, default.settle),
        recheck: place.duration("recheck", repair.recheck, default.recheck),
        audit: place.parse("audit", repair.audit, duration_or_off).unwrap_or(default.audit),
    }
}

pub(super) fn egress(parent: &Place<'_>, node: Option<Node<Egress>>) -> EgressConfig {
    let (egress, place) = parent.map("egress", node);
    let deny = place.texts("deny", egress.deny).unwrap_or_default();
    EgressConfig { deny: deny.iter().filter_map(|given| given.parse(addresses)).collect() }
}

/// A range, or a single address.
fn addresses(text: &str) -> Result<IpNet, String> {
    let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    range.map_err(|_| format!("`{text}` is no range of addresses, such as 10.0.0.0/8 or fd00::/8"))
}

pub(super) fn admin(parent: &Place<'_>, node: Option<Node<Admin>>) -> AdminConfig {
    let (admin, place) = parent.map("admin", node);
    let listen = place.parse("listen", admin.listen, |text| {
        text.parse::<SocketAddr>().map_err(|_| {
            format!("expected an address of this machine with a port, such as 127.0.0.1:9464 or 0.0.0.0:9464, found `{text}`")
        })
    });
    let token = admin.token.and_then(|node| token(&place, &node));
    AdminConfig { listen: listen.unwrap_or(AdminConfig::default().listen), token }
}

fn token(parent: &Place<'_>, node: &Text) -> Option<Secret> {
    let place = parent.key("token", node.at);
    let secret = place.secret(node, false)?;
    let current = secret.current();
    let checked = header_text(current.expose_secret()).and_then(|text| {
        let is_long = text.len() >= TOKEN_BYTES_MIN;
        if is_long {
            Ok(())
        } else {
            Err(format!("must have at least {TOKEN_BYTES_MIN} characters: it guards the events"))
        }
    });
    checked.map_err(|reason| place.fault(reason)).ok().map(|()| secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_addresses() {
        for network in [Network::Mainnet, Network::Testnet] {
            for (text, schemes) in
                [(network.streaming_address(), ["wss", "ws"]), (network.rest_address(), ["https", "http"])]
            {
                assert_eq!(address(text, schemes), Ok(built_in(text)));
            }
        }
    }
}
