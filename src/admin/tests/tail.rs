//! Looking on while events are accepted.

use reqwest::{Method, Response};
use serde_json::Value;

use super::{Scene, TOKEN, json};
use crate::store::tests::candidate;

impl Scene {
    async fn accept(&self, tokens: std::ops::Range<u64>, sinks: &[&str]) {
        let events = tokens.map(|n| candidate(&self.fixture.store, n, n, sinks)).collect();
        self.fixture.store.accept(events).await.unwrap();
        self.fixture.sync().await;
    }
}

/// The next lines, as many as there are in the parts that bring `count` of them.
async fn lines(answer: &mut Response, count: usize) -> Vec<Value> {
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < count {
        text.extend_from_slice(&answer.chunk().await.unwrap().expect("it goes on"));
    }
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[tokio::test]
async fn who_looks_on_sees_what_is_accepted_from_then_on_and_what_he_asked_for() {
    let scene = Scene::start();
    scene.accept(0..3, &["a"]).await;
    let mut all = scene.ask(Method::GET, "/api/v1/tail", Some(TOKEN)).await;
    let mut some = scene.ask(Method::GET, "/api/v1/tail?token_id=5&sink=b&messages=true", Some(TOKEN)).await;
    assert_eq!(all.headers()["content-type"], "application/jsonl");
    scene.accept(3..8, &["a", "b"]).await;
    let seen: Vec<Value> = lines(&mut all, 5).await.iter().map(|line| line["event"]["token_id"].clone()).collect();
    assert_eq!(seen, ["3", "4", "5", "6", "7"]);
    let seen = lines(&mut some, 1).await;
    assert_eq!((seen.len(), &seen[0]["event"]["token_id"]), (1, &Value::from("5")));
    assert!(seen[0]["event"]["message"].as_str().unwrap().contains("token_id"));
    scene.fixture.lifecycle.drain().cancel();
    assert_eq!(all.chunk().await.unwrap(), None, "a relay that stops says goodbye");
    scene.end().await;
}

#[tokio::test]
async fn only_so_many_may_look_on() {
    let scene = Scene::start();
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(scene.ask(Method::GET, "/api/v1/tail", Some(TOKEN)).await);
    }
    let (status, problem) = json(scene.ask(Method::GET, "/api/v1/tail", Some(TOKEN)).await).await;
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("too many")), (503, true));
    open.pop();
    let is_free = async { while scene.ask(Method::GET, "/api/v1/tail", Some(TOKEN)).await.status() != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), is_free)
        .await
        .expect("a place that is left is free again");
    drop(open);
    scene.end().await;
}
