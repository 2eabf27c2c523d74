//! Repairing gaps: what REST knows of their spans goes through intake.
//!
//! Woken every two seconds; all gaps of a stream that are due are one round (see [`rounds`](super::rounds)); stopped by
//! the drain; ends if the store has stopped. When REST fails the gaps stay open, say why, and are tried again later, at
//! most every quarter of an hour; what the round had read by then is not read again.
//!
//! What it costs: the pages of the span, and two requests for each token that changed in it and that the stream has not
//! told, however many gaps there are. After a round the next one of that stream waits four times as long as it took, so
//! a connection that comes and goes cannot use up what others may ask.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::found::Found;
use super::listing::Listing;
use super::rounds::{self, Due, Look, MEANWHILE_EVERY, Round};
use super::scope::Scope;
use super::token::{self, Key, Listed, Mark};
use super::{Past, Setup, Trouble, Wanted, message, waiting};
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::event::Stream;
use crate::lifecycle::{Lifecycle, kill_point};
use crate::notices::GapNotice;
use crate::source::rest::{Action, RestError};
use crate::store::{Candidate, Fate, Gap, GapChange, GapState, Repaired, Stopped, ToldOf};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Blocks are older than what the stream tells of them, and clocks differ.
const MARGIN_MS: u64 = 10 * 60 * 1000;
/// At a second look, how often tokens of which REST is behind are read once more, and after which pause.
const AGAIN_MAX: u32 = 3;
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const RETRY: Backoff = Backoff { first: Duration::from_secs(15), cap: Duration::from_secs(15 * 60) };
/// The pause after a round, in times of what it took, and at most.
const PAUSE_FACTOR: u32 = 4;
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);
/// Events handed over at once.
const EVENTS_MAX: usize = 256;
/// Tokens of a stream that are known to have been read; beyond it none is.
const MARKS_MAX: usize = 100_000;

/// Mint, burn, transfer, metadata: what changes a token.
const CHANGES: [u64; 4] = [1, 2, 4, 5];

pub(super) struct Mender {
    setup: Setup,
    wanted: watch::Receiver<Wanted>,
    streams: HashMap<String, Standing>,
    past: Past,
}

/// How the repairs of a stream stand.
#[derive(Debug, Default)]
struct Standing {
    not_before: Option<Instant>,
    failures: u32,
    marks: HashMap<Key, Mark>,
}

/// What the tokens of a round are compared with.
struct Ground<'a> {
    round: &'a Round,
    since: Timestamp,
    after: u64,
    told: HashMap<Key, ToldOf>,
}

