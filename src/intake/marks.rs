//! Whose ownership an action may have changed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{ActionKind, Decoded, Stream, account_hash};
use crate::route::Router;
use crate::store::{Cause, Mark};

/// Hashes and public keys are not longer; what is, is no owner.
const OWNER_BYTES_MAX: usize = 68;

/// The marks of a batch, one for each owner and package: that of the last action.
#[derive(Default)]
pub(super) struct Marks(HashMap<(Arc<str>, Arc<str>), Arc<Cause>>);

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_marks(self) -> Vec<Mark> {
        self.0.into_iter().map(|((package, owner), cause)| Mark { package, owner, cause }).collect()
    }

    /// Takes account of a message; whether it marks anybody. What neither gives nor takes a token marks nobody.
    pub(super) fn take(&mut self, stream: Stream, decoded: &Decoded, router: &Router) -> bool {
        let facts = &decoded.facts;
        let Some(package) = facts.contract_package.as_deref().filter(|_| stream == Stream::NftTokenActions) else {
            return false;
        };
        let is_still =
            matches!(facts.kind, Some(ActionKind::Approve | ActionKind::MetadataUpdate | ActionKind::Revoke));
        if is_still || !router.watches(package) {
            return false;
        }
        let sides = [&facts.from, &facts.to].into_iter().filter_map(|side| owner(side.as_deref()?));
        let package: Arc<str> = package.into();
        let (event, deploy_hash, token_id) = (decoded.identity.id, facts.deploy_hash.clone(), facts.token_id.clone());
        let cause = Arc::new(Cause { event, deploy_hash, token_id });
        self.0.extend(sides.map(|owner| ((Arc::clone(&package), owner), Arc::clone(&cause))));
        true
    }
}

/// The hash of an owner; a public key is one of an account.
fn owner(text: &str) -> Option<Arc<str>> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() > OWNER_BYTES_MAX || !is_hex {
        return None;
    }
    Some(account_hash(text).map_or_else(|_| text.into(), Arc::from))
}
