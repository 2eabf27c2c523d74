//! The client against the emulated service: what comes whole, what is tried again, and what is not.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;

use super::{Account, Ownership, Ownerships, Rest, RestError};
use crate::backoff::Backoff;
use crate::config::{PushDown, RestConfig, Secret, SourceConfig};
use crate::emulator::{BadKey, Emulator, Refusal, RestSettings, Settings, Shape, World};
use crate::event::{Network, Stream};
use crate::lifecycle::Lifecycle;

const MESSAGES: usize = 4_000;

fn settings() -> Settings {
    Settings { rest: Some(RestSettings::default()), history: 1, ..Settings::default() }
}

/// An emulator that nobody listens to, and a client of it that does not wait long.
async fn rig(settings: Settings, key: &str) -> (Lifecycle, Emulator, Rest) {
    let lifecycle = Lifecycle::default();
    let emulator = Emulator::start(&lifecycle, "127.0.0.1:0".parse().unwrap(), settings, None).await.unwrap();
    let mut rest = client(&emulator.base_url(), &emulator.rest_url(), key);
    rest.backoff = Backoff { first: Duration::from_millis(1), cap: Duration::from_millis(1) };
    (lifecycle, emulator, rest)
}

pub(crate) fn client(url: &str, rest_url: &str, key: &str) -> Rest {
    let config = SourceConfig {
        network: Network::Testnet,
        url: Url::parse(url).unwrap(),
        api_key: Secret::literal(key),
        persistent_session: None,
        silence_timeout: Duration::from_secs(60),
        push_down: PushDown::Packages,
        ca_file: None,
        rest: RestConfig {
            url: Url::parse(rest_url).unwrap(),
            requests_per_minute: 100_000,
            requests_per_day: 1_000_000,
        },
    };
    Rest::new(&config, Account::default()).unwrap()
}

async fn ask(rest: &Rest, whose: Ownerships) -> Result<Vec<Ownership>, RestError> {
    rest.ownerships(&whose, |_, _| ()).await.map(|walked| walked.rows)
}

fn of_package() -> Ownerships {
    Ownerships::Package("p".to_owned())
}

/// A mint of token `n` for owner `owner`.
fn mint(n: usize, owner: usize) -> String {
    let data = format!(r#""contract_package_hash":"p","token_id":"{n}","owner_type":1,"owner_hash":"owner-{owner}""#);
    format!(r#"{{"data":{{{data},"is_burned":false}},"action":"created"}}"#)
}

#[tokio::test]
async fn what_rest_says_is_what_the_stream_has_told() {
    let (_lifecycle, emulator, rest) = rig(settings(), "emulator-key").await;
    let mut tokens = BTreeMap::new();
    for (stream, text) in World::new(7, Shape::default()).take(MESSAGES) {
        if stream == Stream::NftTokens {
            let message: serde_json::Value = serde_json::from_str(&text).unwrap();
            let field = |name: &str| message["data"][name].as_str().unwrap().to_owned();
            let (id, owner) = ((field("contract_package_hash"), field("token_id")), field("owner_hash"));
            match message["data"]["is_burned"].as_bool().unwrap() {
                true => tokens.remove(&id),
                false => tokens.insert(id, owner),
            };
        }
        emulator.send(stream, text).await;
    }
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    for ((package, _), owner) in tokens {
        *expected.entry((package, owner)).or_default() += 1;
    }
    let packages: Vec<String> = expected.keys().map(|(package, _)| package.clone()).collect();
    let owners: Vec<String> = expected.keys().map(|(_, owner)| owner.clone()).collect();
    assert!(expected.len() > 100, "{}", expected.len());
    let ways = packages.into_iter().map(Ownerships::Package).chain(owners.into_iter().map(Ownerships::Owner));
    for whose in ways {
        for row in ask(&rest, whose).await.unwrap() {
            assert_eq!(expected.get(&(row.contract_package_hash, row.owner_hash)), Some(&row.tokens_number));
        }
    }
    for ((package, owner), tokens) in expected {
        let rows = ask(&rest, Ownerships::OwnerInPackage { owner, package }).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.tokens_number).collect::<Vec<_>>(), [tokens]);
    }
}

