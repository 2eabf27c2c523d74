//! Push-down: asking CSPR.cloud for less than everything, where that cannot lose a match.
//!
//! All parameters of a subscription must fit an event; of the values of one parameter any may. So a stream may be
//! narrowed to the union of what its routes name, if each of them can only match events that have what it names:
//! directly, or in every alternative of an `any`. What stands in a `not` names nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::config::{Key, PushDown, RouteConfig, Subscription, Texts};
use crate::event::Stream;

/// More connections than this for one stream, and it is taken whole over one. Streams that cannot be had whole are
/// the exception: they get as many as they need.
const CONNECTIONS_PER_STREAM_MAX: usize = 4;

/// Hashes in one parameter: 100 of them make an address of about 6.5 kB, which common proxies still let through.
const HASHES_PER_CONNECTION_MAX: usize = 100;

/// What is subscribed to for a stream, and why. Prints as `subscribes to … because …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) stream: Stream,
    /// One connection each.
    pub(crate) subscriptions: Vec<Subscription>,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    ByPackageOnly,
    /// With the number of packages.
    OurOwn(usize),
    PackagesNamed,
    PackagesAndOwnersNamed,
    OwnersNamed,
    Off,
    /// The first route that names no package, and how many others there are.
    Unnamed(Arc<str>, usize),
    TooMany,
}

/// What to connect to for these routes.
pub(crate) fn subscriptions(routes: &[RouteConfig], push_down: PushDown) -> Vec<Subscription> {
    plans(routes, push_down).into_iter().flat_map(|plan| plan.subscriptions).collect()
}

/// What to connect to for each stream, and why. Streams that no route names are left out.
pub(crate) fn plans(routes: &[RouteConfig], push_down: PushDown) -> Vec<Plan> {
    let streams: BTreeSet<Stream> = routes.iter().flat_map(|route| asked_for(route.stream)).collect();
    // What the relay notices about itself is not asked for.
    let streams = streams.into_iter().filter(|stream| !stream.is_operational());
    streams.map(|stream| plan(stream, routes, push_down)).collect()
}

/// The contract packages whose ownership is watched: those that the routes of that stream name.
pub(crate) fn watched(routes: &[RouteConfig]) -> BTreeSet<Arc<str>> {
    let own = routes.iter().filter(|route| route.stream == Stream::NftTokenOwnership);
    // Each names at least one: else the configuration has a fault.
    let named = own.filter_map(|route| route.matcher.implied(Key::ContractPackage));
    named.flat_map(|packages| packages.iter().cloned().collect::<Vec<_>>()).collect()
}

/// The streams that a route of `stream` needs: actions say whose ownership changed.
fn asked_for(stream: Stream) -> impl Iterator<Item = Stream> {
    let others = (stream == Stream::NftTokenOwnership).then_some(Stream::NftTokenActions);
    std::iter::once(stream).chain(others)
}

fn plan(stream: Stream, routes: &[RouteConfig], push_down: PushDown) -> Plan {
    let is_watching = routes.iter().any(|route| route.stream == Stream::NftTokenOwnership);
    let routes: Vec<&RouteConfig> =
        routes.iter().filter(|route| asked_for(route.stream).any(|asked| asked == stream)).collect();
    if stream.is_our_own() {
        return Plan { stream, subscriptions: Vec::new(), reason: Reason::OurOwn(watched_by(&routes)) };
    }
    let packages = union(&routes, Key::ContractPackage);
    if stream.needs_contract_package() {
        let subscriptions = packages.map(|packages| split(stream, &packages, &[])).unwrap_or_default();
        return Plan { stream, subscriptions, reason: Reason::ByPackageOnly };
    }
    let is_narrowing = push_down != PushDown::Off;
    // Whoever owns tokens of a watched package, each action of it counts.
    let is_watched = is_watching && stream == Stream::NftTokenActions;
    let is_by_owner = push_down == PushDown::PackagesAndOwners && has_owner_filter(stream) && !is_watched;
    let owners = union(&routes, Key::Owner).filter(|_| is_by_owner).unwrap_or_default();
    let packages_pushed = packages.as_deref().filter(|_| is_narrowing).unwrap_or_default();
    let narrowest_first = [(packages_pushed, owners.as_slice()), (packages_pushed, &[])];
    for (packages, owners) in narrowest_first {
        let reason = match (packages, owners) {
            ([], []) => continue,
            ([], _) => Reason::OwnersNamed,
            (_, []) => Reason::PackagesNamed,
            _ => Reason::PackagesAndOwnersNamed,
        };
        if connections(packages, owners) <= CONNECTIONS_PER_STREAM_MAX {
            return Plan { stream, subscriptions: split(stream, packages, owners), reason };
        }
    }
    let reason = if is_narrowing { why_whole(&routes) } else { Reason::Off };
    Plan { stream, subscriptions: split(stream, &[], &[]), reason }
}

