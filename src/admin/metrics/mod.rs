//! Numbers for Prometheus and its like.
//!
//! Names follow the conventions: `cspr_relay_` first, the unit last, `_total` for what only grows. Labels take a
//! bounded set of values: sinks, streams, connections, causes; the labels of a sink are carried as `label_<name>`.
//! `docs/metrics.md` says what each means; a test holds the two together.

mod families;
mod text;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::Shared;
use text::{Exposition, Format};

/// Every metric, in the format that the caller prefers
#[utoipa::path(
    get, path = "/metrics", tag = "metrics", security(()),
    responses((status = 200, description = "Prometheus text, or OpenMetrics if asked for", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(context): State<Shared>, headers: HeaderMap) -> Response {
    // What only the store knows is left out when it cannot be asked, as while the relay stops.
    let overview = context.archive.overview(&context.metrics).await.ok();
    let mut exposition = Exposition::new(preferred(&headers));
    families::write(&context, overview.as_ref(), &mut exposition);
    let (format, text) = exposition.finish();
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

/// Scrapers that can take `OpenMetrics` say so; everybody can take the older text.
fn preferred(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let names_it = accepted.flat_map(|value| value.split(',')).any(|range| {
        let name = range.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("application/openmetrics-text")
    });
    if names_it { Format::OpenMetrics } else { Format::Prometheus }
}