#[tokio::test]
async fn all_pages_come_with_and_without_counters() {
    for owners in [0, 1, 249, 250, 251, 500, 777] {
        all_pages_come(owners, false).await;
        all_pages_come(owners, true).await;
    }
}

async fn all_pages_come(owners: usize, omits_counters: bool) {
    let rest = Some(RestSettings { omits_counters, ..RestSettings::default() });
    let (_lifecycle, emulator, rest) = rig(Settings { rest, ..settings() }, "emulator-key").await;
    for owner in 0..owners {
        emulator.send(Stream::NftTokens, mint(owner, owner)).await;
    }
    let mut seen = Vec::new();
    let walked = rest.ownerships(&of_package(), |rows, _| seen.push(rows)).await.unwrap();
    assert_eq!((walked.rows.len(), walked.missed()), (owners, 0));
    assert_eq!(seen.last(), Some(&owners));
    assert!(walked.rows.iter().all(|row| row.tokens_number == 1 && row.owner_type == Some(1)));
}

#[tokio::test]
async fn what_passes_is_asked_again_and_what_does_not_is_told_at_once() {
    let busy = Refusal { retry_after: Some("0".to_owned()), ..Refusal::text(429, "access limited") };
    let later = Refusal { retry_after: Some("3000".to_owned()), ..Refusal::text(429, "access limited") };
    // (refusal, how often, requests refused until the end, what is said, or nothing)
    let table = [
        (Refusal::text(503, "emulator-key"), 4, 4, None),
        (Refusal::text(503, "emulator-key"), 5, 5, Some("HTTP 503")),
        (busy, 3, 3, None),
        (later, 1, 1, Some("in 3000 s")),
        (Refusal::text(403, "emulator-key"), 1, 1, Some("source.api_key")),
        (Refusal::text(400, "emulator-key"), 1, 1, Some("HTTP 400")),
        (Refusal::text(404, "404 page not found\n"), 1, 1, Some("HTTP 404")),
    ];
    for (refusal, times, refused, expected) in table {
        let (_lifecycle, emulator, rest) = rig(settings(), "emulator-key").await;
        emulator.send(Stream::NftTokens, mint(1, 1)).await;
        emulator.refuse_next(times, &refusal);
        let outcome = ask(&rest, of_package()).await;
        assert_eq!(emulator.tally().refused, refused, "{refusal:?}");
        match (outcome, expected) {
            (Ok(rows), None) => assert_eq!(rows.len(), 1),
            (Err(error), Some(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
                assert!(!format!("{error} {error:?}").contains("emulator-key"), "{error:?}");
            }
            (outcome, _) => panic!("{refusal:?} gave {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn an_echoed_key_is_not_repeated() {
    let (_lifecycle, _emulator, rest) = rig(Settings { bad_key: BadKey::Echo, ..settings() }, "wrong-key").await;
    let error = ask(&rest, of_package()).await.unwrap_err();
    assert_eq!(error, RestError::KeyRefused { status: 401 });
    assert!(!format!("{error} {error:?} {rest:?}").contains("wrong-key"));
}

#[tokio::test]
async fn a_lagging_service_does_not_know_yet() {
    let lagging = Some(RestSettings { lag: Duration::from_secs(3600), ..RestSettings::default() });
    let (_lifecycle, emulator, rest) = rig(Settings { rest: lagging, ..settings() }, "emulator-key").await;
    emulator.send(Stream::NftTokens, mint(1, 1)).await;
    assert_eq!(ask(&rest, of_package()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn where_nothing_listens_no_connection_can_be_made() {
    let (lifecycle, emulator, rest) = rig(settings(), "emulator-key").await;
    lifecycle.drain().cancel();
    while tokio::net::TcpStream::connect(emulator.address()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = ask(&rest, of_package()).await.unwrap_err();
    assert!(error.to_string().contains("no connection could be made"), "{error}");
}
