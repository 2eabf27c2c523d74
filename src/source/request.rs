//! The upgrade request: address, filter and headers, as pure functions of the configuration.

use anyhow::{Context, anyhow};
use data_encoding::HEXLOWER;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, USER_AGENT};

use crate::config::Subscription;
use crate::event::Stream;

/// Digits of the filter's hash in a session's name: enough to tell a handful of filters apart.
const FILTER_HASH_DIGITS: usize = 8;

/// The stream's address below `base`, with the filter as its query.
pub(super) fn address(base: &Url, subscription: &Subscription) -> anyhow::Result<Url> {
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| anyhow!("{base} cannot be the source's address: it takes no path"))?
        .pop_if_empty()
        .push(subscription.stream.as_str());
    url.set_query(filter(subscription).as_deref());
    Ok(url)
}

/// The filter as a query; `None`: the whole stream. A list the stream has no parameter for is left out: what arrives
/// then is more than was asked for, never less.
fn filter(subscription: &Subscription) -> Option<String> {
    let stream = subscription.stream;
    let lists =
        [(package_parameter(stream), &subscription.contract_packages), (owner_parameter(stream), &subscription.owners)];
    let pairs: Vec<String> = lists
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        // The service documents the comma unescaped.
        .filter_map(|(parameter, values)| Some(format!("{}={}", parameter?, values.join(",").to_lowercase())))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

fn package_parameter(stream: Stream) -> Option<&'static str> {
    match stream {
        Stream::AccountBalances | Stream::Blocks | Stream::Transfers | Stream::NftTokenOwnership | Stream::Relay => {
            None
        }
        Stream::Contracts
        | Stream::ContractPackages
        | Stream::ContractEvents
        | Stream::Deploys
        | Stream::FtTokenActions
        | Stream::NftTokens
        | Stream::NftTokenActions => Some("contract_package_hash"),
    }
}

/// The parameter that takes an owner's *hash*. `/contract-packages` and `/blocks` can be narrowed by public key only.
fn owner_parameter(stream: Stream) -> Option<&'static str> {
    match stream {
        Stream::AccountBalances | Stream::Transfers => Some("account_hash"),
        Stream::Deploys => Some("caller_hash"),
        Stream::FtTokenActions | Stream::NftTokens | Stream::NftTokenActions => Some("owner_hash"),
        Stream::Blocks
        | Stream::Contracts
        | Stream::ContractPackages
        | Stream::ContractEvents
        | Stream::NftTokenOwnership
        | Stream::Relay => None,
    }
}

/// The session's name on the server: one per stream and filter, since a queue belongs to one connection.
pub(super) fn session_name(prefix: &str, subscription: &Subscription) -> String {
    let stream = subscription.stream;
    match filter(subscription) {
        None => format!("{prefix}-{stream}"),
        Some(filter) => {
            let mut hash = HEXLOWER.encode(&Sha256::digest(filter));
            hash.truncate(FILTER_HASH_DIGITS);
            format!("{prefix}-{stream}-{hash}")
        }
    }
}

/// The whole request. The key goes in as it is, without `Bearer`; there is no `Origin`, which the service refuses if
/// it is foreign.
pub(super) fn upgrade(address: &Url, session: Option<&str>, key: &SecretString) -> anyhow::Result<Request> {
    let mut request = address.as_str().into_client_request().context("the source's address is not usable")?;
    let headers = request.headers_mut();
    let mut key = HeaderValue::from_str(key.expose_secret())
        .map_err(|_| anyhow!("the API key has characters that no HTTP header can carry: check source.api_key"))?;
    key.set_sensitive(true);
    headers.insert(AUTHORIZATION, key);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("cspr-relay/", env!("CARGO_PKG_VERSION"))));
    if let Some(session) = session {
        let name = HeaderValue::from_str(session).context("source.persistent_session cannot stand in a header")?;
        headers.insert("persistent-session", name);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(stream: Stream, packages: &[&str], owners: &[&str]) -> Subscription {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Subscription { stream, contract_packages: owned(packages), owners: owned(owners) }
    }

    #[test]
    fn path_is_the_stream_and_filters_are_its_query() {
        let table = [
            (Stream::NftTokens, &[][..], &[][..], "/nft-tokens"),
            (Stream::NftTokens, &["AB", "cd"], &[], "/nft-tokens?contract_package_hash=ab,cd"),
            (Stream::NftTokens, &["ab"], &["e1", "e2"], "/nft-tokens?contract_package_hash=ab&owner_hash=e1,e2"),
            (Stream::NftTokenActions, &[], &["e1"], "/nft-token-actions?owner_hash=e1"),
            (Stream::FtTokenActions, &["ab"], &["e1"], "/ft-token-actions?contract_package_hash=ab&owner_hash=e1"),
            (Stream::Transfers, &["ab"], &["e1"], "/transfers?account_hash=e1"),
            (Stream::AccountBalances, &[], &["e1"], "/account-balances?account_hash=e1"),
            (Stream::Deploys, &["ab"], &["e1"], "/deploys?contract_package_hash=ab&caller_hash=e1"),
            (Stream::ContractEvents, &["ab"], &["e1"], "/contract-events?contract_package_hash=ab"),
            (Stream::ContractPackages, &["ab"], &["e1"], "/contract-packages?contract_package_hash=ab"),
            (Stream::Contracts, &["ab"], &[], "/contracts?contract_package_hash=ab"),
            (Stream::Blocks, &["ab"], &["e1"], "/blocks"),
        ];
        for (stream, packages, owners, expected) in table {
            for (base, prefix) in [("wss://host.example", ""), ("ws://host.example:1/proxy/", "/proxy")] {
                let base = Url::parse(base).unwrap();
                let url = address(&base, &subscription(stream, packages, owners)).unwrap();
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                assert_eq!(format!("{}{query}", url.path()), format!("{prefix}{expected}"));
            }
        }
    }

    #[test]
    fn sessions_are_named_by_stream_and_filter() {
        let name = |packages: &[&str]| session_name("prod", &subscription(Stream::NftTokens, packages, &[]));
        assert_eq!(name(&[]), "prod-nft-tokens");
        assert_eq!(name(&["ab"]), name(&["AB"]));
        assert_ne!(name(&["ab"]), name(&["cd"]));
        assert_eq!(name(&["ab"]).len(), "prod-nft-tokens-".len() + FILTER_HASH_DIGITS);
    }

    #[test]
    fn the_key_goes_raw_and_prints_nowhere() {
        let url = Url::parse("wss://host.example/nft-tokens").unwrap();
        let request = upgrade(&url, Some("prod-nft-tokens"), &SecretString::from("a-key")).unwrap();
        assert_eq!(request.headers()["authorization"], "a-key");
        assert_eq!(request.headers()["persistent-session"], "prod-nft-tokens");
        assert!(request.headers().get("origin").is_none());
        assert!(!format!("{request:?}").contains("a-key"));

        let error = upgrade(&url, None, &SecretString::from("a-key\n")).unwrap_err();
        assert!(!format!("{error:#} {error:?}").contains("a-key"));
    }
}
