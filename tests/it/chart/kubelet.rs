//! The pod at work: checked, started, asked, its configuration and a Secret changed under it, and stopped.

use std::net::TcpListener;

use super::pod::{Files, Pod};
use super::render::EXAMPLES;
use super::tools::{Case, Objects, Tools, tools};
use crate::relay::listener::Listener;
use crate::relay::{DEADLINE, SECRET, Scene, until};

const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const API_KEY: &str = "emulator-key";
const TOKEN: &str = "the-token-of-the-tests";

fn files(content: &[(&str, &str)]) -> Files {
    content.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Every object that an example expects to exist.
fn what_exists() -> Vec<(&'static str, Files)> {
    let certified = rcgen::generate_simple_self_signed(["rabbit".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let routes = "routes: { warehouse: { match: { token_id: \"7\" }, sinks: [bus] } }\n";
    vec![
        ("Secret/cspr-cloud", files(&[("api-key", API_KEY)])),
        ("Secret/cspr-relay-admin", files(&[("token", TOKEN)])),
        ("Secret/market", files(&[("current", SECRET)])),
        ("Secret/kafka-relay", files(&[("username", "relay"), ("password", "secret-0")])),
        ("Secret/kafka-ca", files(&[("ca.crt", &certificate)])),
        ("Secret/relay-rabbit", files(&[("username", "relay"), ("password", "secret-0")])),
        ("Secret/relay-rabbit-tls", files(&[("ca.crt", &certificate), ("tls.crt", &certificate), ("tls.key", &key)])),
        ("ConfigMap/team-warehouse-routes", files(&[("routes.yaml", routes)])),
    ]
}

/// The `check` container of every example, in its pod.
#[tokio::test]
async fn the_relay_accepts_what_the_chart_makes_of_every_example() {
    let Some(tools) = tools() else { return };
    for example in EXAMPLES {
        let Some(pod) = Pod::new(&Case::of(example).objects(tools), &what_exists()) else { return };
        let mut check = pod.start("initContainers", "check");
        assert_eq!(check.ended().await, Some(0), "{example}:\n{}", check.log());
    }
}

#[tokio::test]
async fn a_wrong_configuration_does_not_get_past_the_check() {
    let Some(tools) = tools() else { return };
    let wrong = "files: { a.yaml: 'routes: { a: { match: all, sinks: [nowhere] } }' }";
    let case = Case::of("testnet-webhook").with("a wrong file", wrong);
    let Some(pod) = Pod::new(&case.objects(tools), &what_exists()) else { return };
    let mut check = pod.start("initContainers", "check");
    assert_eq!(check.ended().await, Some(2));
    assert!(check.log().contains("/etc/cspr-relay/files/a.yaml:1:"), "{}", check.log());
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn render(tools: &Tools, source: &str, sinks: &[(&str, &str)], port: u16) -> Objects {
    let mut values =
        format!("admin: {{ address: 127.0.0.1, port: {port} }}\nadminToken: {{ existingSecret: cspr-relay-admin }}\n");
    values += "apiKey: { existingSecret: cspr-cloud }\nsecrets: { market: { existingSecret: market } }\n";
    values += &format!(
        "config:\n  source: {{ network: testnet, url: \"{source}\" }}\n  routes: {{ all: {{ match: all, sinks: ["
    );
    values += &sinks.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    values += "] } }\n  sinks:\n";
    for (name, url) in sinks {
        let webhook = format!(
            "url: \"{url}\", secrets: [\"${{file:/run/secrets/market/current}}\"], headers: {{ X-Life: \"0\" }}"
        );
        values += &format!("    {name}: {{ webhook: {{ {webhook} }} }}\n");
    }
    Case { examples: Vec::new(), ..Case::of("at work").with("at work", &values) }.objects(tools)
}

fn config_map(objects: &Objects) -> Files {
    let data = objects.config_map("relay-cspr-relay").unwrap();
    data.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
}

async fn status(port: u16, path: &str) -> Option<u16> {
    let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build().unwrap();
    let request = client.get(format!("http://127.0.0.1:{port}{path}")).bearer_auth(TOKEN);
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

/// Where a process may write, devices and `/proc` aside.
fn writable(process: u32) -> Vec<String> {
    let mounts = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let open = words.filter(|words| words[5].split(',').any(|option| option == "rw")).map(|words| words[4].to_owned());
    open.filter(|at| !["/dev", "/proc"].iter().any(|system| at.starts_with(system))).collect()
}

/// Asks as the kubelet does until the answer is yes.
async fn probe(pod: &Pod, name: &str, port: u16) {
    let probe = &pod.spec()["containers"][0][name];
    assert_eq!(probe["httpGet"]["port"], "admin");
    let path = probe["httpGet"]["path"].as_str().unwrap();
    let start = tokio::time::Instant::now();
    while status(port, path).await != Some(200) {
        assert!(start.elapsed() < DEADLINE, "{name} is never answered");
        tokio::time::sleep(crate::relay::POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_lives_as_a_kubelet_would_have_it() {
    let Some(tools) = tools() else { return };
    let (first, second, port) = (Listener::start().await, Listener::start().await, free_port());
    let beside = Scene::new();
    let (_emulator, source) = beside.emulator(&["--rate", "200", "--unattended"]).await;
    let objects = render(tools, &source, &[("first", first.url())], port);
    let Some(mut pod) = Pod::new(&objects, &what_exists()) else { return };
    assert_eq!(pod.start("initContainers", "check").ended().await, Some(0));
    let mut relay = pod.start("containers", "relay");
    for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
        probe(&pod, name, port).await;
    }
    assert_eq!(writable(relay.child.id().unwrap()), ["/data"]);
    assert_eq!(status(port, "/api/v1/status").await, Some(200), "the token came from its Secret");
    until("events arrive", || first.received() > 100).await;
    assert_eq!(first.count(|arrival| !arrival.is_signed), 0);

    // A new Secret signs without a restart, and so does the old one when it returns.
    pod.put("Secret/market", &files(&[("current", OTHER_SECRET)]));
    until("the new secret signs", || first.count(|arrival| !arrival.is_signed) > 10).await;
    pod.put("Secret/market", &files(&[("current", SECRET)]));
    until("the old secret signs", || first.arrivals().last().is_some_and(|arrival| arrival.is_signed)).await;

    // A new ConfigMap is at work without a restart; a wrong one changes nothing.
    let both = render(tools, &source, &[("first", first.url()), ("second", second.url())], port);
    pod.put("ConfigMap/relay-cspr-relay", &config_map(&both));
    until("the new sink gets events", || second.received() > 10).await;
    pod.put("ConfigMap/relay-cspr-relay", &files(&[("cspr-relay.yaml", "sinks: {}\n")]));
    relay.logs("the configuration was not reloaded").await;
    let seen = second.received();
    until("events still arrive", || second.received() > seen + 10).await;

    probe(&pod, "livenessProbe", port).await;
    relay.stop().await;
    let grace = pod.spec()["terminationGracePeriodSeconds"].as_u64().unwrap();
    let text = &config_map(&objects)["cspr-relay.yaml"];
    assert!(text.contains(&format!("shutdown_timeout: {}s", grace - 10)), "the relay gives up before it is killed");
    let written: Vec<_> = std::fs::read_dir(pod.path("data")).unwrap().collect();
    assert!(!written.is_empty(), "the store is on the volume");
}

#[tokio::test]
async fn the_health_command_says_what_the_probe_does() {
    let scene = Scene::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let url = format!("http://{address}");
    let ask = |more: &[&str]| {
        let mut command = tokio::process::Command::new(crate::relay::BINARY);
        command.args(["health", "--url", &url]).args(more);
        scene.spawn("health", &mut command)
    };
    let mut nobody = ask(&[]);
    assert_eq!(nobody.ended().await, Some(1));
    assert!(nobody.log().contains("no relay answers at"), "{}", nobody.log());

    let mut patient = ask(&["--wait", "60"]);
    let config = scene.path("relay.yaml");
    let text = format!(
        "source: {{ network: testnet, api_key: k, url: \"ws://127.0.0.1:1\" }}\nstore: {{ path: \"{}\" }}\nadmin: {{ listen: \
         \"{address}\" }}\nsinks: {{ out: {{ stdout: {{}} }} }}\nroutes: {{ all: {{ match: all, sinks: [out] }} }}\n",
        scene.data().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut relay = scene.relay(&config);
    assert_eq!(patient.ended().await, Some(0), "{}", patient.log());
    let mut configured = tokio::process::Command::new(crate::relay::BINARY);
    let configured = configured.arg("health").arg("--config").arg(&config);
    assert_eq!(scene.spawn("health", configured).ended().await, Some(0), "the configuration says where");
    relay.stop().await;
}
