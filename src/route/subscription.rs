//! Push-down: asking CSPR.cloud for less than everything, where that cannot lose a match.
//!
//! All parameters of a subscription must fit an event; of the values of one parameter any may. So a stream may be narrowed to the
//! union of what its routes name, if every one of them names something.

use std::collections::BTreeSet;

use crate::config::{MatchConfig, MatchKeys, PushDown, RouteConfig, Subscription};
use crate::event::Stream;

/// More connections than this for one stream, and it is taken whole over one. Streams that cannot be had whole are
/// the exception: they get as many as they need.
const CONNECTIONS_PER_STREAM_MAX: usize = 4;

/// Hashes in one parameter: 100 of them make an address of about 6.5 kB, which common proxies still let through.
const HASHES_PER_CONNECTION_MAX: usize = 100;

/// What to connect to for these routes. Streams that no route names are left out.
pub(crate) fn subscriptions(routes: &[RouteConfig], push_down: PushDown) -> Vec<Subscription> {
    let streams: BTreeSet<Stream> = routes.iter().map(|route| route.stream).collect();
    streams.into_iter().flat_map(|stream| of_stream(stream, routes, push_down)).collect()
}

fn of_stream(stream: Stream, routes: &[RouteConfig], push_down: PushDown) -> Vec<Subscription> {
    let matchers: Vec<&MatchConfig> = routes.iter().filter(|r| r.stream == stream).map(|r| &r.matcher).collect();
    let packages = union(&matchers, |keys| keys.contract_package.as_ref());
    let owners = union(&matchers, |keys| keys.owner.as_ref()).filter(|_| has_owner_filter(stream));
    if stream.needs_contract_package() {
        return packages.map(|packages| split(stream, &packages, &[])).unwrap_or_default();
    }
    let packages = packages.filter(|_| push_down != PushDown::Off).unwrap_or_default();
    let owners = owners.filter(|_| push_down == PushDown::PackagesAndOwners).unwrap_or_default();
    let narrowest_first = [split(stream, &packages, &owners), split(stream, &packages, &[])];
    let few = |split: &Vec<Subscription>| split.len() <= CONNECTIONS_PER_STREAM_MAX;
    narrowest_first.into_iter().find(few).unwrap_or_else(|| split(stream, &[], &[]))
}

/// Everything that the routes name by one key; none if one of them does not name it and so may match anything.
fn union(matchers: &[&MatchConfig], key: fn(&MatchKeys) -> Option<&Vec<String>>) -> Option<Vec<String>> {
    let mut all = BTreeSet::new();
    for matcher in matchers {
        match matcher {
            MatchConfig::All => return None,
            MatchConfig::Keys(keys) => all.extend(key(keys)?.iter().cloned()),
        }
    }
    Some(all.into_iter().collect())
}

/// The streams whose subscriptions can be narrowed by `owner_hash`. Others want public keys, which a hash does not
/// give, or call it differently.
fn has_owner_filter(stream: Stream) -> bool {
    matches!(stream, Stream::NftTokens | Stream::NftTokenActions | Stream::FtTokenActions)
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
