//! Addresses in all their spellings.

use super::*;

fn guard(deny: &[&str]) -> Guard {
    Guard::new(&EgressConfig { deny: deny.iter().map(|net| net.parse().unwrap()).collect() })
}

#[test]
fn addresses_are_judged_in_every_spelling() {
    let deny = ["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.0/120"];
    let cases = [
        ("127.0.0.1", true),
        ("192.168.1.1", true),
        ("::1", true),
        ("fd00::1", true),
        ("2606:4700::1111", true),
        ("11.0.0.1", true),
        ("0.0.0.0", false),
        ("0.1.2.3", false),
        ("169.254.169.254", false),
        ("169.254.0.1", false),
        ("224.0.0.1", false),
        ("239.255.255.255", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        ("::", false),
        ("fe80::1", false),
        ("febf::1", false),
        ("ff02::1", false),
        ("fd00:ec2::254", false),
        ("::ffff:169.254.169.254", false),
        ("::169.254.169.254", false),
        ("64:ff9b::169.254.169.254", false),
        ("64:ff9b:1::169.254.169.254", false),
        ("64:ff9b::8.8.8.8", true),
        ("10.1.2.3", false),
        ("::ffff:10.1.2.3", false),
        ("64:ff9b::10.1.2.3", false),
        ("2001:db8::5", false),
        ("192.0.2.7", false),
    ];
    let guard = guard(&deny);
    for (address, expected) in cases {
        assert_eq!(guard.check(address.parse().unwrap()).is_ok(), expected, "{address}");
    }
}

#[test]
fn only_allowed_addresses_of_a_name_are_dialled() {
    let addresses = |list: &[&str]| list.iter().map(|one| one.parse::<SocketAddr>().unwrap()).collect::<Vec<_>>();
    let guard = guard(&["127.0.0.0/8"]);
    let mixed = addresses(&["127.0.0.1:0", "192.168.0.9:0", "[fe80::1%3]:0"]);
    assert_eq!(guard.filter(mixed.into_iter()).ok().unwrap().collect::<Vec<_>>(), addresses(&["192.168.0.9:0"]));
    let refused = guard.filter(addresses(&["127.0.0.1:0", "[::ffff:127.0.0.1]:0"]).into_iter()).err().unwrap();
    assert!(refused.is::<Forbidden>());
    assert!(guard.filter(std::iter::empty()).err().unwrap().is::<Unresolved>());
}

#[test]
fn hosts_in_odd_notation_become_plain_addresses_or_no_url() {
    let cases = [
        ("http://0xa9.0xfe.0xa9.0xfe/", Some("169.254.169.254")),
        ("http://2852039166/", Some("169.254.169.254")),
        ("http://[::ffff:a9fe:a9fe]/", Some("::ffff:169.254.169.254")),
        ("http://[fe80::1%25eth0]/", None),
    ];
    for (text, expected) in cases {
        let host = reqwest::Url::parse(text).ok().and_then(|url| crate::sink::webhook::literal_address(&url));
        assert_eq!(host, expected.map(|ip| ip.parse().unwrap()), "{text}");
    }
}
