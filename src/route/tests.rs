//! What matches, and that push-down loses none of it.

use proptest::prelude::*;

use super::*;
use crate::config::{MatchConfig, MatchKeys, PushDown, Subscription};

fn list(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|&text| text.to_owned()).collect())
}

fn route(name: &str, stream: Stream, matcher: MatchConfig, sinks: &[&str]) -> RouteConfig {
    let sinks = sinks.iter().map(|&sink| SinkName(sink.into())).collect();
    RouteConfig { name: name.into(), stream, matcher, sinks }
}

fn keys(stream: Stream, keys: MatchKeys) -> RouteConfig {
    route("one", stream, MatchConfig::Keys(keys), &["bus"])
}

/// A transfer of token 119 of package `p`, from `a` to `b`, whose owner is `b`.
fn transfer() -> Facts {
    Facts {
        action: "updated".into(),
        contract_package: Some("p".into()),
        token_id: Some("119".into()),
        owner: Some("b".into()),
        from: Some("a".into()),
        to: Some("b".into()),
        ..Facts::default()
    }
}

#[test]
fn a_list_is_an_or_and_keys_are_an_and() {
    let none = MatchKeys::default;
    for (expected, matcher) in [
        (true, MatchKeys { action: list(&["created", "updated"]), ..none() }),
        (false, MatchKeys { action: list(&["created"]), ..none() }),
        (true, MatchKeys { contract_package: list(&["q", "p"]), ..none() }),
        (false, MatchKeys { contract_package: list(&["q"]), ..none() }),
        (true, MatchKeys { token_id: list(&["119"]), ..none() }),
        (false, MatchKeys { token_id: list(&["0119", "11"]), ..none() }),
        (true, MatchKeys { owner: list(&["b"]), ..none() }),
        (true, MatchKeys { owner: list(&["a"]), ..none() }),
        (false, MatchKeys { owner: list(&["c", "p"]), ..none() }),
        (true, MatchKeys { contract_package: list(&["p"]), token_id: list(&["119"]), ..none() }),
        (false, MatchKeys { contract_package: list(&["p"]), token_id: list(&["120"]), ..none() }),
        (false, MatchKeys { contract_package: list(&[]), ..none() }),
        (true, none()),
    ] {
        let router = Router::new(&[keys(Stream::NftTokens, matcher.clone())]);
        assert_eq!(!router.route(Stream::NftTokens, &transfer()).sinks.is_empty(), expected, "{matcher:?}");
    }
}

#[test]
fn what_an_event_lacks_matches_no_list() {
    let none = MatchKeys::default;
    for matcher in [
        MatchKeys { contract_package: list(&[""]), ..none() },
        MatchKeys { owner: list(&[""]), ..none() },
        MatchKeys { token_id: list(&[""]), ..none() },
    ] {
        let router = Router::new(&[keys(Stream::NftTokens, matcher)]);
        assert!(router.route(Stream::NftTokens, &Facts::default()).sinks.is_empty());
    }
}

#[test]
fn a_sink_gets_an_event_once_with_the_names_of_all_routes() {
    let router = Router::new(&[
        route("b", Stream::NftTokens, MatchConfig::All, &["bus", "hook"]),
        route("a", Stream::NftTokens, MatchConfig::All, &["bus"]),
        route("c", Stream::Transfers, MatchConfig::All, &["bus"]),
    ]);
    let matched = router.route(Stream::NftTokens, &transfer());
    let seen: Vec<(String, Vec<&str>)> = matched
        .sinks
        .iter()
        .map(|entry| (entry.sink.to_string(), entry.routes.iter().map(|name| &**name).collect()))
        .collect();
    assert_eq!(seen, [("bus".to_owned(), vec!["b", "a"]), ("hook".to_owned(), vec!["b"])]);
    assert!(router.route(Stream::Blocks, &transfer()).sinks.is_empty());
}

fn packages(count: usize) -> MatchKeys {
    MatchKeys { contract_package: Some((0..count).map(|n| format!("{n:064x}")).collect()), ..MatchKeys::default() }
}

fn sizes(routes: &[RouteConfig], push_down: PushDown) -> Vec<(usize, usize)> {
    let subscriptions = subscriptions(routes, push_down);
    subscriptions.iter().map(|one| (one.contract_packages.len(), one.owners.len())).collect()
}

#[test]
fn packages_are_split_over_four_connections_at_most() {
    for (count, expected) in [
        (1, vec![(1, 0)]),
        (100, vec![(100, 0)]),
        (101, vec![(100, 0), (1, 0)]),
        (400, vec![(100, 0); 4]),
        (401, vec![(0, 0)]),
    ] {
        assert_eq!(sizes(&[keys(Stream::NftTokens, packages(count))], PushDown::Packages), expected, "{count}");
    }
}

