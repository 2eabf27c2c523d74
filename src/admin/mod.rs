//! What operators look at while the relay runs: health and metrics for machines, and the API behind the token.
//!
//! It binds before the store is opened, so that a taken address is found at once, serves as soon as the parts are
//! built, and is the last to stop, so that a stop can be watched. It reads what the other parts count (`metrics`) and
//! what the store keeps; no event passes through it. Whoever has no token learns only names of sinks and numbers.
//!
//! A new endpoint is a handler with a `utoipa::path` in the file of its noun, and a line in [`router`]: by that it is
//! routed and described. It answers `Result<Json<T>, Problem>`.

mod archive;
mod auth;
pub(crate) mod dead_letters;
pub(crate) mod events;
mod extract;
pub(crate) mod gaps;
mod health;
mod jobs;
mod metrics;
mod openapi;
mod orders;
mod problem;
pub(crate) mod quarantine;
mod server;
pub(crate) mod sinks;
pub(crate) mod status;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
mod verbs;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::Clock;
use crate::config::AdminConfig;
use crate::lifecycle::{Lifecycle, Task};
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::store::Store;
pub(crate) use archive::{Archive, Which};
pub(crate) use health::Health;
pub(crate) use jobs::{CountsView, Forecast, JobView, Jobs};
pub(crate) use orders::{EventFilterRequest, LetterFilterRequest, OrderRequest, QuarantineFilterRequest};
pub(crate) use problem::Problem;
pub(crate) use verbs::{PauseChange, PauseView, TestResult};

/// A longer body of a request is refused.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The address, taken; whoever connects waits until [`Listener::serve`].
pub(crate) struct Listener {
    listener: TcpListener,
    config: AdminConfig,
}

/// The admin side at work.
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: Task,
}

/// What the handlers know.
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) store: Store,
    pub(crate) operator: Operator,
    pub(crate) archive: Archive,
    /// `store.max_bytes`
    pub(crate) store_max_bytes: u64,
    pub(crate) audience: tail::Audience,
}

/// What a handler gets as its `State`.
type Shared = Arc<Context>;

impl Listener {
    /// Fails if the address is taken, or is not one of this machine.
    pub(crate) fn bind(config: AdminConfig) -> anyhow::Result<Self> {
        let address = config.listen;
        let failed = || format!("cannot listen at {address} for metrics, health and the API: set admin.listen");
        let listener = TcpListener::bind(address).with_context(failed)?;
        listener.set_nonblocking(true).with_context(failed)?;
        Ok(Self { listener, config })
    }

    /// Serves until [`Admin::stop`], whatever else is drained meanwhile.
    pub(crate) fn serve(self, context: Context) -> anyhow::Result<Admin> {
        let Self { listener, config } = self;
        let listener = tokio::net::TcpListener::from_std(listener).context("listening for the admin side")?;
        let address = listener.local_addr().context("listening for the admin side")?;
        let lifecycle = context.lifecycle.clone();
        let app = app(Arc::new(context), config);
        let stop = CancellationToken::new();
        let task = lifecycle.spawn("admin", server::serve(listener, app, stop.clone()));
        Ok(Admin { address, stop, task })
    }
}

impl Admin {
    /// Finishes what is being answered, for a moment at most.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.task.ended().await;
    }
}

/// Every endpoint, with its description.
fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::startup))
        .routes(routes!(metrics::metrics))
        .routes(routes!(status::status))
        .routes(routes!(sinks::list))
        .routes(routes!(sinks::one))
        .routes(routes!(events::one))
        .routes(routes!(events::history))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::one))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::one))
        .routes(routes!(gaps::list))
        .routes(routes!(gaps::close))
        .routes(routes!(gaps::repair))
        .routes(routes!(tail::tail))
        .routes(routes!(verbs::pause))
        .routes(routes!(verbs::resume))
        .routes(routes!(verbs::test))
        .routes(routes!(jobs::list, jobs::begin))
        .routes(routes!(jobs::dry_run))
        .routes(routes!(jobs::one))
        .routes(routes!(jobs::cancel))
        .routes(routes!(openapi::document))
}

/// The whole of it, with what every request has to pass.
fn app(context: Shared, config: AdminConfig) -> Router {
    let (router, _description) = router().split_for_parts();
    router
        .fallback(|| async { Problem::not_found("there is no such endpoint: see /api/v1/openapi.json") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(config), auth::check))
        .layer(middleware::from_fn(server::limit_time))
        .with_state(context)
}
