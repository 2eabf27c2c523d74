//! Whether the relay has accepted an event before.

use crate::config::IdentityRule;
use crate::event::{Decoded, Stream};
use crate::store::{Events, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Accepted(u64),
    /// Not itself, but one of the same package, token and deploy, which is enough for `dedup.identity: deploy_token`.
    SameDeploy(u64),
    New,
    /// There is no store, or none that can be read.
    NoStore,
}

/// How many events of a token are looked through for one of the same deploy.
const TOKEN_EVENTS_MAX: usize = 1000;

/// Looks an event of `stream` up.
pub(super) fn look_up(
    store: Option<&Events>,
    rule: IdentityRule,
    stream: Stream,
    decoded: &Decoded,
) -> anyhow::Result<Known> {
    let Some(store) = store else { return Ok(Known::NoStore) };
    if let Some(sequence) = store.find_id(decoded.identity.id)? {
        return Ok(Known::Accepted(sequence));
    }
    let same = if rule == IdentityRule::DeployToken { same_deploy(store, stream, decoded)? } else { None };
    Ok(same.map_or(Known::New, Known::SameDeploy))
}

fn same_deploy(store: &Events, stream: Stream, decoded: &Decoded) -> anyhow::Result<Option<u64>> {
    let facts = &decoded.facts;
    let (Some(package), Some(token), Some(_)) = (&facts.contract_package, &facts.token_id, &facts.deploy_hash) else {
        return Ok(None);
    };
    for sequence in store.find_token(Token { contract_package: package, token_id: token }, None, TOKEN_EVENTS_MAX)? {
        let history = store.history(sequence)?.filter(|history| history.stream == stream);
        let deploy = history.and_then(|history| history.facts?.deploy_hash);
        if deploy == facts.deploy_hash {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}
