//! How streams are narrowed, and what is said about it.

use super::*;
use crate::config::PushDown;

fn hashes(count: usize) -> Texts {
    (0..count).map(|number| format!("{number:064x}")).collect()
}

fn packages(count: usize) -> Vec<Condition> {
    vec![Condition::OneOf(Key::ContractPackage, hashes(count))]
}

fn of(stream: Stream, conditions: Vec<Condition>) -> RouteConfig {
    route("one", stream, conditions, &["bus"])
}

/// Packages and owners of each connection.
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
        assert_eq!(sizes(&[of(Stream::NftTokens, packages(count))], PushDown::Packages), expected, "{count}");
    }
}

#[test]
fn a_stream_that_must_be_filtered_always_is() {
    let routes = [of(Stream::ContractEvents, packages(450))];
    for push_down in [PushDown::Off, PushDown::Packages, PushDown::PackagesAndOwners] {
        assert_eq!(sizes(&routes, push_down), [(100, 0), (100, 0), (100, 0), (100, 0), (50, 0)]);
    }
}

#[test]
fn owners_are_pushed_only_on_request_and_given_up_first() {
    let with_owners = |count, owners| {
        let mut conditions = packages(count);
        conditions.push(Condition::OneOf(Key::Owner, hashes(owners)));
        conditions
    };
    let few = [of(Stream::NftTokens, with_owners(2, 3))];
    assert_eq!(sizes(&few, PushDown::Packages), [(2, 0)]);
    assert_eq!(sizes(&few, PushDown::PackagesAndOwners), [(2, 3)]);
    assert_eq!(sizes(&few, PushDown::Off), [(0, 0)]);
    let many = [of(Stream::NftTokens, with_owners(300, 101))];
    assert_eq!(sizes(&many, PushDown::PackagesAndOwners), [(100, 0); 3]);
    let no_owner_hash = [of(Stream::ContractPackages, with_owners(2, 3))];
    assert_eq!(sizes(&no_owner_hash, PushDown::PackagesAndOwners), [(2, 0)]);
    let by_side = [of(Stream::NftTokenActions, vec![Condition::OneOf(Key::From, hashes(3))])];
    assert_eq!(sizes(&by_side, PushDown::PackagesAndOwners), [(0, 3)]);
}

#[test]
fn alternatives_add_up_and_not_narrows_nothing() {
    let part = |name: &str| matcher(vec![one_of(Key::ContractPackage, &[name])]);
    for (conditions, expected) in [
        (vec![Condition::Any(vec![part("a"), part("b")])], vec![(2, 0)]),
        (vec![Condition::Any(vec![part("a"), matcher(vec![one_of(Key::Action, &["created"])])])], vec![(0, 0)]),
        (vec![Condition::All(vec![part("a"), matcher(vec![])])], vec![(1, 0)]),
        (vec![Condition::Not(part("a"))], vec![(0, 0)]),
        (vec![one_of(Key::ContractPackage, &["a", "b"]), Condition::All(vec![part("a")])], vec![(1, 0)]),
    ] {
        assert_eq!(sizes(&[of(Stream::NftTokens, conditions)], PushDown::Packages), expected);
    }
}

#[test]
fn each_stream_is_told_with_its_reason() {
    let unnamed = |name: &str| route(name, Stream::NftTokens, vec![one_of(Key::Action, &["created"])], &["bus"]);
    let owned = |owners| vec![Condition::OneOf(Key::Owner, hashes(owners))];
    for (routes, push_down, expected) in [
        (
            vec![of(Stream::NftTokens, packages(101))],
            PushDown::Packages,
            "subscribes to nft-tokens for 101 packages over 2 connections, because every route names its packages",
        ),
        (
            vec![of(Stream::NftTokens, packages(1)), unnamed("mints")],
            PushDown::Packages,
            "subscribes to all of nft-tokens, because the route `mints` can match any package",
        ),
        (
            vec![unnamed("a"), unnamed("b"), unnamed("c")],
            PushDown::PackagesAndOwners,
            "subscribes to all of nft-tokens, because the route `a` and 2 others can match any package",
        ),
        (
            vec![of(Stream::NftTokens, packages(401))],
            PushDown::Packages,
            "subscribes to all of nft-tokens, because the routes name more than the 400 packages that fit into a few \
             connections",
        ),
        (
            vec![of(Stream::NftTokens, packages(1))],
            PushDown::Off,
            "subscribes to all of nft-tokens, because push_down is off",
        ),
        (
            vec![of(Stream::NftTokens, owned(1))],
            PushDown::PackagesAndOwners,
            "subscribes to nft-tokens for 1 owner, because every route names its owners, and push_down is \
             packages_and_owners",
        ),
        (
            vec![of(Stream::ContractEvents, packages(2))],
            PushDown::Off,
            "subscribes to contract-events for 2 packages, because CSPR.cloud gives this stream by package only",
        ),
    ] {
        let told: Vec<String> = plans(&routes, push_down).iter().map(ToString::to_string).collect();
        assert_eq!(told, [expected]);
    }
}

#[test]
fn one_route_without_packages_opens_the_stream() {
    let routes = [
        of(Stream::NftTokens, packages(1)),
        route("all", Stream::NftTokens, vec![], &["bus"]),
        of(Stream::Transfers, packages(1)),
    ];
    assert_eq!(sizes(&routes, PushDown::Packages), [(0, 0), (1, 0)]);
}

#[test]
fn ownership_is_watched_by_the_actions_of_its_packages() {
    let whales = of(Stream::NftTokenOwnership, packages(2));
    assert_eq!(watched(std::slice::from_ref(&whales)).len(), 2);
    let by_owner = of(Stream::NftTokenActions, vec![Condition::OneOf(Key::Owner, hashes(3)), packages(5).remove(0)]);
    let all = of(Stream::NftTokenActions, Vec::new());
    // (other routes, packages and owners of the connections for actions)
    let table = [(vec![], (2, 0)), (vec![by_owner], (5, 0)), (vec![all], (0, 0))];
    for (others, expected) in table {
        let routes: Vec<RouteConfig> = others.into_iter().chain([whales.clone()]).collect();
        assert_eq!(sizes(&routes, PushDown::PackagesAndOwners), [expected], "every action of a watched package counts");
        let router = Router::new(&routes);
        assert!(router.watches(&format!("{:064x}", 1)) && !router.watches(&format!("{:064x}", 4)));
    }
    let told: Vec<String> = plans(&[whales], PushDown::Packages).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "subscribes to nft-token-actions for 2 packages, because every route names its packages",
            "makes nft-token-ownership of 2 packages, by nft-token-actions and the REST API"
        ]
    );
}
