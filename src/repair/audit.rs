//! Audits: what a stream should have told although it was heard.
//!
//! CSPR.cloud acknowledges nothing, and a connection that answers pings may have stalled. So now and then, while no gap
//! of a stream is left to be seen to, what REST lists since the last audit is held against what was accepted. What is
//! missing becomes a gap with its span and the cause `audit`; repairing it is [`mend`](super::mend)'s work.
//!
//! It rather overlooks something than send what was told before: what happened lately may be under way and is left to
//! the next audit; of a token only the present state counts; of several actions of one deploy on a token one is enough;
//! what lies before the oldest record, or before the routes became what they are, is not looked at.
//!
//! Woken every two seconds; stopped by the drain; ends if the store has stopped. It asks as the least urgent, and after
//! a failure of REST it begins again later. How far it came is on disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::listing::Listing;
use super::scope::{self, Scope};
use super::token::{self, Key, Listed};
use super::{Present, Setup, Wanted, message, rounds};
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::event::{self, EventId, Stream};
use crate::lifecycle::Lifecycle;
use crate::source::rest::Action;
use crate::store::{Audited, GapCause, GapChange, LastTold, OpenError, Stopped, Store, ToldOf};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What REST has a history of.
const STREAMS: [Stream; 2] = [Stream::NftTokens, Stream::NftTokenActions];
/// What happened in so many times of `repair.recheck` may be under way, by the stream or in REST.
const LATELY_FACTOR: u32 = 10;
const RETRY: Backoff = Backoff { first: Duration::from_secs(60), cap: Duration::from_secs(60 * 60) };

pub(super) struct Auditor {
    setup: Setup,
    present: Present,
    wanted: watch::Receiver<Wanted>,
    streams: HashMap<Stream, Standing>,
}

/// How the audits of a stream stand.
#[derive(Debug, Default)]
struct Standing {
    audited: Option<Audited>,
    /// What its routes name, and their fingerprint.
    scope: Scope,
    routes: u64,
    failures: u32,
    not_before: Option<Instant>,
}

impl Auditor {
    /// `setup` has the least urgent of REST's clients.
    pub(super) fn new(setup: Setup, wanted: watch::Receiver<Wanted>) -> Self {
        let present = Present::new(&setup.rest, setup.intake.network, setup.clock.clone());
        Self { setup, present, wanted, streams: HashMap::new() }
    }

    pub(super) async fn run(mut self, lifecycle: Lifecycle) {
        tokio::select! {
            // The store has said why it stopped.
            _stopped = self.work() => {}
            // An audit that is dropped in the middle begins anew at the next start.
            () = lifecycle.drain().cancelled() => {}
        }
    }

