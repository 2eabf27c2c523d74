//! `headers`: what an operator adds to every request.

use std::collections::BTreeSet;

use reqwest::header::HeaderName;
use secrecy::ExposeSecret;

use super::super::Secret;
use super::super::reader::Place;
use super::super::settings::header_text;
use super::super::shape::{Named, NoMapping, Node, Text};

/// What the name of a header looks like, as a regular expression.
pub(super) const HEADER_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// Headers that the relay or HTTP itself sets.
const RESERVED_HEADERS: [&str; 12] = [
    "authority",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
];
const RESERVED_PREFIXES: [&str; 2] = ["webhook-", "cspr-relay-"];

pub(super) fn headers(parent: &Place<'_>, node: Option<Node<Named<NoMapping>>>) -> Vec<(String, Secret)> {
    let (headers, place) = parent.map("headers", node);
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for (key, node) in headers.0 {
        let name = key.name.to_ascii_lowercase();
        if let Err(reason) = header_name(&name) {
            place.key(&key.name, key.at).fault(reason);
        } else if !names.insert(name.clone()) {
            place.key(&key.name, key.at).fault("this header is given twice; case does not matter");
        }
        if let Some(value) = header_value(&place.key(&key.name, node.at), &node, &name) {
            read.push((key.name, value));
        }
    }
    read
}

fn header_name(lower: &str) -> Result<(), String> {
    if HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("this cannot be the name of a header".to_owned());
    }
    let is_reserved =
        RESERVED_HEADERS.contains(&lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if is_reserved {
        return Err(format!("the relay sets `{lower}` itself"));
    }
    Ok(())
}

fn header_value(place: &Place<'_>, node: &Text, name: &str) -> Option<Secret> {
    let looks_secret = ["auth", "key", "secret", "token", "password", "cookie"].iter().any(|word| name.contains(word));
    let value = place.secret(node, !looks_secret)?;
    header_text(value.current().expose_secret()).map_err(|reason| place.fault(reason)).ok()?;
    Some(value)
}
