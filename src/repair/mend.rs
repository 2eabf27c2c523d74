//! Repairing gaps: what REST knows of their spans goes through intake.
//!
//! Woken every two seconds; a gap is looked at once it has ended and REST had time to catch up; stopped by the drain;
//! ends if the store has stopped. When REST fails the gap stays open and is tried again later, at most every hour.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::scope::Scope;
use super::{Setup, message};
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::config::RouteConfig;
use crate::event::{Identity, Network, Stream, decode};
use crate::lifecycle::Lifecycle;
use crate::source::rest::{Action, ActionsOf, RestError};
use crate::store::{Candidate, Fate, Gap, GapChange, GapState, Repaired, Stopped};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// REST lags the stream, so a gap is looked at so long after its end.
const SETTLE: Duration = Duration::from_secs(5);
/// Blocks are older than what the stream tells of them, and clocks differ.
const MARGIN_MS: u64 = 10 * 60 * 1000;
/// Actions of a longer span are too many to be read: 250 each.
const PAGES_MAX: u64 = 1_000;
/// Reads of a token that is changing, or of which REST is behind, with a pause in between.
const READS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
const RETRY: Backoff = Backoff { first: Duration::from_secs(60), cap: Duration::from_secs(3600) };
/// Events handed over at once.
const EVENTS_MAX: usize = 256;

const MINT: u64 = 1;
/// Mint, burn, transfer, metadata: what changes a token.
const CHANGES: [u64; 4] = [1, 2, 4, 5];

pub(super) struct Mender {
    setup: Setup,
    routes: watch::Receiver<Vec<RouteConfig>>,
    /// When a gap is tried again, and how often it failed.
    later: HashMap<u64, (Instant, u32)>,
}

/// Why a repair did not come to its end.
enum Trouble {
    Rest(RestError),
    Stopped,
}

impl From<RestError> for Trouble {
    fn from(error: RestError) -> Self {
        Self::Rest(error)
    }
}

impl From<Stopped> for Trouble {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What a repair has come to.
#[derive(Clone, Debug, Default)]
struct Found {
    returned: u64,
    /// Tokens of which REST did not come to know what the stream had told.
    behind: u64,
    too_many: bool,
}

impl Mender {
    pub(super) fn new(setup: Setup, routes: watch::Receiver<Vec<RouteConfig>>) -> Self {
        Self { setup, routes, later: HashMap::new() }
    }

