//! The admin side over real sockets, with a store but no relay around it.

mod description;
mod doors;

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::{Method, Response};
use serde_json::Value;

use super::{Admin, Context, Listener};
use crate::clock::Clock;
use crate::config::{AdminConfig, Secret};
use crate::event::Network;
use crate::intake::{Reroute, Routing, Switch};
use crate::operator::Operator;
use crate::route::Router;
use crate::store::tests::{Fixture, settings};

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

    async fn end(self) {
        self.fixture.close().await;
        self.admin.stop().await;
    }
}

/// Acts on the store alone: no sink is at work.
fn operator(fixture: &Fixture) -> Operator {
    let routing = Arc::new(Switch::new(Routing { router: Router::new(&[]), sinks: HashMap::new() }));
    let reroute = Reroute { network: Network::Testnet, routing };
    Operator::start(reroute, fixture.store.clone(), fixture.clock.clone(), &fixture.lifecycle).0
}

async fn json(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}
