//! States that came back: A→B→A inside one deploy looks to the store like a late repeat of the first A, and is dropped.
//! REST knows which it was.
//!
//! Woken every `repair.recheck`, for one token: it is read when that long has passed since its repeat came, so REST must
//! have caught up. If its present state is the one that was dropped, the store takes it as a further occurrence; a
//! repeat that was late is known. Three requests, with the least urgency, so a flood of repeats costs three requests a
//! minute. Stopped by the drain; ends if the store has stopped. If REST fails the token is let go.

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::token::{self, Key};
use super::{Past, Setup, Trouble, Wanted};
use crate::budget::Purpose;
use crate::event::Stream;
use crate::lifecycle::Lifecycle;
use crate::source::rest::ActionsOf;
use crate::store::{Fate, Stopped};

pub(super) struct Doubts {
    setup: Setup,
    wanted: watch::Receiver<Wanted>,
    past: Past,
    /// To be read next.
    token: Option<Key>,
}

impl Doubts {
    pub(super) fn new(setup: &Setup, wanted: watch::Receiver<Wanted>) -> Self {
        let rest = setup.rest.at(Purpose::Backfill);
        Self { setup: Setup { rest, ..setup.clone() }, wanted, past: Past::default(), token: None }
    }

    pub(super) async fn run(mut self, lifecycle: Lifecycle) {
        loop {
            let recheck = self.wanted.borrow().config.recheck;
            self.past.note(Instant::now(), self.setup.store.newest(), recheck);
            let looked = tokio::select! {
                looked = async {
                    sleep(recheck).await;
                    self.look().await
                } => looked,
                () = lifecycle.drain().cancelled() => return,
            };
            if looked.is_err() {
                return;
            }
            self.token = self.setup.store.next_recurred();
        }
    }

    async fn look(&self) -> Result<(), Stopped> {
        let Some(token) = &self.token else { return Ok(()) };
        let (package, token_id) = token;
        match self.read(token).await {
            Ok(Some(Fate::Accepted)) => {
                tracing::info!(
                    package,
                    token_id,
                    "a state came back, as CSPR.cloud's REST API confirms: it is told again"
                );
            }
            Ok(_) => {}
            Err(Trouble::Rest(error)) => {
                tracing::warn!(package, token_id, %error, "nobody knows whether a state of this token came back");
            }
            Err(Trouble::Stopped) => return Err(Stopped),
        }
        Ok(())
    }

    async fn read(&self, token: &Key) -> Result<Option<Fate>, Trouble> {
        let of = ActionsOf::Token { package: token.0.clone(), id: token.1.clone() };
        let actions = self.setup.rest.actions(&of, 1).await?.rows;
        let Some(listed) = token::listed(actions).remove(token) else { return Ok(None) };
        let recheck = self.wanted.borrow().config.recheck;
        let after = self.past.before(Instant::now(), recheck);
        let told = self.setup.told(Stream::NftTokens, vec![token.clone()]).await.remove(token).unwrap_or_default();
        Ok(token::read(&self.setup, token, &listed, &told, after).await?.fate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{MatchConfig, RepairConfig, RouteConfig, SinkName};
    use crate::emulator::{Emulator, RestSettings, Settings};
    use crate::event::Network;
    use crate::intake::{Reroute, Routing, Switch};
    use crate::metrics::Metrics;
    use crate::notices::Notices;
    use crate::route::Router;
    use crate::source::rest::tests::client;
    use crate::store::events;
    use crate::store::tests::{Fixture, settings};

    const RECHECK: Duration = Duration::from_secs(1);

    fn token(id: &str, state: &str) -> String {
        format!(
            r#"{{"data":{{"contract_package_hash":"aa","token_id":"{id}","owner_hash":"{state}"}},"action":"updated","extra":{{"deploy_hash":"d"}},"timestamp":"2026-01-01T00:00:00Z"}}"#
        )
    }

    fn action(id: &str) -> String {
        format!(
            r#"{{"data":{{"deploy_hash":"d","contract_package_hash":"aa","token_id":"{id}","to_hash":"b","nft_action_id":4,"timestamp":"2026-01-01T00:00:00Z"}},"action":"created","timestamp":"2026-01-01T00:00:00Z"}}"#
        )
    }

    fn reroute(fixture: &Fixture) -> Reroute {
        let sink = SinkName("a".into());
        let (name, matcher, sinks) = ("all".into(), MatchConfig::default(), vec![sink.clone()]);
        let router = Router::new(&[RouteConfig { name, stream: Stream::NftTokens, matcher, sinks }]);
        let sinks = HashMap::from([(sink.clone(), fixture.store.sink_id(&sink).unwrap())]);
        Reroute { network: Network::Testnet, routing: Arc::new(Switch::new(Routing { router, sinks })) }
    }

    #[tokio::test]
    async fn a_state_that_came_back_is_told_once_more_and_a_late_repeat_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let lifecycle = Lifecycle::default();
        let emulated = Settings { rest: Some(RestSettings::default()), history: 1, ..Settings::default() };
        let emulator = Emulator::start(&lifecycle, "127.0.0.1:0".parse().unwrap(), emulated, None).await.unwrap();
        let (rest, intake) = (client(&emulator.base_url(), &emulator.rest_url(), "emulator-key"), reroute(&fixture));
        let (store, clock, metrics, notices) =
            (fixture.store.clone(), Clock::default(), Metrics::new([]), Notices::default());
        let setup = Setup { rest, store: store.clone(), intake: intake.clone(), clock, metrics, notices };
        let config = RepairConfig { settle: RECHECK, recheck: RECHECK, audit: None };
        let (_keep, wanted) = watch::channel(Wanted { config, routes: Vec::new(), has_session: false });
        let doubts = lifecycle.spawn("doubts", Doubts::new(&setup, wanted).run(lifecycle.clone()));
        // The truth of "late" is its last state; "back" has come back to its first.
        for (id, then, now) in [("late", "x", "y"), ("back", "y", "x")] {
            emulator.send(Stream::NftTokenActions, action(id)).await;
            emulator.send(Stream::NftTokens, token(id, then)).await;
            emulator.send(Stream::NftTokens, token(id, now)).await;
            let told = |state| intake.wanted(Stream::NftTokens, token(id, state).as_bytes()).unwrap();
            store.accept(["x", "y", "x"].map(told).into()).await.unwrap();
        }
        while store.newest() < 5 {
            sleep(Duration::from_millis(20)).await;
        }
        lifecycle.drain().cancel();
        let mut doubts = doubts;
        doubts.ended().await;
        fixture.sync().await;
        let all = events(directory.path()).unwrap();
        let ids = [1, 2, 3, 4, 5].map(|seq| all.history(seq).unwrap().unwrap());
        let facts = ids[4].facts.as_ref().unwrap();
        assert_eq!((facts.token_id.as_deref(), facts.owner.as_deref()), (Some("back"), Some("x")));
        assert_eq!(facts.deploy_hash.as_deref(), Some("d"));
        assert!(ids[..4].iter().all(|other| other.id != ids[4].id), "it has an id of its own");
        assert!(all.history(6).unwrap().is_none());
        fixture.close().await;
    }
}