impl Mender {
    pub(super) fn new(setup: Setup, wanted: watch::Receiver<Wanted>) -> Self {
        Self { setup, wanted, streams: HashMap::new(), past: Past::default() }
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
                // A round that is dropped in the middle begins anew at the next start.
                () = lifecycle.drain().cancelled() => return,
            };
            if worked.is_err() {
                return;
            }
        }
    }

    async fn look(&mut self) -> Result<(), Stopped> {
        let gaps = self.setup.store.gaps().await?;
        let config = self.wanted.borrow().config;
        let now = Instant::now();
        self.past.note(now, self.setup.store.newest(), config.recheck);
        for (stream, round) in rounds::due(&gaps, self.setup.clock.now(), &config) {
            let mut standing = self.streams.remove(&stream).unwrap_or_default();
            if standing.not_before.is_none_or(|at| at <= now) {
                self.mend(&round, &stream, &mut standing).await?;
            }
            self.streams.insert(stream, standing);
        }
        let pending: HashSet<&String> =
            gaps.iter().filter(|gap| rounds::is_pending(gap)).map(|gap| &gap.stream).collect();
        self.streams.retain(|stream, _| pending.contains(stream));
        Ok(())
    }

    async fn mend(&self, round: &Round, stream: &str, standing: &mut Standing) -> Result<(), Stopped> {
        let (began, mut found) = (Instant::now(), Found::default());
        let work = self.round(round, stream, &mut standing.marks, &mut found);
        match waiting::noting(&self.setup, round, work).await {
            Ok(()) => {
                let pause = if round.is_meanwhile() {
                    MEANWHILE_EVERY
                } else {
                    (began.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX)
                };
                (standing.failures, standing.not_before) = (0, Some(Instant::now() + pause));
                Ok(())
            }
            Err(Trouble::Stopped) => Err(Stopped),
            Err(Trouble::Rest(error)) => {
                standing.failures = standing.failures.saturating_add(1);
                let wait = RETRY.bound(standing.failures);
                standing.not_before = Some(Instant::now() + wait);
                self.put_off(round, &found, &error, wait).await
            }
        }
    }

    async fn put_off(&self, round: &Round, found: &Found, error: &RestError, wait: Duration) -> Result<(), Stopped> {
        let gaps = round.numbers();
        tracing::warn!(?gaps, %error, retry_s = wait.as_secs(), "gaps could not be repaired: trying again later");
        for Due { gap, .. } in &round.0 {
            let (note, returned) = (Some(format!("not repaired yet: {error}")), found.of(gap.number));
            self.setup.store.change_gap(GapChange::Progress { number: gap.number, note, returned }).await?;
        }
        Ok(())
    }

    async fn round(
        &self,
        round: &Round,
        stream: &str,
        marks: &mut HashMap<Key, Mark>,
        found: &mut Found,
    ) -> Result<(), Trouble> {
        let Some(stream @ (Stream::NftTokens | Stream::NftTokenActions)) = Stream::from_name(stream) else {
            let why = "CSPR.cloud's REST API has no history of this stream that would fit it";
            return self.give_up(round, why).await;
        };
        let scope = Scope::of(&self.wanted.borrow().routes, stream);
        if scope.is_empty() {
            return self.give_up(round, "no route names a package or an owner to ask about").await;
        }
        let since_ms = round.begin_ms().saturating_sub(MARGIN_MS);
        let Listing { actions, is_cut } = Listing::read(&self.setup.rest, &scope, since_ms).await?;
        found.too_many = is_cut;
        kill_point("repair-walked");
        match stream {
            Stream::NftTokens => self.mend_tokens(round, actions, marks, found).await?,
            _ => self.mend_actions(round, actions, found).await?,
        }
        kill_point("repair-settles");
        self.settle(round, &scope, found).await
    }

    async fn give_up(&self, round: &Round, why: &str) -> Result<(), Trouble> {
        for Due { gap, .. } in round.0.iter().filter(|due| due.look != Look::Meanwhile) {
            let outcome = (GapState::Unrepairable, Some(why.to_owned()));
            self.close(gap, outcome, 0, None).await?;
        }
        Ok(())
    }

    async fn settle(&self, round: &Round, scope: &Scope, found: &Found) -> Result<(), Trouble> {
        for Due { gap, look, .. } in &round.0 {
            let (number, returned) = (gap.number, found.of(gap.number));
            let (Some(to), true) = (gap.to_ms, *look != Look::Meanwhile) else {
                self.setup.store.change_gap(GapChange::Progress { number, note: None, returned }).await?;
                continue;
            };
            let recheck = (*look == Look::First).then(|| self.recheck(to));
            self.close(gap, found.outcome(gap, scope, recheck), returned, recheck).await?;
        }
        Ok(())
    }

    /// Writes down what a look has come to; the last one is told as an event, too.
    async fn close(
        &self,
        gap: &Gap,
        (state, note): (GapState, Option<String>),
        returned: u64,
        recheck: Option<Timestamp>,
    ) -> Result<(), Stopped> {
        let (number, stream, word) = (gap.number, &gap.stream, state.as_str());
        tracing::info!(gap = number, stream, state = word, returned, note, "a repair has ended");
        let change = GapChange::Settle { number, state, note: note.clone(), returned, recheck };
        self.setup.store.change_gap(change).await?;
        if let (None, Some(stream)) = (recheck, Stream::from_name(stream)) {
            let (from, returned) = (Timestamp(gap.from_ms), gap.returned + returned);
            self.setup.notices.gap_closed(stream, GapNotice { number, from, word, reason: note, returned });
        }
        Ok(())
    }

    /// When a gap that ended then is looked at for the second time.
    fn recheck(&self, to_ms: u64) -> Timestamp {
        let wait = u64::try_from(self.wanted.borrow().config.recheck.as_millis()).unwrap_or(u64::MAX);
        Timestamp(to_ms.saturating_add(wait).max(self.setup.clock.now().0))
    }

    async fn mend_actions(&self, round: &Round, mut actions: Vec<Action>, found: &mut Found) -> Result<(), Trouble> {
        if self.wanted.borrow().has_session {
            let keys: HashSet<Key> = actions.iter().map(Action::key).collect();
            let told = self.setup.told(Stream::NftTokenActions, keys.into_iter().collect()).await;
            self.note_brought(round, &told, found);
        }
        actions.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        let wanted = |action: &Action| {
            let body = message::of_action(action);
            let told = self.setup.intake.repaired(Stream::NftTokenActions, body.as_bytes(), Repaired::default());
            Some((told?, round.gap_of(action.at_ms())))
        };
        let wanted: Vec<(Candidate, u64)> = actions.iter().filter_map(wanted).collect();
        for some in wanted.chunks(EVENTS_MAX) {
            let candidates = some.iter().map(|(candidate, _)| candidate.clone()).collect();
            let fates = self.setup.store.accept_repaired(candidates).await?;
            for ((_, gap), _) in some.iter().zip(fates).filter(|(_, fate)| *fate == Fate::Accepted) {
                found.credit(*gap);
            }
        }
        Ok(())
    }

    async fn mend_tokens(
        &self,
        round: &Round,
        actions: Vec<Action>,
        marks: &mut HashMap<Key, Mark>,
        found: &mut Found,
    ) -> Result<(), Trouble> {
        let listed = token::listed(actions);
        let told = self.setup.told(Stream::NftTokens, listed.keys().cloned().collect()).await;
        self.note_brought(round, &told, found);
        // What was accepted later than this REST may not know yet.
        let after = self.past.before(Instant::now(), self.wanted.borrow().config.recheck);
        let ground = Ground { round, since: round.since(), after, told };
        let mut behind = self.pass(&ground, listed.into_iter().collect(), marks, found).await?;
        let mut again = if round.0.iter().any(|due| due.look == Look::Second) { AGAIN_MAX } else { 0 };
        while again > 0 && !behind.is_empty() {
            sleep(AGAIN_AFTER).await;
            behind = self.pass(&ground, behind, marks, found).await?;
            again -= 1;
        }
        found.behind = behind.len();
        Ok(())
    }

    /// Reads those that have to be read; those of which REST is behind are given back.
    async fn pass(
        &self,
        ground: &Ground<'_>,
        tokens: Vec<(Key, Listed)>,
        marks: &mut HashMap<Key, Mark>,
        found: &mut Found,
    ) -> Result<Vec<(Key, Listed)>, Trouble> {
        let mut behind = Vec::new();
        for (key, listed) in tokens {
            let told = ground.told.get(&key).cloned().unwrap_or_default();
            let is_known =
                listed.was_told(&told) || marks.get(&key).is_some_and(|mark| listed.was_read(mark, ground.since));
            if is_known {
                continue;
            }
            let at = self.setup.clock.now();
            let read = match token::read(&self.setup, &key, &listed, &told, ground.after).await {
                Err(Trouble::Rest(RestError::Unusable(_))) => {
                    found.unreadable += 1;
                    continue;
                }
                read => read?,
            };
            if read.fate == Some(Fate::Behind) {
                behind.push((key, listed));
                continue;
            }
            if read.fate == Some(Fate::Accepted) {
                found.credit(ground.round.gap_of(read.newest.at_ms()));
            }
            if marks.len() < MARKS_MAX {
                marks.insert(key, Mark { at, newest: read.newest.raw.get().to_owned() });
            }
        }
        Ok(behind)
    }

    /// What a persistent session has brought counts; without one a clock that is wrong could look like that.
    fn note_brought(&self, round: &Round, told: &HashMap<Key, ToldOf>, found: &mut Found) {
        if self.wanted.borrow().has_session {
            found.note_brought(round, told.values().flat_map(|told| &told.sent));
        }
    }
}

impl Action {
    /// The token that it is about.
    pub(super) fn key(&self) -> Key {
        (self.contract_package_hash.clone(), self.token_id.clone())
    }

    /// Whether it changes the token.
    pub(super) fn changes(&self) -> bool {
        CHANGES.contains(&self.nft_action_id)
    }

    /// When it happened; a time that cannot be read counts as late.
    pub(super) fn at_ms(&self) -> u64 {
        let at = self.timestamp.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        at.map_or(u64::MAX, |at| u64::try_from(at).unwrap_or_default())
    }

    pub(super) fn is_before(&self, ms: u64) -> bool {
        self.at_ms() < ms
    }
}
