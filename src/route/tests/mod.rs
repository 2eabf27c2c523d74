//! What matches and why, and that push-down and the index lose none of it.

mod matching;
mod properties;
mod subscriptions;

use super::*;
use crate::config::{Condition, Key, Texts};

fn texts(texts: &[&str]) -> Texts {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn one_of(key: Key, values: &[&str]) -> Condition {
    Condition::OneOf(key, texts(values))
}

fn matcher(conditions: Vec<Condition>) -> MatchConfig {
    MatchConfig { conditions }
}

fn route(name: &str, stream: Stream, conditions: Vec<Condition>, sinks: &[&str]) -> RouteConfig {
    let sinks = sinks.iter().map(|&sink| SinkName(sink.into())).collect();
    RouteConfig { name: name.into(), stream, matcher: matcher(conditions), sinks }
}
