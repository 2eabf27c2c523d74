//! What is changed by the API: every answer of every verb.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Scene, TOKEN};

const LETTERS_OF_NOBODY: &str = r#"{"kind":"drop_dead_letters","filter":{"sink":"nobody"}}"#;

impl Scene {
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.admin.address);
        let request = self.client.post(url).bearer_auth(TOKEN).header("content-type", "application/json");
        super::json(request.body(body.to_string()).send().await.unwrap()).await
    }

    /// So that there is one to describe.
    pub(super) async fn begin_a_job(&self) {
        let order = json!({ "kind": "drop_dead_letters", "filter": { "cause": "nothing" } });
        assert_eq!(self.post("/api/v1/jobs", &order).await.0, 202);
    }

    async fn until_ended(&self, number: &Value) -> Value {
        loop {
            let (status, job) = self.get(&format!("/api/v1/jobs/{number}")).await;
            assert_eq!(status, 200, "{job}");
            if job["state"] != "running" {
                return job;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_job_is_counted_begun_watched_and_listed() {
    let scene = Scene::start();
    scene.fill().await;
    let order = json!({ "kind": "drop_dead_letters", "filter": { "cause": "server" } });
    let (status, forecast) = scene.post("/api/v1/jobs/dry-run", &order).await;
    assert_eq!((status, &forecast["complete"], &forecast["counts"]["done"]), (200, &json!(true), &json!(1)));
    let (status, job) = scene.post("/api/v1/jobs", &order).await;
    assert_eq!((status, &job["state"]), (202, &json!("running")));
    let ended = scene.until_ended(&job["number"]).await;
    assert_eq!((&ended["state"], &ended["counts"]), (&json!("done"), &forecast["counts"]));
    assert_eq!(scene.get("/api/v1/dead-letters").await.1["dead_letters"].as_array().map(Vec::len), Some(1));
    let (status, cancelled) = scene.post(&format!("/api/v1/jobs/{}/cancel", job["number"]), &Value::Null).await;
    assert_eq!((status, &cancelled["state"]), (200, &json!("done")), "it had ended already");
    assert_eq!(scene.get("/api/v1/jobs").await.1["jobs"], json!([ended]));
    scene.end().await;
}

#[tokio::test]
async fn each_kind_of_order_is_carried_out() {
    let scene = Scene::start();
    scene.fill().await;
    // Two letters, of which one goes; of five events `a` still needs three; two messages are no JSON to this day.
    let cases = [
        (json!({ "kind": "replay_dead_letters", "filter": { "sink": "a" } }), [1, 1, 0, 0]),
        (json!({ "kind": "replay_dead_letters", "filter": { "sink": "a" } }), [1, 0, 1, 0]),
        (json!({ "kind": "drop_dead_letters" }), [2, 1, 1, 0]),
        (json!({ "kind": "replay_events", "sink": "a" }), [5, 0, 4, 0]),
        (json!({ "kind": "replay_events", "sink": "a", "again": true }), [5, 1, 4, 0]),
        (json!({ "kind": "replay_events", "sink": "c" }), [5, 5, 0, 0]),
        (json!({ "kind": "reroute_quarantined" }), [2, 0, 0, 2]),
        (json!({ "kind": "drop_quarantined", "filter": { "reason": "no JSON" } }), [2, 2, 0, 0]),
    ];
    for (order, expected) in cases {
        let (status, job) = scene.post("/api/v1/jobs", &order).await;
        assert_eq!(status, 202, "{order}: {job}");
        let counts = scene.until_ended(&job["number"]).await["counts"].clone();
        let found = ["matched", "done", "waiting", "left"].map(|key| counts[key].as_u64().unwrap());
        assert_eq!(found, expected, "{order}: {counts}");
    }
    scene.end().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_told() {
    let scene = Scene::start();
    scene.fill().await;
    let order = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let cases = [
        ("/api/v1/jobs", order(r#"{"kind":"replay_events","sink":"nobody"}"#), 404, "no sink `nobody`"),
        ("/api/v1/jobs/dry-run", order(r#"{"kind":"replay_events","sink":"nobody"}"#), 404, "no sink `nobody`"),
        ("/api/v1/jobs", order(r#"{"kind":"drop_parked","sink":"a"}"#), 404, "nothing is parked"),
        ("/api/v1/jobs", order(r#"{"kind":"replay_dead_letters","rate":0}"#), 400, "at least 1"),
        ("/api/v1/jobs", order(r#"{"kind":"replay_dead_letters","rat":1}"#), 422, "unknown field"),
        ("/api/v1/jobs", order("[]"), 422, "order"),
        ("/api/v1/jobs/99/cancel", Value::Null, 404, "no job 99"),
        ("/api/v1/jobs/dry-run", order(LETTERS_OF_NOBODY), 404, "and never was"),
        ("/api/v1/sinks/a/pause", order(r#"{"reason":"x"}"#), 404, "no sink `a`"),
        ("/api/v1/sinks/a/pause", order(r#"{"reason":" "}"#), 400, "on one line"),
        ("/api/v1/sinks/a/pause", order(r#"{"reason":"a\nb"}"#), 400, "on one line"),
        ("/api/v1/sinks/a/pause", order("{}"), 422, "reason"),
        ("/api/v1/sinks/a/resume", Value::Null, 404, "no sink `a`"),
        ("/api/v1/sinks/a/test", Value::Null, 404, "no sink `a`"),
    ];
    for (path, body, status, detail) in cases {
        let (found, problem) = scene.post(path, &body).await;
        let told = problem["detail"].as_str().unwrap_or_default();
        assert!(found == status && (told.contains(detail) || status == 422), "{path} {body}: {found} {problem}");
    }
    assert_eq!(scene.get("/api/v1/jobs/99").await.0, 404);
    for path in ["/api/v1/jobs", "/api/v1/sinks/a/pause", "/api/v1/sinks/a/test", "/api/v1/jobs/1/cancel"] {
        assert_eq!(scene.ask(Method::POST, path, None).await.status(), 401, "{path}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_gap_is_closed_with_a_note() {
    let scene = Scene::start();
    scene.fill().await;
    let (_, listed) = scene.get("/api/v1/gaps").await;
    let expected = json!([{
        "number": 1, "stream": "nft-tokens", "from": "2023-11-14T22:13:20.000Z", "to": "2023-11-14T22:14:20.000Z",
        "cause": "silent", "detail": null, "state": "open", "note": null, "returned": 0,
    }]);
    assert_eq!(listed["gaps"], expected);
    for (number, note, expected) in [(1, "", 400), (1, "two\nlines", 400), (2, "no such gap", 404)] {
        let (status, answer) = scene.post(&format!("/api/v1/gaps/{number}/close"), &json!({ "note": note })).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (status, gap) = scene.post("/api/v1/gaps/1/close", &json!({ "note": "asked the team" })).await;
    assert_eq!((status, &gap["state"], &gap["note"]), (200, &json!("closed"), &json!("asked the team")));
    assert_eq!(scene.get("/api/v1/status").await.1["gaps"], json!({ "open": 0, "oldest_at": null }));
    scene.end().await;
}
