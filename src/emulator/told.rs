//! What the streams have told of each token and of what was done with it, as the REST API lists it.
//!
//! The same entities as on the streams, with the habits of REST: whole seconds, the newest first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::event::Stream;

/// Actions that are remembered; the oldest are forgotten.
const ACTIONS_MAX: usize = 200_000;

/// It knows of a message `lag` after that was noted.
#[derive(Debug)]
pub(super) struct Told {
    lag: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Noted, and not yet known.
    coming: VecDeque<(Instant, Stream, Map<String, Value>)>,
    /// By package and id.
    tokens: BTreeMap<(String, String), Value>,
    /// Oldest first.
    actions: VecDeque<Value>,
}

/// Whose actions are listed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of<'a> {
    Package(&'a str),
    Token(&'a str, &'a str),
    /// On either side.
    Owner(&'a str),
}

#[derive(Deserialize)]
struct Message {
    data: Map<String, Value>,
}

impl Told {
    pub(super) fn new(lag: Duration) -> Self {
        Self { lag, state: Mutex::default() }
    }

    /// Takes account of a published message. One that tells of no token changes nothing.
    pub(super) fn note(&self, stream: Stream, text: &str) {
        if !matches!(stream, Stream::NftTokens | Stream::NftTokenActions) {
            return;
        }
        let Ok(Message { mut data }) = serde_json::from_str(text) else { return };
        if let Some(Value::String(time)) = data.get_mut("timestamp")
            && let Some((seconds, _)) = time.split_once('.')
        {
            *time = format!("{seconds}Z");
        }
        self.state().coming.push_back((Instant::now() + self.lag, stream, data));
    }

    pub(super) fn token(&self, package: &str, id: &str) -> Option<Value> {
        self.state().tokens.get(&(package.to_ascii_lowercase(), id.to_owned())).cloned()
    }

    /// The tokens of a package, the newest first.
    pub(super) fn tokens(&self, package: &str) -> Vec<Value> {
        let package = package.to_ascii_lowercase();
        let state = self.state();
        let from = (package.clone(), String::new());
        let own = state.tokens.range(from..).take_while(|((of, _), _)| *of == package);
        let mut tokens: Vec<Value> = own.map(|(_, token)| token.clone()).collect();
        tokens.sort_by(|a, b| b["timestamp"].as_str().cmp(&a["timestamp"].as_str()));
        tokens
    }

    /// The newest first.
    pub(super) fn actions(&self, of: Of<'_>) -> Vec<Value> {
        self.state().actions.iter().rev().filter(|action| of.includes(action)).cloned().collect()
    }

    /// The state, with everything in it that is known by now.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while state.coming.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, stream, data)) = state.coming.pop_front() else { break };
            state.learn(stream, data);
        }
        state
    }
}

impl State {
    fn learn(&mut self, stream: Stream, data: Map<String, Value>) {
        if stream == Stream::NftTokenActions {
            self.actions.push_back(Value::Object(data));
            if self.actions.len() > ACTIONS_MAX {
                self.actions.pop_front();
            }
            return;
        }
        let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(token) = text("contract_package_hash").zip(text("token_id")) {
            self.tokens.insert(token, Value::Object(data));
        }
    }
}

impl Of<'_> {
    fn includes(self, action: &Value) -> bool {
        let is = |key: &str, wanted: &str| {
            action.get(key).and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        match self {
            Self::Package(package) => is("contract_package_hash", package),
            Self::Token(package, id) => {
                is("contract_package_hash", package) && action.get("token_id").and_then(Value::as_str) == Some(id)
            }
            Self::Owner(owner) => is("from_hash", owner) || is("to_hash", owner),
        }
    }
}
