//! Events, dead letters and quarantined messages, by the API.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Scene, TOKEN};

#[tokio::test]
async fn an_event_is_found_by_id_and_sequence_with_what_became_of_it() {
    let scene = Scene::start();
    scene.fill().await;
    let (_, event) = scene.get("/api/v1/events/1").await;
    let deliveries = event["deliveries"].as_array().unwrap();
    let states: Vec<_> = deliveries.iter().map(|delivery| (&delivery["sink"], &delivery["state"])).collect();
    assert_eq!(states, [(&json!("a"), &json!("dead")), (&json!("b"), &json!("dead"))]);
    let attempt = &deliveries[0]["failed_attempts"][0];
    assert_eq!((&attempt["status"], &attempt["cause"]), (&json!(503), &json!("server")));
    let id = event["id"].as_str().unwrap();
    let by_id = scene.get(&format!("/api/v1/events/{id}")).await;
    let by_wire = scene.get(&format!("/api/v1/events/{}", event["wire_sequence"].as_str().unwrap())).await;
    assert_eq!((&by_id, &by_wire), (&(200, event.clone()), &(200, event)));
    for (path, expected) in [("99", 404), ("18446744073709551615", 400), ("evt_", 400), ("-1", 400), ("%00", 400)] {
        assert_eq!(scene.get(&format!("/api/v1/events/{path}")).await.0, expected, "{path}");
    }
    scene.end().await;
}

#[tokio::test]
async fn dead_letters_come_page_by_page_and_by_filter() {
    let scene = Scene::start();
    scene.fill().await;
    let mut path = "/api/v1/dead-letters?limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let (status, page) = scene.get(&path).await;
        assert_eq!(status, 200, "{page}");
        let sinks = page["dead_letters"].as_array().unwrap().iter().map(|letter| letter["sink"].clone());
        seen.extend(sinks);
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/dead-letters?limit=1&cursor={next}");
    }
    assert_eq!(seen, ["a", "b"]);
    for (query, expected) in [
        ("sink=b", 1),
        ("sink=c", 0),
        ("sink=nobody", 0),
        ("cause=server", 1),
        ("route=route", 2),
        ("route=other", 0),
        ("token_id=1", 2),
        ("token_id=2", 0),
        ("older_than=1h", 0),
        ("older_than=0s&sink=a", 1),
    ] {
        let (_, page) = scene.get(&format!("/api/v1/dead-letters?{query}")).await;
        assert_eq!(page["dead_letters"].as_array().map(Vec::len), Some(expected), "{query}: {page}");
    }
    let (_, found) = scene.get("/api/v1/dead-letters/1").await;
    assert_eq!(found["dead_letters"][0]["history"][0]["status"], 503);
    assert!(found["dead_letters"][1]["message"].as_str().unwrap().contains("token_id"));
    scene.end().await;
}

#[tokio::test]
async fn a_misspelt_or_impossible_query_is_refused_and_says_why() {
    let scene = Scene::start();
    for (query, says) in [
        ("dead-letters?snik=a", "snik"),
        ("dead-letters?older_than=soon", "soon"),
        ("dead-letters?cursor=x", "cursor"),
        ("dead-letters?contract_package=5341", "64 hex digits"),
        ("dead-letters?limit=-1", "limit"),
        ("quarantine?before=x", "before"),
        ("tokens/xyz/1/events", "hash"),
    ] {
        let (status, problem) = scene.get(&format!("/api/v1/{query}")).await;
        assert_eq!(status, 400, "{query}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{query}: {problem}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_quarantined_message_is_shown_to_the_last_byte() {
    let scene = Scene::start();
    scene.fill().await;
    let (_, list) = scene.get("/api/v1/quarantine?limit=1").await;
    assert_eq!((&list["total"], &list["next"], &list["messages"][0]["number"]), (&json!(2), &json!(2), &json!(2)));
    let (_, list) = scene.get("/api/v1/quarantine?before=2").await;
    assert_eq!((&list["next"], &list["messages"][0]["text"]), (&Value::Null, &json!("{\"data\":")));
    let (_, raw) = scene.get("/api/v1/quarantine/2").await;
    assert_eq!((&raw["base64"], &raw["bytes"], &raw["reason"]), (&json!("//4="), &json!(2), &json!("no JSON")));
    assert_eq!(scene.get("/api/v1/quarantine/3").await.0, 404);
    scene.end().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let scene = Scene::start();
    let url = format!("http://{}/api/v1/status", scene.admin.address);
    let request = scene.client.request(Method::GET, url).bearer_auth(TOKEN).body(vec![b' '; 128 * 1024]);
    // What a handler does not read is no matter; that it is never read in full is what counts.
    assert!(request.send().await.map_or(true, |answer| answer.status().as_u16() < 500));
    scene.end().await;
}
