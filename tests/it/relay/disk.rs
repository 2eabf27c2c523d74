//! A disk that is full.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::listener::Listener;
use super::oracle::Sent;
use super::{BINARY, NFT_TOKENS, Process, Scene, Setup, leave_out, until};

const DISK: &str = "88m";
const BALLAST_MIB: u32 = 38;
/// More than fits beside the ballast, less than fits without it.
const COUNT: usize = 22_000;

/// A mount namespace of one's own lets anybody mount a disk as small as the test needs it.
async fn can_mount() -> bool {
    let mount = "mount -t tmpfs -o size=1m none /mnt";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", mount]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// A relay whose data directory is a small disk with a ballast on it, seen by this process through `/proc`.
fn relay_on_small_disk(scene: &Scene, config: &std::path::Path) -> (Process, PathBuf) {
    let data = scene.data();
    std::fs::create_dir(&data).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={DISK} none \"$1\" && head -c {BALLAST_MIB}m /dev/zero >\"$1/ballast\" && \
         exec \"$2\" run --config \"$3\""
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"]).arg(&data).arg(BINARY).arg(config);
    let relay = scene.spawn("relay", &mut command);
    let inside = format!("/proc/{}/root{}", relay.child.id().unwrap(), data.display());
    (relay, inside.into())
}

#[tokio::test]
async fn a_full_disk_stops_intake_and_nothing_else() {
    if !can_mount().await {
        leave_out("a full disk: this user may not mount one (unshare --map-root-user --mount)");
        return;
    }
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let sink = Listener::start().await;
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("sink", sink.url(), "")],
    });

    let (mut relay, disk) = relay_on_small_disk(&scene, &config);
    relay.logs("the disk is full: intake waits, deliveries go on; make room on this volume").await;
    let mut last = (0, Instant::now());
    // While it is full, what was accepted is delivered; then nothing more comes.
    let has_caught_up = || {
        let now = sink.received();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(1)
    };
    until("deliveries go on until they have caught up", has_caught_up).await;
    assert!(sink.received() < COUNT, "intake waits");

    std::fs::remove_file(disk.join("ballast")).unwrap();
    relay.logs("there is room on the disk again: intake goes on").await;
    until("everything arrives", || sink.received() == COUNT).await;
    relay.stop().await;
    emulator.stop().await;
    let sent = Sent::read(&scene.path("sent.jsonl"));
    let arrived: std::collections::HashSet<[u8; 32]> = sink.arrivals().iter().map(|arrival| arrival.digest).collect();
    assert!(sent.since(0) == arrived, "exactly what was sent, each once");
}
