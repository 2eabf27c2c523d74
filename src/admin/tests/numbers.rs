//! The same numbers on the API and in the metrics, and those that the store really has.

use reqwest::Method;
use serde_json::{Value, json};

use super::Scene;

impl Scene {
    async fn metrics(&self, accept: &str) -> String {
        let url = format!("http://{}/metrics", self.admin.address);
        self.client.get(url).header("Accept", accept).send().await.unwrap().text().await.unwrap()
    }
}

/// The value of the only sample that begins so.
fn sample(metrics: &str, begin: &str) -> f64 {
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(begin));
    let (line, more) = (lines.next().unwrap_or_else(|| panic!("no {begin}\n{metrics}")), lines.next());
    assert_eq!(more, None, "{begin} is not alone");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn api_and_metrics_agree_with_what_happened() {
    let scene = Scene::start();
    scene.fill().await;
    let (_, status) = scene.get("/api/v1/status").await;
    let metrics = scene.metrics("*/*").await;
    // As `fill` says: `a` has five less one dead and one delivered, `b` two less one dead.
    for (sink, pending, delivered, dead) in [("a", 3, 1, 1), ("b", 1, 0, 1), ("c", 0, 0, 0)] {
        let listed = status["sinks"]["sinks"].as_array().unwrap().iter().find(|row| row["name"] == sink).unwrap();
        let read = |name: &str| listed[name].as_u64().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(
            [read("pending"), read("delivered"), read("dead"), read("dead_letters")],
            [pending, delivered, dead, dead]
        );
        let shown = |name: &str| sample(&metrics, &format!("cspr_relay_sink_{name}{{sink=\"{sink}\""));
        assert_eq!(
            [shown("pending"), shown("delivered_total"), shown("dead_letters_kept")],
            [pending, delivered, dead].map(|n| n as f64)
        );
        assert_eq!(listed["oldest_pending_at"].is_string(), pending > 0, "{listed}");
        assert!((shown("oldest_pending_age_seconds") > 0.0) || pending == 0);
        assert_eq!(scene.get(&format!("/api/v1/sinks/{sink}")).await.1["pending"], pending);
    }
    assert_eq!(sample(&metrics, "cspr_relay_sink_dead_letters_total{sink=\"b\",kind=\"\",cause=\"timeout\"}"), 1.0);
    assert_eq!((&status["events"]["accepted"], sample(&metrics, "cspr_relay_events_accepted_total")), (&json!(5), 5.0));
    assert_eq!((&status["store"]["quarantined"], sample(&metrics, "cspr_relay_store_quarantined")), (&json!(2), 2.0));
    assert_eq!((&status["gaps"]["open"], sample(&metrics, "cspr_relay_gaps_open")), (&json!(1), 1.0));
    assert_eq!(status["reload"]["refused_because"], Value::Null);
    scene.end().await;
}

#[tokio::test]
async fn scrapers_get_the_format_that_they_ask_for() {
    let scene = Scene::start();
    for (accept, expected) in [
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            "application/openmetrics-text",
        ),
        ("text/plain", "text/plain"),
        ("*/*", "text/plain"),
    ] {
        let url = format!("http://{}/metrics", scene.admin.address);
        let answer = scene.client.request(Method::GET, url).header("Accept", accept).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(expected));
        assert_eq!(answer.text().await.unwrap().ends_with("# EOF\n"), expected != "text/plain");
    }
    scene.end().await;
}

/// Everything that is exposed stands in `docs/metrics.md`, and nothing else does.
#[tokio::test]
async fn the_documentation_names_the_metrics_that_there_are() {
    let scene = Scene::start();
    scene.fill().await;
    let row = scene.fixture.metrics.source.add("nft-tokens", String::new());
    let metrics = scene.metrics("*/*").await;
    let exposed = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut exposed: Vec<(&str, &str)> = exposed.collect();
    let table = include_str!("../../../docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let mut documented: Vec<(&str, &str)> = table
        .filter_map(|line| line.split_once("` | "))
        .filter_map(|(name, rest)| Some((name, rest.split(" |").next()?)))
        .collect();
    exposed.sort_unstable();
    documented.sort_unstable();
    assert_eq!(documented, exposed);
    drop(row);
    scene.end().await;
}
