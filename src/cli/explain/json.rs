//! An answer as one line of JSON.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::answer::{Answer, Destination};
use super::known::Known;
use crate::cli::listen::escaped_in_json;
use crate::route::{Explained, Failure};
use crate::sink::Part;

pub(super) fn write(answer: &Answer<'_>, out: &mut impl Write) -> io::Result<()> {
    let identity: Map<String, Value> =
        answer.identity().into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    let line = json!({
        "id": answer.decoded.identity.id.to_string(),
        "stream": answer.stream.as_str(),
        "identity": identity,
        "has_deploy": answer.decoded.identity.has_deploy,
        "duplicate": duplicate(answer.known),
        "sinks": answer.sinks.iter().map(sink).collect::<Vec<_>>(),
        "routes": answer.routes.iter().map(route).collect::<Vec<_>>(),
    });
    writeln!(out, "{}", escaped_in_json(&line.to_string()))
}

fn duplicate(known: Known) -> Value {
    match known {
        Known::Accepted(sequence) => json!({ "known": true, "sequence": sequence }),
        Known::SameDeploy(sequence) => json!({ "known": true, "sequence": sequence, "by": "deploy_token" }),
        Known::New => json!({ "known": false }),
        Known::NoStore => json!({ "known": null }),
    }
}

/// What a sink would get: each text of its own in `rendered`, or why it would reject the event in `rejected`.
fn sink(Destination { sink, parts }: &Destination) -> Value {
    let routes: Vec<&str> = sink.routes.iter().map(|route| &**route).collect();
    let (mut rendered, mut rejected) = (Map::new(), Map::new());
    for Part { name, text } in parts {
        match text {
            Ok(text) => rendered.insert(name.clone(), text.as_str().into()),
            Err(reason) => rejected.insert(name.clone(), reason.as_str().into()),
        };
    }
    json!({ "name": &*sink.sink.0, "routes": routes, "rendered": rendered, "rejected": rejected })
}

fn route(route: &Explained<'_>) -> Value {
    json!({
        "name": route.route,
        "matched": route.failure.is_none(),
        "sinks": route.sinks.iter().map(|sink| &*sink.0).collect::<Vec<_>>(),
        "failure": route.failure.as_ref().map(failure),
    })
}

fn failure(failed: &Failure) -> Value {
    json!({
        "path": failed.path,
        "expected": failed.expected,
        "actual": failed.actual,
        "alternatives": failed.alternatives.iter().map(failure).collect::<Vec<_>>(),
    })
}
