//! Damage to the write-ahead log of a killed relay: it is told, what is whole is kept, and the relay goes on.

use std::path::Path;

use super::listener::Listener;
use super::{NFT_TOKENS, Scene, Setup, until};

const WAL_HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + 8192;

/// Kills a relay in the midst of its work, lets `damage` loose on its log and starts it again.
async fn check(damage: fn(&mut Vec<u8>), says: Option<&str>) {
    let scene = Scene::new();
    let (mut emulator, url) = scene.emulator(&["--rate", "300"]).await;
    let (sink, late) = (Listener::start().await, Listener::start().await);
    late.answer(|_| 500);
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("sink", sink.url(), ""), ("late", late.url(), "    retry: { schedule: [1s, 1s, 1s] }\n")],
    });
    let mut relay = scene.relay(&config);
    let log = scene.data().join("relay.db-wal");
    until("the log has some frames", || sink.received() > 200 && frames(&log) > 40).await;
    relay.kill().await;

    let mut bytes = std::fs::read(&log).unwrap();
    damage(&mut bytes);
    std::fs::write(&log, bytes).unwrap();
    late.answer(|_| 204);
    let mut relay = scene.relay_in_life(&config, 2, "");
    let refused = late.arrivals();
    until("it goes on", || sink.count(|arrival| arrival.life == 2) > 100).await;
    until("what was refused comes again", || late.count(|arrival| arrival.number == refused[0].number) > 1).await;
    if let Some(says) = says {
        relay.logs(says).await;
    }
    relay.stop().await;
    emulator.stop().await;
    let newest = |life| sink.arrivals().into_iter().filter(|a| a.life == life).map(|a| a.sequence).max().unwrap();
    assert!(newest(1) < newest(2), "the order of sequences holds even then: {} {}", newest(1), newest(2));
    for again in late.arrivals().iter().filter(|arrival| arrival.life == 2) {
        let first = refused.iter().find(|first| first.id == again.id);
        assert!(first.is_none_or(|first| first.sequence == again.sequence), "{again:?} had {first:?}");
    }
    let copies = std::fs::read_dir(scene.data()).unwrap().map(|entry| entry.unwrap().file_name());
    let copies = copies.filter(|name| name.to_str().unwrap().contains("damaged")).count();
    assert_eq!(copies, usize::from(says.is_some_and(|says| says.contains("a copy was kept"))));
}

fn frames(log: &Path) -> usize {
    let bytes = log.metadata().map_or(0, |meta| meta.len());
    usize::try_from(bytes).unwrap().saturating_sub(WAL_HEADER_BYTES) / FRAME_BYTES
}

#[tokio::test]
async fn a_log_cut_short_is_taken_as_far_as_it_goes() {
    check(|log| log.truncate(log.len() - 100), None).await;
}

#[tokio::test]
async fn a_torn_log_is_repaired_and_told() {
    let tear = |log: &mut Vec<u8>| log.iter_mut().rev().take(1_000).for_each(|byte| *byte ^= 0xff);
    check(tear, Some("the write-ahead log has a torn tail, as after a crash: repaired")).await;
}

#[tokio::test]
async fn a_hole_in_the_log_is_told_and_the_log_kept() {
    let pierce = |log: &mut Vec<u8>| log[WAL_HEADER_BYTES + 20 * FRAME_BYTES + 500] ^= 1;
    check(pierce, Some("will not be read; a copy was kept")).await;
}
