//! A disk that cannot keep what it was given: the first sync that fails ends the relay, and no second one is tried,
//! since the kernel tells such an error once. What was accepted before is all there at the next start.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::kill::drain;
use super::listener::Listener;
use super::oracle::{Sent, check_sink, owed};
use super::store::Database;
use super::{BINARY, NFT_TOKENS, Process, Scene, Setup, leave_out, until};

const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/failing_sync.c");

/// The library that stands before the C library; `None` if there is no compiler.
async fn shim(scene: &Scene) -> Option<PathBuf> {
    let library = scene.path("failing_sync.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(SHIM);
    let is_compiled = compiler.status().await.is_ok_and(|status| status.success());
    if !is_compiled {
        leave_out("a sync that fails: it needs a C compiler, `cc`");
    }
    is_compiled.then_some(library)
}

fn doomed(scene: &Scene, config: &Path, shim: &Path, file: &str) -> Process {
    let mut command = Command::new(BINARY);
    command.args(["run", "--config"]).arg(config).env("LIFE", "1").env("LD_PRELOAD", shim);
    command.env("SYNC_TRIGGER", scene.path("trigger")).env("SYNC_FILE", file);
    scene.spawn("relay", &mut command)
}

/// A sync of `file` fails while events flow.
async fn check(file: &str) {
    let scene = Scene::new();
    let Some(shim) = shim(&scene).await else { return };
    let (well, sick) = (Listener::start().await, Listener::answering(|_| 500).await);
    let (mut emulator, url) = scene.emulator(&["--rate", "2000", "--unattended", "--history", "200000"]).await;
    let impatient = format!("    retry: {{ schedule: [{}] }}\n", ["200ms"; 40].join(", "));
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\", persistent_session: sync-test"),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("well", well.url(), ""), ("sick", sick.url(), &impatient)],
    });
    let mut relay = doomed(&scene, &config, &shim, file);
    until("events flow", || well.received() > 500).await;
    std::fs::write(scene.path("trigger"), "").unwrap();
    assert_eq!(relay.ended().await, Some(1), "{}", relay.log());
    let log = relay.log();
    for part in ["cannot write the store: ", "nothing more is written or sent", "look at the volume (`dmesg`)"] {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
    assert_eq!(std::fs::read_to_string(scene.path("trigger")).unwrap(), "f", "one failure, and no second sync");
    // What a sink saw was durable: nobody got what the disk did not take.
    let newest = Database::open(&scene.data()).newest();
    assert!(well.arrivals().iter().all(|arrival| arrival.number <= newest));

    sick.answer(|_| 204);
    let mut relay = scene.relay_in_life(&config, 2, "");
    until("events flow again", || well.count(|arrival| arrival.life == 2 && arrival.number > newest + 500) > 0).await;
    emulator.stop().await;
    let (sent, database) = (Sent::read(&scene.path("sent.jsonl")), Database::open(&scene.data()));
    drain(&database, &[("well", &well), ("sick", &sick)]).await;
    relay.stop().await;
    for (name, sink) in [("well", &well), ("sick", &sick)] {
        check_sink(name, &sent, &sink.arrivals(), &owed(&database, name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_cannot_be_synced_ends_the_relay_and_loses_nothing() {
    check("relay.db-wal").await;
}

/// SQLite passes over such an error by itself, since it folds the log behind the back of a commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_folded_ends_the_relay_and_loses_nothing() {
    check("relay.db").await;
}
