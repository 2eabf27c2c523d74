//! Starts that must fail, and what they tell the operator: the exit code and one line that says what to do.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::listener::Listener;
use super::{NFT_TOKENS, Process, Scene, Setup};

const FAILED: i32 = 1;
const USAGE: i32 = 2;

/// Makes a file that is to be refused.
type Make<'a> = &'a dyn Fn(&Path);

/// A configuration whose source and sink are of no importance.
fn plain(scene: &Scene, more: &str) -> std::path::PathBuf {
    scene.configure(&Setup {
        source: "url: \"ws://127.0.0.1:1\"",
        streams: NFT_TOKENS,
        more,
        sinks: &[("sink", "http://127.0.0.1:1/", "")],
    })
}

async fn check_refused(mut relay: Process, code: i32, says: &[&str]) {
    assert_eq!(relay.ended().await, Some(code), "{}", relay.log());
    let log = relay.log();
    for text in says {
        assert!(log.contains(text), "{text:?} is not in: {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_data_directory_has_one_relay() {
    let scene = Scene::new();
    let config = plain(&scene, "");
    let mut first = scene.relay(&config);
    first.logs("the relay is running").await;
    let holder = format!("in use by another relay (process {})", first.child.id().unwrap());
    check_refused(scene.relay(&config), FAILED, &[&holder, "stop that one, or set another store.path"]).await;
    first.kill().await;
    let mut next = scene.relay(&config);
    next.logs("the relay is running").await;
    next.stop().await;
}

#[tokio::test]
async fn a_data_directory_must_be_a_directory() {
    let scene = Scene::new();
    std::fs::write(scene.path("file"), "").unwrap();
    // Even root cannot write there.
    for path in [scene.path("file"), scene.path("file/data"), "/proc/relay".into()] {
        let config = plain(&scene, &format!("store: {{ path: \"{}\" }}", path.display()));
        let name = format!("cannot use the data directory {}", path.display());
        check_refused(scene.relay(&config), FAILED, &[&name, "that this user may write"]).await;
    }
}

#[tokio::test]
async fn a_store_of_another_kind_is_left_alone() {
    let sqlite =
        |sql: &'static str| move |path: &Path| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let text = |path: &Path| std::fs::write(path, "Dear diary, ".repeat(1000)).unwrap();
    let foreign = "is a database of another program; set store.path to a directory of the relay's own";
    let cases: [(Make<'_>, &str); 4] = [
        (
            &sqlite("PRAGMA application_id = 1129533522; PRAGMA user_version = 99"),
            "has store format 99, this relay reads format 2; run the version that wrote it",
        ),
        (&sqlite("PRAGMA application_id = 7; CREATE TABLE t (x)"), foreign),
        (&sqlite("CREATE TABLE t (x)"), foreign),
        (&text, "cannot open the store: file is not a database; if it is damaged, `cspr-relay store rebuild` makes"),
    ];
    for (make, says) in cases {
        let scene = Scene::new();
        std::fs::create_dir(scene.data()).unwrap();
        let path = scene.data().join("relay.db");
        make(&path);
        let before = std::fs::read(&path).unwrap();
        check_refused(scene.relay(&plain(&scene, "")), FAILED, &[says]).await;
        assert!(std::fs::read(&path).unwrap() == before, "nothing was changed: {says}");
    }
}

#[tokio::test]
async fn a_faulty_configuration_is_shown_with_all_its_faults() {
    let scene = Scene::new();
    let path = scene.path("faulty.yaml");
    std::fs::write(&path, "source: { network: tstnet, api_key: k }\nsinks: { a: { stdot: } }\nroutes: {}\n").unwrap();
    check_refused(scene.relay(&path), USAGE, &["faulty.yaml:1:20", "source.network", "sinks.a", "routes"]).await;
    check_refused(scene.relay(&scene.path("absent.yaml")), USAGE, &["absent.yaml"]).await;
}

#[tokio::test]
async fn a_refused_key_is_reported_without_being_shown() {
    for kind in ["json", "echo", "forbidden"] {
        let scene = Scene::new();
        let (_emulator, url) = scene.emulator(&["--api-key", "the right one", "--bad-key", kind]).await;
        let sink = Listener::start().await;
        let config = scene.configure(&Setup {
            source: &format!("url: \"{url}\""),
            streams: NFT_TOKENS,
            more: "",
            sinks: &[("sink", sink.url(), "")],
        });
        let mut relay = scene.relay(&config);
        relay.logs("the source refuses our API key: check source.api_key").await;
        assert!(!relay.log().contains("emulator-key"), "{}", relay.log());
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_address_is_reported_and_tried_again() {
    let scene = Scene::new();
    let mut relay = scene.relay(&plain(&scene, ""));
    relay.logs("connecting failed").await;
    relay.logs("failures=2").await;
    relay.stop().await;
}

/// As in `cspr-relay schema | head -1`: whoever reads has seen enough, and that is no error.
#[tokio::test]
async fn a_command_whose_reader_goes_ends_in_silence() {
    let mut command = Command::new(super::BINARY);
    command.arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}
