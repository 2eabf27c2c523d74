//! `cspr-relay ownership` asks the REST API of a running emulator for what its stream has told.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use super::{BINARY, Scene, until};

const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";
/// An account, and its public key.
const ACCOUNT: &str = "79c9563deeb7bbd05e91c7dddddec9328717fea1ae846dd54ab9dfeaae015bc0";
const PUBLIC_KEY: &str = "01CD4F2ED572EA555CA46C17C83C43E609D2E916871236F40FAA9BA747478E8DEE";

/// A mint for the account, or for one of 600 others.
fn mint(n: usize) -> String {
    let owner = if n < 3 { ACCOUNT.to_owned() } else { format!("{n:064x}") };
    format!(
        r#"{{"data":{{"contract_package_hash":"{PACKAGE}","token_id":"{n}","owner_type":0,"owner_hash":"{owner}","is_burned":false}},"action":"created","extra":null,"timestamp":"2024-02-07T10:21:29.557865809Z"}}"#
    )
}

async fn ownership(scene: &Scene, url: &str, key: &str, arguments: &[&str]) -> Output {
    let config = scene.path("ownership.yaml");
    let rest = url.replace("ws://", "http://");
    let text = format!(
        "source: {{ network: testnet, api_key: {key}, rest: {{ url: \"{rest}\" }} }}\nsinks: {{ console: {{ stdout: \
         {{}} }} }}\nroutes: {{ all: {{ match: all, sinks: [console] }} }}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["ownership", "--config"]).arg(config).args(arguments);
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn owners_and_holdings_are_shown_as_the_source_knows_them() {
    let scene = Scene::new();
    let messages = scene.lines(&(0..603).map(mint).collect::<Vec<_>>());
    let arguments = ["--replay", &messages, "--rest", "--unattended", "--rate", "0"];
    let (emulator, url) = scene.emulator(&arguments).await;
    until("all is published", || emulator.said().contains("Published all 603")).await;
    assert!(emulator.said().contains(&format!("rest: {{ url: {} }}", url.replace("ws://", "http://"))));

    let package = format!("hash-{PACKAGE}");
    let owners = ownership(&scene, &url, "emulator-key", &["--package", &package, "--json"]).await;
    let rows: Vec<Value> = text(&owners.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 601, "{}", text(&owners.stderr));
    assert_eq!((rows[0]["owner_hash"].as_str(), rows[0]["tokens_number"].as_u64()), (Some(ACCOUNT), Some(3)));

    for arguments in [&["--owner", PUBLIC_KEY][..], &["--owner", ACCOUNT, "--package", PACKAGE]] {
        let holdings = ownership(&scene, &url, "emulator-key", arguments).await;
        let table = text(&holdings.stdout);
        assert!(table.contains(&format!("         3  account   {ACCOUNT}  {PACKAGE}\n")), "{table}");
        assert!(table.ends_with("1 rows, 3 tokens\n"), "{table}");
    }

    let nobody = "00".repeat(32);
    let nothing = ownership(&scene, &url, "emulator-key", &["--owner", &nobody]).await;
    assert_eq!(text(&nothing.stdout), "CSPR.cloud knows of no tokens there.\n");

    let refused = ownership(&scene, &url, "a-wrong-key", &["--owner", &nobody]).await;
    let said = text(&refused.stderr);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(said.contains("refused the key (HTTP 401): check source.api_key"), "{said}");
    assert!(!said.contains("a-wrong-key"), "{said}");
}

#[tokio::test]
async fn what_is_asked_for_has_to_be_said() {
    let scene = Scene::new();
    for (arguments, expected) in
        [(&[][..], "--package"), (&["--package", "5341"], "64 hex digits"), (&["--owner", "01ab"], "public key")]
    {
        let refused = ownership(&scene, "ws://127.0.0.1:9", "key", arguments).await;
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    }
}
