//! Who may ask: everybody for health and metrics, else whoever bears the token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::config::{AdminConfig, Secret};

/// What everybody may ask. It says nothing about events.
const OPEN: [&str; 4] = ["/metrics", "/healthz/live", "/healthz/ready", "/healthz/startup"];

/// Lets a request pass, or refuses it. What is not open needs the token, endpoints that do not exist included.
pub(super) async fn check(State(config): State<Arc<AdminConfig>>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match admit(config.token.as_ref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn admit(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else {
        return Err(Problem::forbidden(
            "this relay has no admin.token, so its API answers nobody: set one in the configuration and restart it",
        ));
    };
    let Some(given) = bearer(headers) else {
        return Err(Problem::unauthorized("send the relay's admin.token as `Authorization: Bearer <token>`"));
    };
    // How long the comparison of two hashes takes tells nothing about the token.
    let is_right = Sha256::digest(given) == Sha256::digest(token.current().expose_secret());
    if is_right { Ok(()) } else { Err(Problem::unauthorized("the token is not this relay's admin.token")) }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}
