//! Filling in templates: a text for one delivery.

use std::borrow::Cow;

use super::{ENCODED, VALUE_BYTES_MAX, encode};
use crate::config::{Field, Template, TemplatePart};
use crate::event::{ActionKind, Delivery};
use crate::sink::Failure;

/// The event does not have a field that a template names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event has no `{}`, which a template of this sink names", .0.as_str())]
pub(crate) struct Missing(pub(crate) Field);

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Failure::invalid(missing.to_string())
    }
}

/// The text that a template makes of a delivery, with the values as they are.
pub(crate) fn render<'a>(template: &'a Template, delivery: &'a Delivery) -> Result<Cow<'a, str>, Missing> {
    fill(template, delivery, |value| value)
}

/// The same for the value of a header: in what stands in for a field, everything but visible ASCII is percent-encoded.
pub(crate) fn render_header<'a>(template: &'a Template, delivery: &'a Delivery) -> Result<Cow<'a, str>, Failure> {
    let value = fill(template, delivery, |value| encode(value, ENCODED))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Failure::invalid(format!(
            "a header would get {} bytes, of at most {VALUE_BYTES_MAX}",
            value.len()
        )));
    }
    Ok(value)
}

fn fill<'a>(
    template: &'a Template,
    delivery: &'a Delivery,
    encode: impl Fn(Cow<'a, str>) -> Cow<'a, str>,
) -> Result<Cow<'a, str>, Missing> {
    let part = |part: &'a TemplatePart| match part {
        TemplatePart::Text(text) => Ok(Cow::Borrowed(text.as_str())),
        TemplatePart::Field(field) => value(*field, delivery).map(&encode).ok_or(Missing(*field)),
    };
    match template.0.as_slice() {
        [one] => part(one),
        many => many.iter().map(part).collect::<Result<String, _>>().map(Cow::Owned),
    }
}

/// None if the event does not say, or says nothing.
fn value(field: Field, delivery: &Delivery) -> Option<Cow<'_, str>> {
    let event = &*delivery.event;
    let facts = &event.facts;
    let text = match field {
        Field::Network => Some(event.network.as_str()),
        Field::Stream => Some(event.stream.as_str()),
        Field::Action => Some(&*facts.action),
        Field::Kind => facts.kind.map(ActionKind::as_str),
        Field::ContractPackage => facts.contract_package.as_deref(),
        Field::TokenId => facts.token_id.as_deref(),
        Field::Owner => facts.owner.as_deref(),
        Field::From => facts.from.as_deref(),
        Field::To => facts.to.as_deref(),
        Field::DeployHash => facts.deploy_hash.as_deref(),
        Field::Origin => Some(event.origin.as_str()),
        Field::Route => delivery.routes.first().map(|route| &**route),
        Field::Id => return Some(super::printed(&event.id).into()),
        Field::Sequence => return Some(super::printed(&event.sequence).into()),
    };
    text.filter(|text| !text.is_empty()).map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Event, Facts};
    use crate::sink::Cause;
    use crate::sink::tests::delivery;

    fn template(parts: &[&str]) -> Template {
        let fields = [Field::Network, Field::Stream, Field::Action, Field::ContractPackage, Field::TokenId];
        let more = [Field::Kind, Field::Owner, Field::From, Field::Id, Field::Sequence, Field::Origin, Field::Route];
        let field = |name: &str| fields.into_iter().chain(more).find(|field| field.as_str() == name);
        let part =
            |part: &&str| field(part).map_or_else(|| TemplatePart::Text((*part).to_owned()), TemplatePart::Field);
        Template(parts.iter().map(part).collect())
    }

    #[test]
    fn values_take_the_place_of_their_fields() {
        let delivery = delivery("Дім 119");
        let package = "53".repeat(32);
        for (parts, expected) in [
            (&["plain"][..], "plain"),
            (&["action"], "created"),
            (&["casper.nft.", "action"], "casper.nft.created"),
            (&["contract_package", ":", "token_id"], &format!("{package}:Дім 119")),
            (&["network", "/", "stream", "/", "origin", "/", "route"], "testnet/nft-tokens/stream/bucha-city"),
            (&["id"], &delivery.event.id.to_string()),
            (&["sequence"], "0000000003e8-0000000000000007"),
        ] {
            assert_eq!(render(&template(parts), &delivery).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_action_has_its_kind_by_name() {
        let mut delivery = delivery("1");
        let kind = template(&["nft.", "kind"]);
        assert_eq!(render(&kind, &delivery), Err(Missing(Field::Kind)));
        let facts = Facts { kind: Some(ActionKind::MetadataUpdate), ..delivery.event.facts.clone() };
        delivery.event = Arc::new(Event { facts, ..(*delivery.event).clone() });
        assert_eq!(render(&kind, &delivery).as_deref(), Ok("nft.metadata_update"));
    }

    #[test]
    fn a_missing_or_empty_value_is_named() {
        assert_eq!(render(&template(&["x.", "from"]), &delivery("1")), Err(Missing(Field::From)));
        assert_eq!(render(&template(&["token_id"]), &delivery("")), Err(Missing(Field::TokenId)));
        let failure = render_header(&template(&["owner"]), &delivery("1")).unwrap_err();
        let detail = "the event has no `owner`, which a template of this sink names".to_owned();
        assert_eq!(failure, Failure { cause: Cause::Invalid, status: None, detail });
    }

    #[test]
    fn what_stands_in_a_header_is_visible_and_not_too_long() {
        let header = template(&["50% of ", "token_id"]);
        let hostile = delivery("a%\r\nb: ü");
        assert_eq!(render_header(&header, &hostile).as_deref(), Ok("50% of a%25%0D%0Ab:%20%C3%BC"));
        assert_eq!(render(&header, &hostile).as_deref(), Ok("50% of a%\r\nb: ü"));
        let token = template(&["token_id"]);
        assert!(render_header(&token, &delivery(&"a".repeat(512))).is_ok());
        let failure = render_header(&token, &delivery(&"ü".repeat(100))).unwrap_err();
        assert_eq!(failure.detail, "a header would get 600 bytes, of at most 512");
    }
}
