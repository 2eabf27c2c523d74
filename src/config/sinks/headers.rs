//! `headers`: what an operator adds to every request.

use std::collections::BTreeSet;

use reqwest::header::HeaderName;
use secrecy::ExposeSecret;

use super::super::Secret;
use super::super::expand::{self, Piece};
use super::super::reader::Place;
use super::super::settings::header_text;
use super::super::shape::{Named, NoMapping, Node, Text};
use super::super::template::{ChainText, Own, Template, TemplatePart};

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
const RESERVED_PREFIXES: [&str; 4] = ["webhook-", "cspr-relay-", "ce-", "ce_"];

/// The value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderText {
    /// The same for every event, and perhaps secret.
    Fixed(Secret),
    /// Differs from event to event, and is not secret.
    Template(Template),
}

pub(super) fn headers(
    parent: &Place<'_>,
    node: Option<Node<Named<NoMapping>>>,
    own: &Own<'_>,
) -> Vec<(String, HeaderText)> {
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
        let place = place.key(&key.name, node.at);
        let value = match template(&node, &place) {
            Some(text) => header_template(&place, text, own).map(HeaderText::Template),
            None => header_value(&place, &node, looks_secret(&name)).map(HeaderText::Fixed),
        };
        read.extend(value.map(|value| (key.name, value)));
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

/// The words that names of headers with secrets in them have.
const SECRET_WORDS: [&str; 6] = ["auth", "key", "secret", "token", "password", "cookie"];

fn looks_secret(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn header_value(place: &Place<'_>, node: &Text, looks_secret: bool) -> Option<Secret> {
    let value = place.secret(node, !looks_secret)?;
    header_text(value.current().expose_secret()).map_err(|reason| place.fault(reason)).ok()?;
    Some(value)
}

/// A value with `{{` in it is a template. It is kept and shown as plain text, so what may be secret stays out of it.
fn template<'n>(node: &'n Text, place: &'n Place<'_>) -> Option<&'n str> {
    node.spelling(place.document.source).filter(|text| text.contains("{{"))
}

fn header_template(place: &Place<'_>, text: &str, own: &Own<'_>) -> Option<Template> {
    let pieces = expand::pieces(text).map_err(|reason| place.fault(reason)).ok()?;
    let [Piece::Literal(text)] = pieces.as_slice() else {
        let hint = "what a reference stands for may be secret: give it a header of its own".to_owned();
        place.fault_with("a value with `{{ }}` in it cannot have `${…}` too", Some(hint));
        return None;
    };
    let template = place.parse_template(text, own, ChainText::Allowed)?;
    // Values of fields are encoded when they are filled in.
    let sample: String =
        template.0.iter().map(|part| if let TemplatePart::Text(text) = part { text } else { "x" }).collect();
    header_text(&sample).map_err(|reason| place.fault(reason)).ok()?;
    Some(template)
}