    pub(super) async fn run(mut self, lifecycle: Lifecycle) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = lifecycle.drain().cancelled() => return,
            }
            let worked = tokio::select! {
                worked = self.look() => worked,
                // A repair that is dropped in the middle begins anew at the next start.
                () = lifecycle.drain().cancelled() => return,
            };
            if worked.is_err() {
                return;
            }
        }
    }

    async fn look(&mut self) -> Result<(), Stopped> {
        let store = self.setup.store.clone();
        let Ok(Ok(heard)) = tokio::task::spawn_blocking(move || store.hearing()).await else { return Ok(()) };
        let now = self.setup.clock.now();
        let is_due = |gap: &&Gap| {
            let is_over = gap.to_ms.is_some_and(|to| now.since(Timestamp(to)) >= SETTLE);
            let is_later = self.later.get(&gap.number).is_some_and(|(at, _)| *at > Instant::now());
            gap.state == GapState::Open && is_over && !is_later
        };
        let due: Vec<Gap> = heard.gaps.iter().filter(is_due).cloned().collect();
        for gap in due {
            match self.mend(&gap).await {
                Ok(change) => {
                    self.later.remove(&gap.number);
                    self.setup.store.change_gap(change).await?;
                }
                Err(Trouble::Stopped) => return Err(Stopped),
                Err(Trouble::Rest(error)) => self.put_off(gap.number, &error),
            }
        }
        Ok(())
    }

    fn put_off(&mut self, gap: u64, error: &RestError) {
        let failures = self.later.get(&gap).map_or(1, |(_, failures)| failures.saturating_add(1));
        let wait = RETRY.bound(failures);
        tracing::warn!(gap, %error, retry_s = wait.as_secs(), "a gap could not be repaired: trying again later");
        self.later.insert(gap, (Instant::now() + wait, failures));
    }

    async fn mend(&self, gap: &Gap) -> Result<GapChange, Trouble> {
        let stream = Stream::from_name(&gap.stream);
        let settled = |state, note: Option<String>, returned| {
            tracing::info!(gap = gap.number, ?state, returned, note, "a gap was seen to");
            Ok(GapChange::Settle { number: gap.number, state, note, returned })
        };
        let Some(stream @ (Stream::NftTokens | Stream::NftTokenActions)) = stream else {
            let why = "CSPR.cloud's REST API has no history of this stream that would fit it".to_owned();
            return settled(GapState::Unrepairable, Some(why), 0);
        };
        let scope = Scope::of(&self.routes.borrow(), stream);
        if scope.is_empty() {
            let why = "no route names a package or an owner to ask about".to_owned();
            return settled(GapState::Unrepairable, Some(why), 0);
        }
        let (actions, too_many) = self.walk(&scope, gap.from_ms.saturating_sub(MARGIN_MS)).await?;
        let mut found = match stream {
            Stream::NftTokens => self.mend_tokens(gap, actions).await?,
            _ => self.mend_actions(actions).await?,
        };
        found.too_many = too_many;
        let note = found.note(&scope);
        let state = if note.is_some() { GapState::Partial } else { GapState::Repaired };
        settled(state, note, found.returned)
    }

    /// All actions since then, the newest first, each once; and whether there were too many.
    async fn walk(&self, scope: &Scope, since_ms: u64) -> Result<(Vec<Action>, bool), RestError> {
        let packages = scope.packages.iter().cloned().map(ActionsOf::Package);
        let owners = scope.owners.iter().cloned().map(ActionsOf::Owner);
        let (mut found, mut too_many) = (BTreeMap::new(), false);
        for of in packages.chain(owners) {
            too_many |= self.walk_one(&of, since_ms, &mut found).await?;
        }
        Ok((found.into_values().collect(), too_many))
    }

    async fn walk_one(
        &self,
        of: &ActionsOf,
        since_ms: u64,
        found: &mut BTreeMap<String, Action>,
    ) -> Result<bool, RestError> {
        for page in 1..=PAGES_MAX {
            let listed = self.setup.rest.actions(of, page).await?;
            let is_past = listed.actions.last().is_some_and(|action| action.is_before(since_ms));
            let wanted = listed.actions.into_iter().filter(|action| !action.is_before(since_ms));
            // Pages shift, and one action may be about a named package and a named owner.
            found.extend(wanted.map(|action| (action.raw.get().to_owned(), action)));
            if listed.is_last || is_past {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn mend_actions(&self, mut actions: Vec<Action>) -> Result<Found, Trouble> {
        actions.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        let candidates = actions.iter().filter_map(|action| {
            let body = message::of_action(action);
            self.setup.intake.repaired(Stream::NftTokenActions, body.as_bytes(), Repaired::default())
        });
        let mut found = Found::default();
        let mut candidates: Vec<Candidate> = candidates.collect();
        while !candidates.is_empty() {
            let rest = candidates.split_off(candidates.len().min(EVENTS_MAX));
            let fates = self.setup.store.accept_repaired(std::mem::replace(&mut candidates, rest)).await?;
            found.returned += fates.iter().filter(|fate| **fate == Fate::Accepted).count() as u64;
        }
        Ok(found)
    }

    async fn mend_tokens(&self, gap: &Gap, actions: Vec<Action>) -> Result<Found, Trouble> {
        // Whether each of them was minted in the span.
        let mut tokens: BTreeMap<(String, String), bool> = BTreeMap::new();
        for action in actions.iter().filter(|action| action.changes()) {
            let key = (action.contract_package_hash.clone(), action.token_id.clone());
            *tokens.entry(key).or_default() |= action.nft_action_id == MINT;
        }
        let mut found = Found::default();
        for ((package, id), was_minted) in tokens {
            let word = if was_minted && !self.was_created(&package, &id).await { "created" } else { "updated" };
            match self.mend_token(gap, &package, &id, word).await? {
                Some(Fate::Accepted) => found.returned += 1,
                Some(Fate::Behind) => found.behind += 1,
                Some(Fate::Known) | None => {}
            }
        }
        Ok(found)
    }

    /// Whether the relay has an event of the token's creation. One that retention has removed is not known.
    async fn was_created(&self, package: &str, id: &str) -> bool {
        let (store, package, id) = (self.setup.store.clone(), package.to_owned(), id.to_owned());
        let looked = tokio::task::spawn_blocking(move || store.has_created(&package, &id)).await;
        looked.is_ok_and(|found| found.unwrap_or_default())
    }

    /// Hands the present state of a token over; `None` if there is no such token, or no route wants it.
    async fn mend_token(&self, gap: &Gap, package: &str, id: &str, word: &str) -> Result<Option<Fate>, Trouble> {
        let mut fate = None;
        for read in 0..READS_MAX {
            if read > 0 {
                sleep(PAUSE).await;
            }
            let Some(candidate) = self.read(gap, package, id, word).await? else { continue };
            let Some(candidate) = candidate.0 else { return Ok(None) };
            fate = self.setup.store.accept_repaired(vec![candidate]).await?.first().copied();
            if fate != Some(Fate::Behind) {
                break;
            }
        }
        Ok(fate)
    }

    /// One read of a token; `None` if it changed meanwhile.
    async fn read(&self, gap: &Gap, package: &str, id: &str, word: &str) -> Result<Option<Read>, RestError> {
        let of = ActionsOf::Token { package: package.to_owned(), id: id.to_owned() };
        let before = self.setup.rest.actions(&of, 1).await?.actions;
        let Some(latest) = before.iter().find(|action| action.changes()) else { return Ok(Some(Read(None))) };
        let Some(token) = self.setup.rest.token(package, id).await? else { return Ok(Some(Read(None))) };
        let after = self.setup.rest.actions(&of, 1).await?.actions;
        let again = after.iter().find(|action| action.changes());
        if again.is_none_or(|again| again.raw.get() != latest.raw.get()) {
            return Ok(None);
        }
        let token = token.get();
        let say = |word: &str, deploy: Option<&str>| message::of_token(token, word, latest, deploy);
        let identity = |text: &str| identity(self.setup.intake.network, text);
        let deploy = latest.deploy_hash.as_deref();
        let same = if word == "created" { vec![] } else { vec![say("created", deploy), say("updated", None)] };
        let told = before.iter().filter_map(|action| identity(&say("updated", action.deploy_hash.as_deref())));
        let now = identity(&say("updated", None));
        let told = told.chain(now).map(|identity| identity.base).collect();
        let same = same.iter().filter_map(|text| identity(text)).collect();
        let repaired = Repaired::new(same, told, gap.after);
        let body = say(word, deploy);
        Ok(Some(Read(self.setup.intake.repaired(Stream::NftTokens, body.as_bytes(), repaired))))
    }
}

/// What a read of a token brought; nothing if there is no such token, or no route wants it.
struct Read(Option<Candidate>);

fn identity(network: Network, text: &str) -> Option<Identity> {
    decode(network, Stream::NftTokens, text.as_bytes()).ok().map(|decoded| decoded.identity)
}

impl Action {
    /// Whether it changes the token.
    pub(super) fn changes(&self) -> bool {
        CHANGES.contains(&self.nft_action_id)
    }

    /// A time that cannot be read counts as late.
    fn is_before(&self, ms: u64) -> bool {
        let at = self.timestamp.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        at.is_some_and(|at| u64::try_from(at).unwrap_or_default() < ms)
    }
}

impl Found {
    /// What is left, if anything is.
    fn note(&self, scope: &Scope) -> Option<String> {
        let mut left = Vec::new();
        if !scope.unnamed.is_empty() {
            left.push(format!("nothing says whom to ask about for {}", scope.unnamed.join(", ")));
        }
        if self.behind > 0 {
            left.push(format!(
                "of {} token(s) CSPR.cloud's REST API did not know what its stream had told",
                self.behind
            ));
        }
        if self.too_many {
            left.push(format!("there were more than {PAGES_MAX} pages of actions"));
        }
        (!left.is_empty()).then(|| left.join("; "))
    }
}
