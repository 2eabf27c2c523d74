//! The configuration as a JSON Schema, for editors: from the declarations that the reader reads with, and the comments
//! of `config.example.yaml`.
//!
//! References (`${…}`) are expanded after parsing, so a text with one in it is allowed wherever a text is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::example::Comments;
use super::outline::{Form, KeyOutline, Outline, Values};
use super::quantity;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Has a reference in it.
const REFERENCE: &str = r"\$\{";

/// The schema of a file with these keys.
pub(super) fn schema(title: &str, outline: &Outline) -> Value {
    let mut drawing = Drawing { comments: Comments::of_the_example(), definitions: BTreeMap::new() };
    let mut whole = drawing.mapping(outline, "", Form::TEXT);
    let parts = json!({ "$schema": DIALECT, "title": title, "$defs": drawing.definitions });
    if let (Value::Object(whole), Value::Object(parts)) = (&mut whole, parts) {
        whole.extend(parts);
    }
    whole
}

struct Drawing {
    comments: Comments,
    /// By the name of the declaration; one that holds itself refers to itself.
    definitions: BTreeMap<String, Value>,
}

impl Drawing {
    /// What may stand behind a key.
    fn value(&mut self, key: &KeyOutline, path: &str) -> Value {
        let mut schema = match (key.value)() {
            Outline::Leaf => leaf(key.form),
            outline => self.mapping(&outline, path, key.form),
        };
        let comment = self.comments.at(path).map(|comment| ("description".to_owned(), comment.into()));
        if let Value::Object(schema) = &mut schema {
            schema.extend(comment);
        }
        schema
    }

    fn mapping(&mut self, outline: &Outline, path: &str, form: Form) -> Value {
        let mut schema = match outline {
            Outline::Leaf => return leaf(form),
            Outline::Named(entry) => return self.named(*entry, path, form),
            Outline::Keys(name, keys) => self.defined(name, keys, path),
        };
        if form.is_filled {
            schema = json!({ "allOf": [schema], "minProperties": 1 });
        }
        if form.is_also_single {
            schema = json!({ "anyOf": [single(form.values), schema] });
        }
        if form.is_list { one_or_list(&schema, form) } else { schema }
    }

    /// How values are written is said of the entries; whether there must be one, of the mapping.
    fn named(&mut self, entry: fn() -> Outline, path: &str, form: Form) -> Value {
        let own = Form { is_filled: false, names: None, ..form };
        json!({
            "type": ["object", "null"],
            "minProperties": u8::from(form.is_filled),
            "propertyNames": { "pattern": form.names.unwrap_or_default() },
            "additionalProperties": self.mapping(&entry(), &format!("{path}.*"), own),
        })
    }

    fn defined(&mut self, declaration: &str, keys: &[KeyOutline], path: &str) -> Value {
        let name = &declaration.rsplit("config::").next().unwrap_or(declaration).replace("::", ".");
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if !self.definitions.contains_key(name) {
            // Before its keys are drawn, one of which may be the same declaration.
            self.definitions.insert(name.to_owned(), Value::Null);
            let properties: Map<String, Value> =
                keys.iter().map(|key| (key.name.to_owned(), self.value(key, &join(path, key.name)))).collect();
            let required: Vec<&str> = keys.iter().filter(|key| key.form.is_required).map(|key| key.name).collect();
            // Nothing stands for an empty mapping, which has no required key.
            let kinds = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
            let schema = json!({
                "type": kinds, "properties": properties, "required": required, "additionalProperties": false
            });
            self.definitions.insert(name.to_owned(), schema);
        }
        reference
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn leaf(form: Form) -> Value {
    let one = single(form.values);
    if form.is_list { one_or_list(&one, form) } else { one }
}

fn one_or_list(one: &Value, form: Form) -> Value {
    let list = json!({ "type": "array", "items": one, "minItems": u8::from(form.is_filled) });
    json!({ "anyOf": [one, list] })
}

fn single(values: Values) -> Value {
    let text = |pattern: &str| format!("{pattern}|{REFERENCE}");
    match values {
        Values::Text => json!({ "type": ["string", "number", "boolean"] }),
        Values::Pattern(pattern) => json!({ "type": ["string", "number"], "pattern": text(pattern) }),
        Values::Duration => json!({ "type": "string", "pattern": text(&quantity::duration_pattern()) }),
        Values::DurationOrOff => json!({ "anyOf": [{ "enum": ["off", false] }, single(Values::Duration)] }),
        Values::Size => {
            json!({ "type": ["string", "integer"], "pattern": text(&quantity::size_pattern()), "minimum": 1 })
        }
        Values::Number(min, max) => {
            let max = (max != usize::MAX).then_some(max).map(|max| ("maximum".to_owned(), max.into()));
            let mut number = Map::from_iter(max);
            number.extend([
                ("type".to_owned(), json!(["integer", "string"])),
                ("minimum".to_owned(), min.into()),
                ("pattern".to_owned(), text("^[0-9]+$").into()),
            ]);
            number.into()
        }
        Values::Share => {
            json!({ "type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": text(r"^[0-9.e-]+$") })
        }
        Values::Words(words) => words_or_reference(&words()),
    }
}

/// Some words are truth values for YAML.
fn words_or_reference(words: &[&str]) -> Value {
    let truths = [("true", true), ("on", true), ("yes", true), ("false", false), ("off", false), ("no", false)];
    let mut allowed: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    for (word, truth) in truths {
        if words.contains(&word) && !allowed.contains(&json!(truth)) {
            allowed.push(json!(truth));
        }
    }
    json!({ "anyOf": [{ "enum": allowed }, { "type": "string", "pattern": REFERENCE }] })
}
