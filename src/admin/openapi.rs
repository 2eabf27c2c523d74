//! The description of the API, drawn from the handlers and their types.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

const SCHEME: &str = "token";

/// What the endpoints are put into. All ask for the token but those that say otherwise.
pub(super) fn frame() -> OpenApi {
    let info = InfoBuilder::new().title("cspr-relay").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Looks into a running relay and acts on it. Errors are problem details (RFC 9457). Times are RFC 3339 in UTC.",
    ));
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("admin.token of the configuration"));
    let components = ComponentsBuilder::new().security_scheme(SCHEME, SecurityScheme::Http(token.build()));
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(SCHEME, [""; 0])]))
        .build()
}

/// This description
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "about",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn document() -> Json<OpenApi> {
    Json(super::router().split_for_parts().1)
}
