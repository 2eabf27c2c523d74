//! A small made-up world of collections, owners and tokens that goes on for ever, deploy by deploy.
//!
//! The same seed gives the same messages, byte for byte. Every change of a token that a deploy causes gives one
//! message of `nft-tokens` and the fitting one of `nft-token-actions`; an approval gives only the latter, the arrival
//! of off-chain metadata only the former, without a deploy. All events are distinct by (deploy, package, token, state).

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::message::{Action, Cause, Party, Shape, Token, action_message, token_message};
use crate::clock::Timestamp;
use crate::event::Stream;

/// Beyond this many living tokens nothing is minted.
const TOKENS_MAX: usize = 5_000;
const TOKENS_MIN: usize = 20;
const OWNERS: usize = 40;
/// The first moment: that of the documented sample.
const BEGIN_MS: i64 = 1_703_695_813_689;
/// The service emits a change about this long after its block.
const LAG_MS: i64 = 11_000;
const FIRST_BLOCK: u64 = 2_404_577;

/// Real packages with their token standards; further ones are made up.
const PACKAGES: [(&str, u8); 3] = [
    ("5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508", 1),
    ("04682e17e5a86d594d9fd2bf37c766834bbaa412499bd6b5ac4ce76449708797", 2),
    ("006c68af5f767e406cccd326f8d8bba81dec20d2578f308d33e3bbf08ee5d383", 2),
];
const ACCOUNT: &str = "66b1b6b393e5aed08be0759d52c484ba2921c844cc0918d5b8bb02849bb833d4";
const CONTRACT: &str = "8e09f028baff4e3a851e70bb8a5dc02eae7f8cb7faf1b52d9c8dafa7f41fa55c";

const MINT: u8 = 1;
const BURN: u8 = 2;
const APPROVE: u8 = 3;
const TRANSFER: u8 = 4;
const METADATA: u8 = 5;

struct Package {
    hash: Arc<str>,
    standard: u8,
    minted: u64,
}

/// The generator: an endless iterator of messages.
pub(crate) struct World {
    random: fastrand::Rng,
    shape: Shape,
    packages: Vec<Package>,
    owners: Vec<Party>,
    tokens: Vec<Token>,
    tokens_made: u64,
    now_ms: i64,
    block: u64,
    /// Messages of the last deploy that are still to come.
    waiting: VecDeque<(Stream, Utf8Bytes)>,
}

impl Iterator for World {
    type Item = (Stream, Utf8Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() {
            self.step();
        }
        self.waiting.pop_front()
    }
}

