//! The description and the API agree.

use serde_json::Value;

use super::Scene;

/// What to put into the placeholders of a path.
const EXAMPLES: [(&str, &str); 5] = [
    ("{name}", "a"),
    ("{which}", "1"),
    ("{number}", "1"),
    ("{contract_package}", "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508"),
    ("{token_id}", "1"),
];

#[tokio::test]
async fn what_is_described_is_there_and_answers_as_described() {
    let scene = Scene::start();
    scene.fill().await;
    scene.begin_a_job().await;
    let (status, document) = scene.get("/api/v1/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &Value::from("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    for (template, path) in paths.iter().filter_map(|(path, item)| Some((path, item.get("get")?))) {
        let url = EXAMPLES.iter().fold(template.clone(), |url, (name, value)| url.replace(name, value));
        let Some(schema) = path.pointer("/responses/200/content/application~1json/schema") else { continue };
        let (status, answer) = scene.get(&url).await;
        assert_eq!(status, 200, "{url}: {answer}");
        let mut faults = Vec::new();
        check(&document, schema, &answer, template, &mut faults);
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(path["summary"].is_string(), "{template} says nothing of itself");
    }
    scene.end().await;
}

#[test]
fn the_check_finds_what_is_wrong() {
    let document = serde_json::json!({ "components": { "schemas": { "A": {
        "type": "object", "required": ["b"], "properties": { "b": { "type": ["integer", "null"] } } } } } });
    let schema = serde_json::json!({ "type": "array", "items": { "$ref": "#/components/schemas/A" } });
    for (answer, expected) in [(r#"[{"b":1},{"b":null}]"#, 0), (r#"[{"b":"1"}]"#, 1), (r#"[{"c":1}]"#, 2), ("{}", 1)] {
        let mut faults = Vec::new();
        check(&document, &schema, &serde_json::from_str(answer).unwrap(), "", &mut faults);
        assert_eq!(faults.len(), expected, "{answer}: {faults:?}");
    }
}

/// Compares a value with a schema, as far as the description uses schemas; what is not described is a fault as well.
fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere");
        return check(document, target, value, at, faults);
    }
    let choices = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(choices) = choices {
        let fits = |choice: &&Value| {
            let mut found = Vec::new();
            check(document, choice, value, at, &mut found);
            found.is_empty()
        };
        if choices.iter().filter(fits).count() != 1 {
            faults.push(format!("{at}: {value} is none of the choices, or several"));
        }
        return;
    }
    if !is_of_type(&schema["type"], value) {
        faults.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
        faults.push(format!("{at}: {value} is none of {values:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}/{index}"), faults);
    }
    check_fields(document, schema, value, at, faults);
}

fn check_fields(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(fields) = value.as_object().filter(|_| schema["type"] == "object") else { return };
    for (name, field) in fields {
        let described = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        match described {
            Some(described) => check(document, described, field, &format!("{at}/{name}"), faults),
            None if schema.get("properties").is_none() => {}
            None => faults.push(format!("{at}/{name} is not described")),
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    faults.extend(required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{at}/{name} is missing")));
}

fn is_of_type(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is_of_type(kind, value)),
        Value::String(kind) => match kind.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("a type that the check does not know: {other}"),
        },
        _ => true,
    }
}
