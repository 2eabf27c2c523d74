//! Random routes meet random messages: the index gives what a walk over all routes gives, and what CSPR.cloud would
//! send on the subscriptions is enough.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{PushDown, Subscription};
use crate::emulator::Filter;
use crate::event::{Network, decode};

/// Few words, so that random routes and random events meet.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

/// Now and then a long list, so that splitting and giving up are met too.
fn words() -> impl Strategy<Value = Texts> {
    let short = prop::collection::vec(word(), 1..4);
    let long = (word(), 90..450_usize)
        .prop_map(|(word, count)| (0..count).map(|number| number.to_string()).chain([word]).collect::<Vec<_>>());
    prop_oneof![8 => short, 1 => long].prop_map(|words| words.into_iter().collect())
}

fn condition() -> impl Strategy<Value = Condition> {
    let keys = vec![Key::Action, Key::ContractPackage, Key::TokenId, Key::Owner, Key::From, Key::To, Key::Kind];
    let listed = (prop::sample::select(keys), words()).prop_map(|(key, words)| Condition::OneOf(key, words));
    let found = prop::sample::select(vec!["/data/token_id", "/extra/owner_hash", "/data/nowhere"])
        .prop_flat_map(|pointer| (Just(pointer), word()))
        .prop_map(|(pointer, word)| wherever(&format!("{{ {pointer}: {word} }}")));
    let leaf = prop_oneof![8 => listed, 1 => found];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let part = prop::collection::vec(inner, 1..3).prop_map(matcher);
        let parts = prop::collection::vec(part.clone(), 1..4);
        prop_oneof![
            2 => parts.clone().prop_map(Condition::Any),
            1 => parts.prop_map(Condition::All),
            1 => part.prop_map(Condition::Not),
        ]
    })
}

/// The condition of a `where` with one pointer.
fn wherever(text: &str) -> Condition {
    let yaml = format!(
        "source: {{ network: testnet, api_key: '${{NONE:-x}}' }}\nsinks: {{ bus: {{ stdout: }} }}\n\
         routes: {{ one: {{ match: {{ where: {text} }}, sinks: bus }} }}\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &yaml).unwrap();
    crate::config::load(file.path()).unwrap().config.routes.remove(0).matcher.conditions.remove(0)
}

fn any_stream() -> impl Strategy<Value = Stream> {
    prop::sample::select(vec![Stream::NftTokens, Stream::NftTokenActions, Stream::FtTokenActions, Stream::Deploys])
}

fn any_route() -> impl Strategy<Value = RouteConfig> {
    let sinks = prop::sample::subsequence(vec!["bus", "hook"], 1..=2);
    (any_stream(), prop::collection::vec(condition(), 0..4), sinks, "[a-z]{6}")
        .prop_map(|(stream, conditions, sinks, name)| route(&name, stream, conditions, &sinks))
}

/// A message of any stream: a field that a stream does not know is of no consequence.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let field = || prop_oneof![9 => word().prop_map(Value::from), 1 => Just(Value::Null)];
    let hashes = (field(), field(), field(), field(), field());
    (word(), word(), word(), 1..8_u64, hashes).prop_map(|(action, package, token, kind, hashes)| {
        let (owner, from, to, caller, named) = hashes;
        let data = json!({
            "contract_package_hash": package, "token_id": token, "nft_action_id": kind,
            "owner_hash": owner, "from_hash": from, "to_hash": to, "caller_hash": caller,
        });
        json!({ "data": data, "action": action, "extra": { "owner_hash": named } }).to_string().into_bytes()
    })
}

fn any_push_down() -> impl Strategy<Value = PushDown> {
    prop::sample::select(vec![PushDown::Off, PushDown::Packages, PushDown::PackagesAndOwners])
}

/// What every route says for itself, in order.
fn walk(routes: &[RouteConfig], stream: Stream, facts: &Facts, body: &[u8]) -> Matched {
    let mut matched = Matched::default();
    for route in routes.iter().filter(|route| route.stream == stream) {
        if matches(&route.matcher, &Subject::new(facts, body)) {
            route.sinks.iter().for_each(|sink| matched.add(sink, &route.name));
        }
    }
    matched
}

fn arrives(subscription: &Subscription, stream: Stream, body: &[u8]) -> bool {
    let query = [("contract_package_hash", &subscription.contract_packages), ("owner_hash", &subscription.owners)]
        .iter()
        .map(|(name, values)| format!("{name}={}", values.join(",")))
        .collect::<Vec<_>>();
    let filter = Filter::parse(stream, &query.join("&")).unwrap();
    subscription.stream == stream && filter.wants(std::str::from_utf8(body).unwrap())
}

proptest! {
    #[test]
    fn the_index_gives_what_a_walk_over_all_routes_gives(
        routes in prop::collection::vec(any_route(), 1..30),
        events in prop::collection::vec((any_stream(), any_message()), 1..20),
    ) {
        let router = Router::new(&routes);
        for (stream, body) in &events {
            let facts = decode(Network::Testnet, *stream, body).unwrap().facts;
            let expected = walk(&routes, *stream, &facts, body);
            prop_assert_eq!(router.route(*stream, &facts, body), expected, "{} {:?}", stream, facts);
        }
    }

    #[test]
    fn push_down_never_loses_a_match(
        routes in prop::collection::vec(any_route(), 1..5),
        events in prop::collection::vec((any_stream(), any_message()), 1..50),
        push_down in any_push_down(),
    ) {
        let router = Router::new(&routes);
        let subscriptions = subscriptions(&routes, push_down);
        for (stream, body) in &events {
            let facts = decode(Network::Testnet, *stream, body).unwrap().facts;
            let is_wanted = !router.route(*stream, &facts, body).sinks.is_empty();
            let is_sent = subscriptions.iter().any(|subscription| arrives(subscription, *stream, body));
            prop_assert!(is_sent || !is_wanted, "{stream} {facts:?} {subscriptions:?}");
        }
    }
}