    async fn work(&mut self) -> Result<(), Stopped> {
        for audited in self.setup.store.audited().await? {
            self.streams.entry(audited.stream).or_default().audited = Some(audited);
        }
        self.wanted.mark_changed();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.take_up_routes();
            for stream in STREAMS {
                self.look(stream).await?;
            }
        }
    }

    fn take_up_routes(&mut self) {
        if !self.wanted.has_changed().unwrap_or(false) {
            return;
        }
        let wanted = self.wanted.borrow_and_update();
        for stream in STREAMS {
            let standing = self.streams.entry(stream).or_default();
            standing.scope = Scope::of(&wanted.routes, stream);
            standing.routes = scope::fingerprint(&wanted.routes, stream);
        }
    }

    async fn look(&mut self, stream: Stream) -> Result<(), Stopped> {
        let config = self.wanted.borrow().config;
        let Some(Standing { audited, scope, routes, not_before, .. }) = self.streams.get(&stream) else {
            return Ok(());
        };
        let (Some(every), false, true) = (config.audit, scope.is_empty(), self.is_heard(stream)) else { return Ok(()) };
        let (now, lately) = (self.setup.clock.now(), config.recheck * LATELY_FACTOR);
        let Some(audited) = audited.filter(|audited| audited.routes == *routes) else {
            // Of blocks from now on everything is heard: the streams tell of them later.
            let until = later(now, lately);
            return self.note(Audited { stream, until, routes: *routes }).await;
        };
        let is_due = now.since(audited.until) >= every + lately && not_before.is_none_or(|at| at <= Instant::now());
        if !is_due || self.has_pending_gaps(stream).await? {
            return Ok(());
        }
        let span = (earlier(audited.until, lately), earlier(now, lately));
        match self.compare(scope, stream, span).await {
            Ok(missed) => self.finish(Audited { until: span.1, ..audited }, &missed).await,
            Err(error) => {
                self.put_off(stream, &error);
                Ok(())
            }
        }
    }

    /// `missed` has the moments of what the stream has not told.
    async fn finish(&mut self, audited: Audited, missed: &[u64]) -> Result<(), Stopped> {
        let Audited { stream, until, .. } = audited;
        tracing::info!(%stream, %until, missed = missed.len(), "a stream was audited");
        self.setup.metrics.audits.increment();
        self.setup.metrics.audit_missed.add(missed.len() as u64);
        if let (Some(from), Some(to)) = (missed.iter().min(), missed.iter().max()) {
            let detail = format!("{} event(s) that REST knows of were not told by the stream", missed.len());
            let opened = self.setup.open_gap(stream, Timestamp(*from), GapCause::Audit, Some(detail)).await?;
            if let Some(number) = opened {
                self.setup.store.change_gap(GapChange::End { number, to: Timestamp(*to) }).await?;
            }
        }
        self.note(audited).await
    }

    fn put_off(&mut self, stream: Stream, error: &anyhow::Error) {
        let standing = self.streams.entry(stream).or_default();
        standing.failures = standing.failures.saturating_add(1);
        let wait = RETRY.bound(standing.failures);
        standing.not_before = Some(Instant::now() + wait);
        let retry_s = wait.as_secs();
        tracing::warn!(%stream, error = format!("{error:#}"), retry_s, "a stream could not be audited: trying again later");
    }

    async fn note(&mut self, audited: Audited) -> Result<(), Stopped> {
        self.setup.store.change_gap(GapChange::Audited(audited)).await?;
        let standing = self.streams.entry(audited.stream).or_default();
        (standing.audited, standing.failures, standing.not_before) = (Some(audited), 0, None);
        Ok(())
    }

    fn is_heard(&self, stream: Stream) -> bool {
        let rows = self.setup.metrics.source.connections();
        rows.iter().any(|row| row.stream == stream.as_str() && row.up.value() > 0)
    }

    async fn has_pending_gaps(&self, stream: Stream) -> Result<bool, Stopped> {
        let gaps = self.setup.store.gaps().await?;
        Ok(gaps.iter().any(|gap| gap.stream == stream.as_str() && rounds::is_pending(gap)))
    }

    /// When that happened of which the stream has not told.
    async fn compare(
        &self,
        scope: &Scope,
        stream: Stream,
        (since, until): (Timestamp, Timestamp),
    ) -> anyhow::Result<Vec<u64>> {
        let since = since.max(self.ask_store(Store::recorded_since).await?);
        let newest = self.setup.store.newest();
        let listing = Listing::read(&self.setup.rest, scope, since.0).await?;
        match stream {
            Stream::NftTokens => self.missed_tokens(listing.actions, until, newest).await,
            _ => self.missed_actions(&listing.actions, until).await,
        }
    }

    async fn missed_actions(&self, actions: &[Action], until: Timestamp) -> anyhow::Result<Vec<u64>> {
        let mut deploys: BTreeMap<event::Key, (u64, Vec<EventId>)> = BTreeMap::new();
        for action in actions.iter().filter(|action| action.at_ms() <= until.0) {
            let body = message::of_action(action);
            if let Some(wanted) = self.setup.intake.wanted(Stream::NftTokenActions, body.as_bytes()) {
                let (_, ids) = deploys.entry(wanted.identity.base).or_insert((action.at_ms(), Vec::new()));
                ids.push(wanted.identity.id);
            }
        }
        let ids: HashSet<EventId> = deploys.values().flat_map(|(_, ids)| ids).copied().collect();
        let accepted = self.ask_store(move |store| store.accepted_of(&ids)).await?;
        let was_missed = |ids: &[EventId]| !ids.iter().any(|id| accepted.contains(id));
        Ok(deploys.into_values().filter(|(_, ids)| was_missed(ids)).map(|(at_ms, _)| at_ms).collect())
    }

    /// `newest` is the newest event from before REST was asked.
    async fn missed_tokens(&self, actions: Vec<Action>, until: Timestamp, newest: u64) -> anyhow::Result<Vec<u64>> {
        let listed = token::listed(actions).into_iter();
        // One that has changed since is looked at by the next audit.
        let listed: Vec<(Key, Listed)> = listed.filter(|(_, listed)| listed.newest.at_ms() <= until.0).collect();
        let keys: Vec<Key> = listed.iter().map(|(key, _)| key.clone()).collect();
        let told = self.ask_store(move |store| store.told_of(Stream::NftTokens, &keys)).await?;
        let mut missed = Vec::new();
        for ((key, listed), told) in listed.iter().zip(&told).filter(|((_, listed), told)| !listed.is_last_told(told)) {
            let Some(now) = self.wanted_state(key, listed, told).await? else { continue };
            let (package, id) = key.clone();
            let is_missed = match self.ask_store(move |store| store.last_told(&package, &id, newest)).await? {
                LastTold::Never => true,
                LastTold::Kept(last) => self.present.state(&last) != self.present.state(now.as_bytes()),
                LastTold::Other => false,
            };
            missed.extend(is_missed.then(|| listed.newest.at_ms()));
        }
        Ok(missed)
    }

    /// The message about a token as it is, if some route wants it.
    async fn wanted_state(
        &self,
        (package, id): &Key,
        listed: &Listed,
        told: &ToldOf,
    ) -> anyhow::Result<Option<String>> {
        let Some(token) = self.setup.rest.token(package, id).await? else { return Ok(None) };
        let deploy = listed.newest.deploy_hash.as_deref();
        let now = message::of_token(token.get(), listed.word(told), &listed.newest, deploy);
        let is_wanted = self.setup.intake.wanted(Stream::NftTokens, now.as_bytes()).is_some();
        Ok(is_wanted.then_some(now))
    }

    async fn ask_store<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, OpenError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let store = self.setup.store.clone();
        tokio::task::spawn_blocking(move || look(&store)).await?.context("looking into the store")
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