impl World {
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let package = |(hash, standard): (&str, u8)| Package { hash: Arc::from(hash), standard, minted: 0 };
        let mut packages: Vec<Package> = PACKAGES.into_iter().map(package).collect();
        packages.extend([3, 2, 1].map(|standard| package((&hash(&mut random), standard))));
        let mut owners =
            vec![Party { hash: Arc::from(ACCOUNT), kind: 0 }, Party { hash: Arc::from(CONTRACT), kind: 1 }];
        owners.extend((owners.len()..OWNERS).map(|_| Party { hash: Arc::from(hash(&mut random)), kind: 0 }));
        Self {
            random,
            shape,
            packages,
            owners,
            tokens: Vec::new(),
            tokens_made: 0,
            now_ms: BEGIN_MS,
            block: FIRST_BLOCK,
            waiting: VecDeque::new(),
        }
    }

    /// The same world at another time: its first moment is `at`.
    pub(crate) fn beginning_at(self, at: Timestamp) -> Self {
        Self { now_ms: i64::try_from(at.0).unwrap_or(BEGIN_MS), ..self }
    }

    /// One deploy, or one arrival of off-chain metadata.
    fn step(&mut self) {
        self.now_ms += self.random.i64(200..8_000);
        self.block += u64::from(self.random.u8(0..3) == 0);
        let deploy = hash(&mut self.random);
        if self.tokens.len() < TOKENS_MIN {
            return self.mint(&deploy);
        }
        let at = self.random.usize(..self.tokens.len());
        match self.random.u32(..100) {
            0..25 if self.tokens.len() < TOKENS_MAX => self.mint(&deploy),
            0..30 if self.tokens.len() < TOKENS_MAX => (0..self.random.u32(2..=5)).for_each(|_| self.mint(&deploy)),
            30..66 => self.transfer(at, &deploy),
            66..72 => self.round_trip(at, &deploy),
            72..85 => self.change_metadata(at, &deploy),
            85..92 => self.resolve_metadata(at),
            92..95 => self.approve(at, &deploy),
            _ => self.burn(at, &deploy),
        }
    }

    fn mint(&mut self, deploy: &str) {
        let choice = self.random.usize(..self.packages.len());
        let owner = self.someone(None);
        let Some(package) = self.packages.get_mut(choice) else { return };
        package.minted += 1;
        self.tokens_made += 1;
        let mut token = Token {
            package: Arc::clone(&package.hash),
            id: token_id(&mut self.random, package.minted),
            tracking: self.tokens_made,
            standard: package.standard,
            owner,
            onchain: metadata(package.standard, package.minted, "").to_string(),
            is_base64: self.random.u8(..8) == 0,
            offchain: None,
            offchain_status: 0,
            is_burned: false,
            minted_ms: self.now_ms,
            block: self.block,
        };
        let (standard, number) = (package.standard, package.minted);
        let bare = token_message(&token, "created", self.cause(Some(deploy)), &self.shape).len();
        let wanted = self.shape.body_bytes * self.random.usize(90..=110) / 100;
        let share = if token.is_base64 { 3 } else { 4 };
        let filler = filler(&mut self.random, wanted.saturating_sub(bare) * share / 4);
        token.onchain = metadata(standard, number, &filler).to_string();
        let to = token.owner.clone();
        self.tokens.push(token);
        self.publish(self.tokens.len() - 1, "created", deploy, (MINT, None, Some(&to)));
    }

    fn transfer(&mut self, at: usize, deploy: &str) {
        let Some(from) = self.tokens.get(at).map(|token| token.owner.clone()) else { return };
        let to = self.someone(Some(&from));
        self.move_to(at, deploy, &from, &to);
    }

    /// A → B → A inside one deploy: two events that differ by the state alone.
    fn round_trip(&mut self, at: usize, deploy: &str) {
        let Some(home) = self.tokens.get(at).map(|token| token.owner.clone()) else { return };
        let away = self.someone(Some(&home));
        self.move_to(at, deploy, &home, &away);
        self.move_to(at, deploy, &away, &home);
    }

    fn move_to(&mut self, at: usize, deploy: &str, from: &Party, to: &Party) {
        if let Some(token) = self.tokens.get_mut(at) {
            token.owner = to.clone();
        }
        self.publish(at, "updated", deploy, (TRANSFER, Some(from), Some(to)));
    }

    fn change_metadata(&mut self, at: usize, deploy: &str) {
        let Some(token) = self.tokens.get_mut(at) else { return };
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&token.onchain) else { return };
        fields.insert("price".to_owned(), Value::from((self.now_ms / 100 % 1_000_000).to_string()));
        token.onchain = Value::Object(fields).to_string();
        let owner = token.owner.clone();
        self.publish(at, "updated", deploy, (METADATA, Some(&owner), Some(&owner)));
    }

    /// Metadata from outside the chain arrives some time after the mint: no deploy, no action, once per token.
    fn resolve_metadata(&mut self, at: usize) {
        let cause = self.cause(None);
        let Some(token) = self.tokens.get_mut(at).filter(|token| token.offchain_status == 0) else { return };
        token.offchain_status = if token.tracking.is_multiple_of(5) { 3 } else { 2 };
        if token.offchain_status == 2 {
            let name = format!("Tornado Master #{}", token.tracking);
            let image = "https://arweave.net/H5RHVhXTpFCVqLkU0yIrDnnUxKOwWwLjWDs4oZ-CZ7c";
            let attributes = json!([{ "trait_type": "BG", "value": "Bg-1" }]);
            let offchain = json!({ "attributes": attributes, "description": "…", "image": image, "name": name });
            token.offchain = Some(offchain.to_string());
        }
        let text = token_message(token, "updated", cause, &self.shape);
        self.waiting.push_back((Stream::NftTokens, text.into()));
    }

    fn approve(&mut self, at: usize, deploy: &str) {
        let market = Party { hash: Arc::from(CONTRACT), kind: 1 };
        let cause = self.cause(Some(deploy));
        let Some(token) = self.tokens.get(at) else { return };
        let action = Action { kind: APPROVE, from: Some(&token.owner), to: Some(&market), at_ms: self.now_ms };
        let text = action_message(token, action, cause, &self.shape);
        self.waiting.push_back((Stream::NftTokenActions, text.into()));
    }

    fn burn(&mut self, at: usize, deploy: &str) {
        let Some(token) = self.tokens.get_mut(at) else { return };
        token.is_burned = true;
        let owner = token.owner.clone();
        self.publish(at, "updated", deploy, (BURN, Some(&owner), None));
        self.tokens.swap_remove(at);
    }

    /// Queues the messages of both streams for a change of the token at `at`.
    fn publish(&mut self, at: usize, verb: &str, deploy: &str, done: (u8, Option<&Party>, Option<&Party>)) {
        let (kind, from, to) = done;
        let cause = self.cause(Some(deploy));
        let Some(token) = self.tokens.get(at) else { return };
        let state = token_message(token, verb, cause, &self.shape);
        let action = action_message(token, Action { kind, from, to, at_ms: self.now_ms }, cause, &self.shape);
        self.waiting.push_back((Stream::NftTokens, state.into()));
        self.waiting.push_back((Stream::NftTokenActions, action.into()));
    }

    fn cause<'a>(&mut self, deploy: Option<&'a str>) -> Cause<'a> {
        let nanos = self.random.u32(..1_000_000);
        Cause { deploy, envelope_ns: i128::from(self.now_ms + LAG_MS) * 1_000_000 + i128::from(nanos) }
    }

    fn someone(&mut self, but: Option<&Party>) -> Party {
        let candidates: Vec<&Party> = self.owners.iter().filter(|owner| Some(*owner) != but).collect();
        let choice = candidates.get(self.random.usize(..candidates.len()));
        choice.map_or_else(|| Party { hash: Arc::from(ACCOUNT), kind: 0 }, |owner| (*owner).clone())
    }
}

