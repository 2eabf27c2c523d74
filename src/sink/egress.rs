//! Where requests may go: judged on the address that is really dialled.
//!
//! The guard sits in the resolver, so it sees every address of every new connection and a name cannot change its mind
//! between check and use. Hosts that are addresses never reach a resolver and are judged when the sink is built.
//! Private ranges are allowed, since the consumers are services in the same cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::EgressConfig;

/// An address that must not be dialled.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the address {address} is refused: {reason}")]
pub(super) struct Forbidden {
    address: IpAddr,
    reason: &'static str,
}

/// Name resolution failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name: {0}")]
pub(super) struct Unresolved(std::io::Error);

/// Judges addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    deny: Arc<[IpNet]>,
}

impl Guard {
    pub(super) fn new(config: &EgressConfig) -> Self {
        Self { deny: config.deny.as_slice().into() }
    }

    pub(super) fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let refused = |reason| Err(Forbidden { address, reason });
        let meant = canonical(address);
        if let Some(reason) = never(meant) {
            return refused(reason);
        }
        let is_denied = self.deny.iter().any(|net| net.contains(&meant) || net.contains(&address));
        if is_denied { refused("it lies in egress.deny") } else { Ok(()) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(Unresolved)?;
            let (mut allowed, mut refused) = (Vec::<SocketAddr>::new(), None);
            for address in found {
                match guard.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(forbidden) => refused = Some(forbidden),
                }
            }
            match (allowed.is_empty(), refused) {
                (true, Some(forbidden)) => Err(forbidden.into()),
                (true, None) => Err(Unresolved(std::io::ErrorKind::NotFound.into()).into()),
                (false, _) => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// The address that is meant: IPv4 addresses come in several IPv6 disguises.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        // NAT64, the well-known prefix and the local one.
        [0x64, 0xff9b, 0 | 1, .., high, low] => IpAddr::V4(v4(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => IpAddr::V4(v4(high, low)),
        // Long deprecated, still understood by some: `::a.b.c.d`.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => IpAddr::V4(v4(high, low)),
        _ => v6.to_canonical(),
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

/// Why an address is never dialled.
fn never(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("it is unspecified"),
            [169, 254, ..] => Some("it is link-local, where cloud metadata services live"),
            [224..=239, ..] => Some("it is multicast"),
            [240..=255, ..] => Some("it is reserved or broadcast"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            _ if v6 == Ipv6Addr::UNSPECIFIED => Some("it is unspecified"),
            [0xfe80..=0xfebf, ..] => Some("it is link-local"),
            [0xff00..=0xffff, ..] => Some("it is multicast"),
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some("it is a cloud metadata service"),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_what_they_mean() {
        let deny = vec!["10.9.0.0/16".parse().unwrap(), "fd12::/16".parse().unwrap()];
        let guard = Guard::new(&EgressConfig { deny });
        let allowed = [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ];
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "10.9.1.1",
            "::ffff:10.9.1.1",
            "fd12::7",
        ];
        for address in allowed {
            assert!(guard.check(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in refused {
            assert!(guard.check(address.parse().unwrap()).is_err(), "{address}");
        }
    }
}
