//! Tokens of which a known state came once more after another: perhaps it has come back, which REST can tell.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{Candidate, Store};
use crate::event::Stream;

/// Beyond so many further ones are only counted.
const TOKENS_MAX: usize = 64;

/// Package and id.
type Token = (String, String);

/// Those that nobody has looked at yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recurred(Mutex<VecDeque<Token>>);

impl Recurred {
    /// Remembers what the event is about, if REST can be asked about that.
    pub(super) fn note(&self, event: &Candidate) {
        let (Stream::NftTokens, facts) = (event.stream, &event.facts) else { return };
        let Some((package, id)) = facts.contract_package.as_deref().zip(facts.token_id.as_deref()) else { return };
        let token = (package.to_owned(), id.to_owned());
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() < TOKENS_MAX && !tokens.contains(&token) {
            tokens.push_back(token);
        }
    }
}

impl Store {
    /// The next token (package and id) of which a state may have come back.
    pub(crate) fn next_recurred(&self) -> Option<(String, String)> {
        self.recurred.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
