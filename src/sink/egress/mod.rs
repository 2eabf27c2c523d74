//! The egress guard: which addresses a sink may dial.
//!
//! A name is judged by the addresses it resolves to, at each new connection and on the very addresses that are then
//! dialled, so a name that changes its mind between check and use gains nothing. An address literal in the URL is
//! never resolved and is judged when the sink is built. A resolver that fails lets nothing through.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::EgressConfig;

/// Decides about addresses and resolves names to those it allows.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    deny: Arc<[IpNet]>,
}

/// Nothing that the name stands for may be dialled.
#[derive(Debug, thiserror::Error)]
#[error("egress to {address} is forbidden: {reason}")]
pub(super) struct Forbidden {
    address: IpAddr,
    reason: &'static str,
}

/// The name has no address now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("the name could not be resolved: {0}")]
    Failed(std::io::Error),
    #[error("the name has no address")]
    Empty,
}

impl Guard {
    pub(super) fn new(config: &EgressConfig) -> Self {
        Self { deny: config.deny.as_slice().into() }
    }

    /// Fails if the address must not be dialled.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let inner = embedded(address);
        if let Some(reason) = always_refused(inner) {
            return Err(Forbidden { address, reason });
        }
        // One host has several spellings, and a range may have been written for any of them.
        let mapped = match inner {
            IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
            IpAddr::V6(_) => inner,
        };
        match self.deny.iter().any(|net| [address, inner, mapped].iter().any(|one| net.contains(one))) {
            true => Err(Forbidden { address, reason: "it is in `egress.deny`" }),
            false => Ok(()),
        }
    }

    /// The addresses that a host stands for, as far as they may be dialled; at least one. An error is a [`Forbidden`]
    /// or an [`Unresolved`].
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(Unresolved::Failed)?;
        self.filter(found)
    }

    /// The addresses among `found` that may be dialled; if all are forbidden, why the last one is.
    fn filter(
        &self,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found {
            match self.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(forbidden) => refused = Some(forbidden),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(Box::new(allowed.into_iter())),
            (true, Some(forbidden)) => Err(forbidden.into()),
            (true, None) => Err(Unresolved::Empty.into()),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            // The client replaces port 0 by that of the URL.
            guard.addresses(name.as_str(), 0).await
        })
    }
}

/// The IPv4 address inside a mapped, compatible or NAT64 IPv6 address; any other address as it is.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let [w, x] = high.to_be_bytes();
    let [y, z] = low.to_be_bytes();
    let is_embedding = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, _, _, _] => true,
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0] => high != 0 || low > 1,
        _ => false,
    };
    if is_embedding { IpAddr::V4(Ipv4Addr::new(w, x, y, z)) } else { address }
}

/// Why nobody may ever dial the address; private and loopback ranges are the normal case inside a cluster.
fn always_refused(address: IpAddr) -> Option<&'static str> {
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("it is unspecified"),
            [169, 254, ..] => Some("it is link-local (cloud metadata)"),
            [224..=239, ..] => Some("it is multicast"),
            [240..=255, ..] => Some("it is reserved"),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unspecified() => Some("it is unspecified"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("it is link-local"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("it is multicast"),
        IpAddr::V6(METADATA) => Some("it is a cloud metadata service"),
        IpAddr::V6(_) => None,
    }
}
