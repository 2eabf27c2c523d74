//! Alerts and dashboard: right in themselves, and about metrics that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tools::{Case, chart, root, tools};
use crate::relay::Scene;

const WATCHED: &str = "prometheusRule: { enabled: true }\ndashboard: { enabled: true }\n";

#[test]
fn the_rendered_alerts_say_what_they_should() {
    let Some(tools) = tools() else { return };
    let rule =
        Case::of("testnet-webhook").with("watched", WATCHED).objects(tools).one("PrometheusRule")["spec"].clone();
    let directory = tempfile::tempdir().unwrap();
    let [rules, tests] = ["rules.yaml", "tests.yaml"].map(|name| directory.path().join(name));
    std::fs::write(&rules, serde_yaml::to_string(&rule).unwrap()).unwrap();
    std::fs::copy(chart().join("tests/alerts.yaml"), &tests).unwrap();
    let (rules, tests) = (rules.to_str().unwrap(), tests.to_str().unwrap());
    tools.content("promtool", &["check", "rules", "--lint=all", "--lint-fatal", rules], "");
    tools.content("promtool", &["test", "rules", tests], "");
    let names: Vec<_> = rule["groups"][0]["rules"].as_array().unwrap().iter().map(|rule| &rule["alert"]).collect();
    let tried = std::fs::read_to_string(tests).unwrap();
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    for name in names {
        assert!(runbook.contains(&format!("\n## {}\n", name.as_str().unwrap())), "the runbook does not know {name}");
        assert!(tried.contains(&format!("alertname=\"{}\"", name.as_str().unwrap())), "{name} never fires in a test");
    }
}

/// What is asked of Prometheus by name has to be among what a relay tells.
#[tokio::test]
async fn every_metric_that_is_asked_for_exists() {
    let told = names(&scrape().await);
    let mut asked = BTreeSet::new();
    for file in ["files/alerts.yaml", "files/dashboard.json"] {
        let text = std::fs::read_to_string(chart().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        asked.extend(words.filter(|word| word.starts_with("cspr_relay_")).map(str::to_owned));
    }
    assert!(asked.len() > 15, "{asked:?}");
    let unknown: Vec<_> = asked.iter().filter(|name| !told.contains(*name)).collect();
    assert!(unknown.is_empty(), "no relay tells {unknown:?}");
    if let Some(tools) = tools() {
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(chart().join("files/dashboard.json")).unwrap()).unwrap();
        let objects = Case::of("testnet-webhook").with("watched", WATCHED).objects(tools);
        let rendered = objects.config_map("relay-cspr-relay-dashboard").unwrap()["cspr-relay.json"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(rendered).unwrap(), dashboard, "it went through no template");
    }
}

/// Prometheus itself reads what a relay tells, and finds names, types and help as its conventions want them.
#[tokio::test]
async fn a_scrape_follows_the_conventions() {
    let told = scrape().await;
    assert!(names(&told).len() > 30, "{told}");
    let Some(tools) = tools() else { return };
    tools.content("promtool", &["check", "metrics"], &told);
}

/// What a relay with one sink tells.
async fn scrape() -> String {
    let scene = Scene::new();
    let config = scene.path("relay.yaml");
    let text = format!(
        "source: {{ network: testnet, api_key: k, url: \"ws://127.0.0.1:1\" }}\nstore: {{ path: \"{}\" }}\nsinks: {{ out: {{ \
         stdout: {{}} }} }}\nroutes: {{ all: {{ match: all, sinks: [out] }} }}\n",
        scene.data().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut relay = scene.relay(&config);
    relay.logs("the relay is running").await;
    let log = relay.log();
    let address = log.split("admin=").nth(1).unwrap().split_whitespace().next().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    relay.stop().await;
    metrics
}

/// The names of samples and families; a family may have no sample yet, such as failures by cause.
fn names(metrics: &str) -> BTreeSet<String> {
    let name = |line: &'_ str| line.trim_start_matches("# TYPE ").split(['{', ' ']).next().map(str::to_owned);
    metrics.lines().filter(|line| !line.starts_with("# HELP")).filter_map(name).collect()
}