#[test]
fn a_stream_that_must_be_filtered_always_is() {
    let routes = [keys(Stream::ContractEvents, packages(450))];
    for push_down in [PushDown::Off, PushDown::Packages, PushDown::PackagesAndOwners] {
        assert_eq!(sizes(&routes, push_down), [(100, 0), (100, 0), (100, 0), (100, 0), (50, 0)]);
    }
}

#[test]
fn owners_are_pushed_only_on_request_and_given_up_first() {
    let with_owners = |count: usize, owners: usize| MatchKeys {
        owner: Some((0..owners).map(|n| format!("{n:064x}")).collect()),
        ..packages(count)
    };
    let few = [keys(Stream::NftTokens, with_owners(2, 3))];
    assert_eq!(sizes(&few, PushDown::Packages), [(2, 0)]);
    assert_eq!(sizes(&few, PushDown::PackagesAndOwners), [(2, 3)]);
    assert_eq!(sizes(&few, PushDown::Off), [(0, 0)]);
    let many = [keys(Stream::NftTokens, with_owners(300, 101))];
    assert_eq!(sizes(&many, PushDown::PackagesAndOwners), [(100, 0); 3]);
    let no_owner_hash = [keys(Stream::ContractPackages, with_owners(2, 3))];
    assert_eq!(sizes(&no_owner_hash, PushDown::PackagesAndOwners), [(2, 0)]);
}

#[test]
fn one_route_without_packages_opens_the_stream() {
    let routes = [
        keys(Stream::NftTokens, packages(1)),
        route("all", Stream::NftTokens, MatchConfig::All, &["bus"]),
        keys(Stream::Transfers, packages(1)),
    ];
    assert_eq!(sizes(&routes, PushDown::Packages), [(0, 0), (1, 0)]);
}

/// What CSPR.cloud sends on a connection: AND between parameters, OR inside one.
fn is_sent(subscription: &Subscription, stream: Stream, facts: &Facts) -> bool {
    let names = |list: &[String], text: &Option<Box<str>>| {
        text.as_deref().is_some_and(|text| list.iter().any(|item| item == text))
    };
    let has_package =
        subscription.contract_packages.is_empty() || names(&subscription.contract_packages, &facts.contract_package);
    let has_owner = subscription.owners.is_empty()
        || [&facts.owner, &facts.from, &facts.to].into_iter().any(|side| names(&subscription.owners, side));
    subscription.stream == stream && has_package && has_owner
}

/// Few words, so that random routes and random events meet.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

/// Now and then a long list, so that splitting and giving up are met too.
fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    let short = prop::collection::vec(word(), 1..4);
    let long = (word(), 90..450_usize)
        .prop_map(|(word, count)| (0..count).map(|n| n.to_string()).chain([word]).collect::<Vec<_>>());
    prop::option::of(prop_oneof![4 => short, 1 => long])
}

fn any_stream() -> impl Strategy<Value = Stream> {
    prop::sample::select(vec![Stream::NftTokens, Stream::NftTokenActions, Stream::Deploys])
}

fn any_route() -> impl Strategy<Value = RouteConfig> {
    let matcher = prop_oneof![
        1 => Just(MatchConfig::All),
        9 => (words(), words(), words(), words()).prop_map(|(action, contract_package, owner, token_id)| {
            MatchConfig::Keys(MatchKeys { action, contract_package, owner, token_id })
        }),
    ];
    (any_stream(), matcher).prop_map(|(stream, matcher)| route("one", stream, matcher, &["bus"]))
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let field = || prop::option::weighted(0.9, word().prop_map(String::into_boxed_str));
    (word(), field(), field(), field(), field(), field()).prop_map(
        |(action, contract_package, token_id, owner, from, to)| Facts {
            action: action.into(),
            contract_package,
            token_id,
            owner,
            from,
            to,
            ..Facts::default()
        },
    )
}

fn any_push_down() -> impl Strategy<Value = PushDown> {
    prop::sample::select(vec![PushDown::Off, PushDown::Packages, PushDown::PackagesAndOwners])
}

proptest! {
    #[test]
    fn push_down_never_loses_a_match(
        routes in prop::collection::vec(any_route(), 1..5),
        events in prop::collection::vec((any_stream(), any_facts()), 1..50),
        push_down in any_push_down(),
    ) {
        let router = Router::new(&routes);
        let subscriptions = subscriptions(&routes, push_down);
        for (stream, facts) in &events {
            let is_wanted = !router.route(*stream, facts).sinks.is_empty();
            let arrives = subscriptions.iter().any(|subscription| is_sent(subscription, *stream, facts));
            prop_assert!(arrives || !is_wanted, "{stream} {facts:?} {subscriptions:?}");
        }
    }
}
