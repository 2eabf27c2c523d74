//! `{{ field }}` in texts: what differs from event to event.
//!
//! The name of the sink and its labels (`{{ sink }}`, `{{ labels.team }}`) are known when the file is read, so of a
//! [`Template`] only the fields of the event remain. `{{{{` and `}}}}` stand for literal braces.

use std::collections::BTreeMap;
use std::fmt;

use super::fault::suggest;
use super::reader::Place;
use super::shape::Text;
use crate::event::Stream;

/// A text with fields of the event in it. Never empty; between two fields there is at most one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    Text(String),
    Field(Field),
}

/// What of an event can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Network,
    Stream,
    Action,
    /// What an NFT action did.
    Kind,
    ContractPackage,
    /// Text that whoever minted the token chose.
    TokenId,
    Owner,
    From,
    To,
    DeployHash,
    /// The event id.
    Id,
    Sequence,
    Origin,
    /// The first of the matched routes, in the order of the file.
    Route,
}

const FIELDS: [(&str, Field); 14] = [
    ("network", Field::Network),
    ("stream", Field::Stream),
    ("action", Field::Action),
    ("kind", Field::Kind),
    ("contract_package", Field::ContractPackage),
    ("token_id", Field::TokenId),
    ("owner", Field::Owner),
    ("from", Field::From),
    ("to", Field::To),
    ("deploy_hash", Field::DeployHash),
    ("id", Field::Id),
    ("sequence", Field::Sequence),
    ("origin", Field::Origin),
    ("route", Field::Route),
];

impl Field {
    /// The name in templates.
    pub fn as_str(self) -> &'static str {
        FIELDS.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }

    /// Whether the messages of a stream say it at all.
    pub fn is_told_by(self, stream: Stream) -> bool {
        match self {
            Self::ContractPackage => stream.has_contract_package(),
            Self::TokenId => stream.has_token_id(),
            Self::Owner => stream.has_owner(),
            Self::From | Self::To => stream.has_sides(),
            Self::Kind => stream.has_kind(),
            Self::Network | Self::Stream | Self::Action | Self::DeployHash => true,
            Self::Id | Self::Sequence | Self::Origin | Self::Route => true,
        }
    }

    /// Whether strangers choose the value, by what they write to the chain.
    pub fn is_chain_text(self) -> bool {
        matches!(self, Self::TokenId)
    }
}

impl Template {
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.0.iter().filter_map(|part| match part {
            TemplatePart::Field(field) => Some(*field),
            TemplatePart::Text(_) => None,
        })
    }

    /// The first field whose value is text from the chain. Where names of a broker's things stand (topics, exchanges),
    /// such a field would let strangers make up names.
    pub fn names_chain_text(&self) -> Option<Field> {
        self.fields().find(|field| field.is_chain_text())
    }

    /// The whole text, which may be empty, if no field is in it.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [TemplatePart::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn push_text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(TemplatePart::Text(before)) => before.push_str(text),
            _ => self.0.push(TemplatePart::Text(text.to_owned())),
        }
    }
}

/// As it is written in a file, for people.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            TemplatePart::Text(text) => f.write_str(text),
            TemplatePart::Field(field) => write!(f, "{{{{ {} }}}}", field.as_str()),
        })
    }
}

/// What the templates of one sink may name beside the event.
pub(super) struct Own<'a> {
    /// The sink's name.
    pub(super) sink: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
}

/// Whether text from the chain may stand in a template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChainText {
    Allowed,
    Refused,
}

impl Place<'_> {
    /// A text that may have fields in it.
    pub(super) fn template(
        &self,
        key: &str,
        node: Option<Text>,
        own: &Own<'_>,
        chain_text: ChainText,
    ) -> Option<Template> {
        let given = self.text(key, node)?;
        given.place.parse_template(&given.text, own, chain_text)
    }

    pub(super) fn parse_template(&self, text: &str, own: &Own<'_>, chain_text: ChainText) -> Option<Template> {
        let template = parse(text, own).map_err(|slip| self.fault_with(slip.message, slip.hint)).ok()?;
        if let (ChainText::Refused, Some(field)) = (chain_text, template.names_chain_text()) {
            let hint = "it may stand in keys, routing keys and values of headers".to_owned();
            let field = field.as_str();
            self.fault_with(format!("`{field}` is text that strangers write to the chain: not here"), Some(hint));
        }
        Some(template)
    }
}

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq)]
struct Slip {
    message: String,
    hint: Option<String>,
}

impl Slip {
    fn new(message: &str, hint: &str) -> Self {
        Self { message: message.to_owned(), hint: Some(hint.to_owned()) }
    }
}

fn parse(text: &str, own: &Own<'_>) -> Result<Template, Slip> {
    if text.is_empty() {
        return Err(Slip { message: "must not be empty".to_owned(), hint: None });
    }
    let mut template = Template(Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("}}")).min() {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        template.push_text(before);
        rest = match escaped(from) {
            Some((braces, behind)) => {
                template.push_text(braces);
                behind
            }
            None => field(&mut template, from, own)?,
        };
    }
    template.push_text(rest);
    if template.0.is_empty() { Err(Slip::new("comes out empty", "the labels in it are empty")) } else { Ok(template) }
}

/// Literal braces at the start of `text`, and what stands behind them.
fn escaped(text: &str) -> Option<(&'static str, &str)> {
    let escapes = [("{{{{", "{{"), ("}}}}", "}}")];
    escapes.iter().find_map(|(escape, braces)| Some((*braces, text.strip_prefix(escape)?)))
}

