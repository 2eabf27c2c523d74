//! What REST lists, in the shape in which the streams tell it.

use serde_json::json;

use crate::source::rest::Action;

/// A message of `nft-tokens`: a token as it is now, because of `action`.
pub(super) fn of_token(token: &str, word: &str, action: &Action, deploy: Option<&str>) -> String {
    of_token_at(token, word, deploy, &action.timestamp)
}

/// The same, at another time than that of an action.
pub(super) fn of_token_at(token: &str, word: &str, deploy: Option<&str>, timestamp: &str) -> String {
    let extra = deploy.map_or_else(|| json!(null), |deploy| json!({ "deploy_hash": deploy }));
    envelope(token, word, &extra, timestamp)
}

/// A message of `nft-token-actions`.
pub(super) fn of_action(action: &Action) -> String {
    let extra = action.owner_hash.as_ref().map_or_else(|| json!(null), |owner| json!({ "owner_hash": owner }));
    envelope(action.raw.get(), "created", &extra, &action.timestamp)
}

fn envelope(data: &str, word: &str, extra: &serde_json::Value, timestamp: &str) -> String {
    format!(r#"{{"data":{data},"action":"{word}","extra":{extra},"timestamp":{}}}"#, json!(timestamp))
}