fn watched_by(routes: &[&RouteConfig]) -> usize {
    union(routes, Key::ContractPackage).map_or(0, |packages| packages.len())
}

fn why_whole(routes: &[&RouteConfig]) -> Reason {
    let mut unnamed = routes.iter().filter(|route| route.matcher.implied(Key::ContractPackage).is_none());
    match unnamed.next() {
        Some(route) => Reason::Unnamed(Arc::clone(&route.name), unnamed.count()),
        None => Reason::TooMany,
    }
}

/// Everything that the routes name by one key; none if one of them does not name it and so may match anything.
fn union(routes: &[&RouteConfig], key: Key) -> Option<Vec<String>> {
    let implied: Option<Vec<Texts>> = routes.iter().map(|route| route.matcher.implied(key)).collect();
    let all: BTreeSet<String> = implied?.iter().flat_map(Texts::iter).map(ToString::to_string).collect();
    Some(all.into_iter().collect())
}

/// The streams whose subscriptions can be narrowed by `owner_hash`. Others want public keys, which a hash does not
/// give, or call it differently.
fn has_owner_filter(stream: Stream) -> bool {
    matches!(stream, Stream::NftTokens | Stream::NftTokenActions | Stream::FtTokenActions)
}

fn connections(packages: &[String], owners: &[String]) -> usize {
    let chunks = |hashes: &[String]| hashes.len().div_ceil(HASHES_PER_CONNECTION_MAX).max(1);
    chunks(packages) * chunks(owners)
}

/// One subscription for each pair of chunks; an empty list is one chunk that filters nothing.
fn split(stream: Stream, packages: &[String], owners: &[String]) -> Vec<Subscription> {
    let mut subscriptions = Vec::new();
    for contract_packages in chunks(packages) {
        for owners in chunks(owners) {
            let contract_packages = contract_packages.to_vec();
            subscriptions.push(Subscription { stream, contract_packages, owners: owners.to_vec() });
        }
    }
    subscriptions
}

fn chunks(hashes: &[String]) -> impl Iterator<Item = &[String]> {
    let unfiltered: Option<&[String]> = hashes.is_empty().then_some(&[]);
    unfiltered.into_iter().chain(hashes.chunks(HASHES_PER_CONNECTION_MAX))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Reason::OurOwn(packages) = self.reason {
            let noun = if packages == 1 { "package" } else { "packages" };
            let actions = Stream::NftTokenActions;
            return write!(f, "makes {} of {packages} {noun}, by {actions} and the REST API", self.stream);
        }
        let distinct = |list: fn(&Subscription) -> &Vec<String>| {
            self.subscriptions.iter().flat_map(list).collect::<BTreeSet<_>>().len()
        };
        let named = [
            (distinct(|one| &one.contract_packages), "package", "packages"),
            (distinct(|one| &one.owners), "owner", "owners"),
        ];
        let named = named.iter().filter(|(count, ..)| *count > 0);
        let named: Vec<String> =
            named.map(|&(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect();
        match named.as_slice() {
            [] => write!(f, "subscribes to all of {}", self.stream)?,
            named => write!(f, "subscribes to {} for {}", self.stream, named.join(" and "))?,
        }
        if self.subscriptions.len() > 1 {
            write!(f, " over {} connections", self.subscriptions.len())?;
        }
        write!(f, ", because {}", self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OurOwn(_) => f.write_str("the relay makes this stream"),
            Self::ByPackageOnly => f.write_str("CSPR.cloud gives this stream by package only"),
            Self::PackagesNamed => f.write_str("every route names its packages"),
            Self::OwnersNamed => f.write_str("every route names its owners, and push_down is packages_and_owners"),
            Self::PackagesAndOwnersNamed => {
                f.write_str("every route names packages and owners, and push_down is packages_and_owners")
            }
            Self::Off => f.write_str("push_down is off"),
            Self::Unnamed(route, 0) => write!(f, "the route `{route}` can match any package"),
            Self::Unnamed(route, others) => {
                let noun = if *others == 1 { "other" } else { "others" };
                write!(f, "the route `{route}` and {others} {noun} can match any package")
            }
            Self::TooMany => {
                let most = CONNECTIONS_PER_STREAM_MAX * HASHES_PER_CONNECTION_MAX;
                write!(f, "the routes name more than the {most} packages that fit into a few connections")
            }
        }
    }
}