/// Takes the field at the start of `text`; what stands behind it.
fn field<'t>(template: &mut Template, text: &'t str, own: &Own<'_>) -> Result<&'t str, Slip> {
    let Some(inside) = text.strip_prefix("{{") else {
        return Err(Slip::new("`}}` without `{{` before it", "write `}}}}` for literal braces"));
    };
    let Some((name, behind)) = inside.split_once("}}") else {
        return Err(Slip::new("`{{` without `}}`", "write `{{{{` for literal braces"));
    };
    let name = name.trim();
    if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
        template.0.push(TemplatePart::Field(*field));
    } else {
        template.push_text(own.text(name)?);
    }
    Ok(behind)
}

impl Own<'_> {
    fn text(&self, name: &str) -> Result<&str, Slip> {
        if name == "sink" {
            return Ok(self.sink);
        }
        if let Some(label) = name.strip_prefix("labels.") {
            let missing = || Slip {
                message: format!("this sink has no label `{label}`"),
                hint: suggest(label, self.labels.keys().map(String::as_str)),
            };
            return self.labels.get(label).map(String::as_str).ok_or_else(missing);
        }
        let labels: Vec<String> = self.labels.keys().map(|label| format!("labels.{label}")).collect();
        let known = FIELDS.iter().map(|(name, _)| *name).chain(["sink"]).chain(labels.iter().map(String::as_str));
        Err(Slip { message: format!("a template knows no `{name}`"), hint: suggest(name, known) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Template, Slip> {
        let labels = BTreeMap::from([("team".to_owned(), "market".to_owned()), ("empty".to_owned(), String::new())]);
        parse(text, &Own { sink: "bus", labels: &labels })
    }

    fn text(text: &str) -> TemplatePart {
        TemplatePart::Text(text.to_owned())
    }

    #[test]
    fn templates_are_taken_apart() {
        use TemplatePart::Field as F;
        for (template, expected) in [
            ("plain { text } ${x}", vec![text("plain { text } ${x}")]),
            ("{{ action }}", vec![F(Field::Action)]),
            ("nft.{{action}}.x", vec![text("nft."), F(Field::Action), text(".x")]),
            ("{{ contract_package }}:{{\ttoken_id }}", vec![F(Field::ContractPackage), text(":"), F(Field::TokenId)]),
            ("{{ sink }}-{{ labels.team }}-{{ id }}", vec![text("bus-market-"), F(Field::Id)]),
            ("{{ route }}{{ labels.empty }}", vec![F(Field::Route)]),
            ("{{{{ a }}}} {{ to }}", vec![text("{{ a }} "), F(Field::To)]),
            ("Дім{{ from }}🚀", vec![text("Дім"), F(Field::From), text("🚀")]),
        ] {
            assert_eq!(parsed(template), Ok(Template(expected)), "{template}");
        }
    }

    #[test]
    fn slips_are_told_with_what_was_meant() {
        for (template, message, hint) in [
            ("", "must not be empty", None),
            ("{{ acton }}", "a template knows no `acton`", Some("did you mean `action`?")),
            ("{{ .token_id }}", "a template knows no `.token_id`", Some("did you mean `token_id`?")),
            ("{{ lables.team }}", "a template knows no `lables.team`", Some("did you mean `labels.team`?")),
            ("{{ labels.tem }}", "this sink has no label `tem`", Some("did you mean `team`?")),
            ("a {{ action }", "`{{` without `}}`", Some("write `{{{{` for literal braces")),
            ("a { action }}", "`}}` without `{{` before it", Some("write `}}}}` for literal braces")),
            ("{{ action }}}}", "`}}` without `{{` before it", Some("write `}}}}` for literal braces")),
            ("{{ { }}", "a template knows no `{`", None),
            ("{{ labels.empty }}", "comes out empty", Some("the labels in it are empty")),
        ] {
            let slip = parsed(template).unwrap_err();
            assert_eq!(slip.message, message, "{template}");
            assert!(hint.is_none_or(|hint| slip.hint.as_deref() == Some(hint)), "{template}: {:?}", slip.hint);
        }
        let all = parsed("{{ }}").unwrap_err().hint.unwrap();
        assert!(all.starts_with("there is: action, contract_package, ") && all.contains("labels.team"), "{all}");
    }

    #[test]
    fn every_field_has_its_name() {
        for (name, field) in FIELDS {
            assert_eq!(field.as_str(), name);
            assert_eq!(parsed(&format!("{{{{ {name} }}}}")), Ok(Template(vec![TemplatePart::Field(field)])));
        }
        assert_eq!(parsed("{{ owner }}/{{ token_id }}").unwrap().names_chain_text(), Some(Field::TokenId));
        assert_eq!(parsed("{{ owner }}").unwrap().names_chain_text(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_written_as_a_template(text in "[{}a${ é]{1,20}") {
            let escaped = text.replace("{{", "{{{{").replace("}}", "}}}}");
            proptest::prop_assert_eq!(parsed(&escaped), Ok(Template(vec![TemplatePart::Text(text)])));
        }

        #[test]
        fn what_was_understood_can_be_written_again(text in "([{}]{1,5}|\\{\\{ (action|token_id|sink) \\}\\}|[ .é])*") {
            let Ok(template) = parsed(&text) else { return Ok(()) };
            let written = template.0.iter().map(|part| match part {
                TemplatePart::Text(text) => text.replace("{{", "{{{{").replace("}}", "}}}}"),
                TemplatePart::Field(field) => format!("{{{{{}}}}}", field.as_str()),
            });
            proptest::prop_assert_eq!(parsed(&written.collect::<String>()), Ok(template));
        }
    }
}
