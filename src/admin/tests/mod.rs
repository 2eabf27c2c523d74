//! The admin side over real sockets, with a store but no relay around it.

mod acting;
mod description;
mod doors;
mod lookups;
mod numbers;
mod tail;

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::{Method, Response};
use serde_json::Value;

use super::{Admin, Archive, Context, Listener};
use crate::clock::{Clock, Timestamp};
use crate::config::{AdminConfig, Secret};
use crate::event::{Network, Stream};
use crate::intake::{Reroute, Routing, Switch};
use crate::operator::Operator;
use crate::route::Router;
use crate::store::tests::{Fixture, candidate, settings};
use crate::store::{Attempt, Change, End, GapCause, GapChange, Quarantined, Settlement};

const TOKEN: &str = "the-token-of-the-tests";

/// A store, and the admin side that serves it.
struct Scene {
    fixture: Fixture,
    admin: Admin,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        Self::with_token(Some(TOKEN))
    }

    fn with_token(token: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(settings(directory.path()), Clock::default());
        let listen = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(AdminConfig { listen, token: token.map(Secret::literal) }).unwrap();
        let context = Context {
            clock: fixture.clock.clone(),
            metrics: Arc::clone(&fixture.metrics),
            lifecycle: fixture.lifecycle.clone(),
            store: fixture.store.clone(),
            operator: operator(&fixture),
            archive: Archive::new(directory.path().to_owned()),
            store_max_bytes: 1 << 40,
            audience: super::tail::Audience::default(),
        };
        let admin = listener.serve(context).unwrap();
        let client = reqwest::Client::builder().build().unwrap();
        Self { fixture, admin, client, _directory: directory }
    }

    async fn ask(&self, method: Method, path: &str, token: Option<&str>) -> Response {
        let url = format!("http://{}{path}", self.admin.address);
        let mut request = self.client.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    /// An answer to whoever has the token.
    async fn get(&self, path: &str) -> (u16, Value) {
        json(self.ask(Method::GET, path, Some(TOKEN)).await).await
    }

    /// Puts five events for `a` into the store, the first two for `b` too; the first is a dead letter at both, the
    /// second is delivered to `a`. In quarantine are two messages, and there was a gap of a minute.
    async fn fill(&self) {
        let store = &self.fixture.store;
        let event = |deploy| candidate(store, deploy, deploy, if deploy < 3 { &["a", "b"] } else { &["a"] });
        store.accept((1..=5).map(event).collect()).await.unwrap();
        for body in [&b"{\"data\":"[..], b"\xff\xfe"] {
            let (stream, reason) = (Stream::NftTokens, "no JSON".to_owned());
            store.quarantine(Quarantined { stream, reason, body: body.into() }).await.unwrap();
        }
        let (stream, from, cause) = (Stream::NftTokens, Timestamp(1_700_000_000_000), GapCause::Silent);
        let gap = store.change_gap(GapChange::Open { stream, from, cause, detail: None }).await.unwrap().unwrap();
        let ended = GapChange::End { number: gap.number, to: Timestamp(1_700_000_060_000) };
        store.change_gap(ended).await.unwrap();
        self.fixture.sync().await;
        let dead = |cause| End::Dead { cause, reason: format!("because of {cause}") };
        let settle = |seq, end| Change::Settle(Settlement { seq, has_waited: true, attempts: 2, body_bytes: 100, end });
        let detail = "\u{1b}[2J".to_owned();
        let attempt = Attempt { seq: 1, at: self.fixture.clock.now(), cause: "server", status: Some(503), detail };
        let of_a =
            vec![Change::Attempt(attempt), settle(1, dead("server")), settle(2, End::Delivered { status: Some(204) })];
        self.fixture.queues[0].record(of_a).await.unwrap();
        self.fixture.queues[1].record(vec![settle(1, dead("timeout"))]).await.unwrap();
        self.fixture.sync().await;
    }

    async fn end(self) {
        self.fixture.close().await;
        self.admin.stop().await;
    }
}

/// Acts on the store alone: no sink is at work.
fn operator(fixture: &Fixture) -> Operator {
    let routing = Arc::new(Switch::new(Routing { router: Router::new(&[]), sinks: HashMap::new() }));
    let reroute = Reroute { network: Network::Testnet, routing };
    Operator::start(crate::operator::tests::setup(fixture, reroute), &fixture.lifecycle).0
}

async fn json(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}
