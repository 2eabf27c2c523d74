//! A message as conditions look into it: parsed as far as they look, each part once.
//!
//! Borrows from the bytes. Numbers stay as they are written. Base64 of a JSON object counts as the object, as it does
//! for an event's identity: CSPR.cloud sends some metadata that way.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::value::RawValue;

use crate::config::{Found, Pointer};
use crate::event::{from_base64, members};

pub(super) struct Message<'m> {
    body: &'m [u8],
    root: OnceCell<Option<Node<'m>>>,
}

struct Node<'m> {
    raw: &'m RawValue,
    parts: OnceCell<Parts<'m>>,
}

enum Parts<'m> {
    Members(Vec<(Cow<'m, str>, Node<'m>)>),
    Items(Vec<Node<'m>>),
    /// What a text stands for.
    Encoded(Box<RawValue>),
    None,
}

impl<'m> Message<'m> {
    pub(super) fn new(body: &'m [u8]) -> Self {
        Self { body, root: OnceCell::new() }
    }

    /// What stands at `pointer`; a `null` is nothing. Of equal names the last one counts.
    pub(super) fn find(&self, pointer: &Pointer) -> Option<Found<'_>> {
        let root = self.root.get_or_init(|| serde_json::from_slice(self.body).ok().map(Node::new));
        root.as_ref()?.find(pointer.tokens())
    }
}

impl<'m> Node<'m> {
    fn new(raw: &'m RawValue) -> Self {
        Self { raw, parts: OnceCell::new() }
    }

    fn find(&self, tokens: &[Box<str>]) -> Option<Found<'_>> {
        let Some((first, rest)) = tokens.split_first() else { return found(self.raw.get()) };
        match self.parts.get_or_init(|| Parts::of(self.raw.get())) {
            Parts::Members(members) => members.iter().rev().find(|(name, _)| **name == **first)?.1.find(rest),
            Parts::Items(items) => items.get(index(first)?)?.find(rest),
            Parts::Encoded(raw) => Node::new(raw).find(tokens).map(owned),
            Parts::None => None,
        }
    }
}

impl<'m> Parts<'m> {
    fn of(text: &'m str) -> Self {
        let parts = match text.as_bytes().first() {
            Some(b'{') => members(text)
                .map(|members| Self::Members(members.into_iter().map(|(name, raw)| (name, Node::new(raw))).collect())),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text)
                .ok()
                .map(|items| Self::Items(items.into_iter().map(Node::new).collect())),
            Some(b'"') => from_base64(text).map(Self::Encoded),
            _ => None,
        };
        parts.unwrap_or(Self::None)
    }
}

fn found(text: &str) -> Option<Found<'_>> {
    match text.as_bytes().first()? {
        b'"' if !text.contains('\\') => Some(Found::Text(text.get(1..text.len().checked_sub(1)?)?.into())),
        b'"' => serde_json::from_str(text).ok().map(|text: String| Found::Text(text.into())),
        b'{' | b'[' => Some(Found::Structure),
        b'n' => None,
        b't' | b'f' => Some(Found::Text(text.into())),
        _ => Some(Found::Number(text.into())),
    }
}

fn owned(found: Found<'_>) -> Found<'static> {
    match found {
        Found::Text(text) => Found::Text(text.into_owned().into()),
        Found::Number(text) => Found::Number(text.into_owned().into()),
        Found::Structure => Found::Structure,
    }
}

/// The place in an array, in its one spelling.
fn index(token: &str) -> Option<usize> {
    let is_canonical = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| is_canonical)
}