/// 64 hex digits.
fn hash(random: &mut fastrand::Rng) -> String {
    let (high, low) = (random.u128(..), random.u128(..));
    format!("{high:032x}{low:032x}")
}

/// Ids as they occur: small numbers (equal ones in every package), 256-bit numbers, texts, hashes, and texts that no
/// HTTP header can carry as they are.
fn token_id(random: &mut fastrand::Rng, number: u64) -> String {
    match random.u8(..10) {
        0..6 => number.to_string(),
        6 => {
            let mut digits = number.to_string();
            digits.extend(std::iter::repeat_with(|| random.digit(10)).take(77_usize.saturating_sub(digits.len())));
            digits
        }
        7 => format!("US-{:07}-B{number}", 7_000_000 + number),
        8 => format!("Nº {number} – крила 東京"),
        _ => hash(random),
    }
}

fn filler(random: &mut fastrand::Rng, length: usize) -> String {
    const WORDS: [&str; 8] = ["city ", "wings ", "teacher ", "of ", "the ", "light ", "donated ", "for "];
    let mut text = String::with_capacity(length + 8);
    while text.len() < length {
        text.push_str(WORDS.get(random.usize(..WORDS.len())).copied().unwrap_or_default());
    }
    text.truncate(length);
    text
}

fn metadata(standard: u8, number: u64, filler: &str) -> Value {
    let uri = format!("ipfs://bafybeidtih6cyguanlx4dgzk6mce5pzjrxpenjjc3earuqjssgnc2nhhru/{number}.json");
    match standard {
        1 => json!({
            "beneficiary": "dd59f6febe111e1e9dd688689523482a0e64906a83df29b5da733235b4da2c79",
            "beneficiaryPercentage": "100", "campaign": "12", "collection": "21",
            "collectionName": "Bucha City  Ukraine", "creatorName": "Olga Litvinenko ", "creatorPercentage": "0",
            "currency": "CSPR", "description": format!("test 27 dec {filler}"), "hasReceipt": "false",
            "image": "https://vinfts.mypinata.cloud/ipfs/bafybeidtih6cyguanlx4dgzk6mce5pzjrxpenjjc3earuqjssgnc2nhhru/0.jpg",
            "isForSale": "true", "price": "20", "sdgs_ids": "3,4,5", "title": "Teacher "
        }),
        2 => json!({ "name": "Tornado-Demo", "symbol": "TD", "description": filler, "token_uri": uri }),
        // A value that is itself JSON text, as seen on CSPR.name.
        _ => json!({ "description": filler, "token_uri": json!({ "token_uri": uri }).to_string() }),
    }
}
