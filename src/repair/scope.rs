//! What can be asked about a stream: the packages and owners that its routes name.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::config::{Key, RouteConfig};
use crate::event::Stream;

/// Stands for what routes want of a stream.
pub(super) fn fingerprint(routes: &[RouteConfig], stream: Stream) -> u64 {
    let own = routes.iter().filter(|route| route.stream == stream);
    let text: String = own.map(|route| format!("{:?} ", route.matcher)).collect();
    // Sets are written in any order.
    let mut words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).collect();
    words.sort_unstable();
    let digest = Sha256::digest(words.join(" "));
    digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// Whom to ask about, and which routes want more than that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) packages: BTreeSet<String>,
    /// Of routes that name no package.
    pub(super) owners: BTreeSet<String>,
    /// Routes that name neither.
    pub(super) unnamed: Vec<String>,
}

impl Scope {
    pub(super) fn of(routes: &[RouteConfig], stream: Stream) -> Self {
        let mut scope = Self::default();
        for route in routes.iter().filter(|route| route.stream == stream) {
            let implied = |key| route.matcher.implied(key);
            if let Some(packages) = implied(Key::ContractPackage) {
                scope.packages.extend(packages.iter().map(ToString::to_string));
            } else if let Some(owners) = implied(Key::Owner) {
                scope.owners.extend(owners.iter().map(ToString::to_string));
            } else {
                scope.unnamed.push(route.name.to_string());
            }
        }
        scope
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.owners.is_empty()
    }
}
