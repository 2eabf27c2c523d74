//! Stopping: politely, with a sink that does not let go, and by force.

use std::time::Duration;

use tokio::time::Instant;

use super::listener::{Arrival, HANG, Listener};
use super::{NFT_TOKENS, Process, Scene, Setup, until};

const COUNT: usize = 30;

/// A relay whose only sink takes requests and never answers them.
async fn hanging(scene: &Scene, sink: &Listener, shutdown_timeout: &str) -> (Process, Process, std::path::PathBuf) {
    sink.answer(|_| HANG);
    let (emulator, url) = scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: &format!("shutdown_timeout: {shutdown_timeout}"),
        sinks: &[("sink", sink.url(), "    ordering: none\n")],
    });
    let text = std::fs::read_to_string(&config).unwrap().replace("timeout: 5s", "timeout: 60s");
    std::fs::write(&config, text).unwrap();
    let relay = scene.relay(&config);
    until("requests hang", || sink.count(|arrival| arrival.answer == HANG) == 16).await;
    (emulator, relay, config)
}

/// After a restart everything comes, the interrupted ones again as first attempts.
async fn check_restart(scene: &Scene, sink: &Listener, config: &std::path::Path) {
    sink.answer(|_| 204);
    let mut relay = scene.relay_in_life(config, 2, "");
    until("everything is received after a restart", || sink.received() == COUNT).await;
    assert_eq!(sink.count(|arrival| Arrival::is_received(arrival) && arrival.attempt > 1), 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_a_hanging_sink_only_so_long() {
    let (scene, sink) = (Scene::new(), Listener::start().await);
    let (_emulator, mut relay, config) = hanging(&scene, &sink, "2s").await;
    let asked = Instant::now();
    relay.stop().await;
    let took = asked.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(10)).contains(&took), "{took:?}");
    let log = relay.log();
    assert!(log.contains("stopping: no more events are taken, attempts in flight may finish"), "{log}");
    assert!(log.contains("the stop took too long: what was still in flight is sent again at the next start"), "{log}");
    check_restart(&scene, &sink, &config).await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let (scene, sink) = (Scene::new(), Listener::start().await);
    let (_emulator, mut relay, config) = hanging(&scene, &sink, "60s").await;
    relay.terminate().await;
    relay.logs("stopping").await;
    let asked = Instant::now();
    relay.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(relay.log().contains("stopped at once"), "{}", relay.log());
    check_restart(&scene, &sink, &config).await;
}

#[tokio::test]
async fn a_stop_lets_attempts_finish() {
    let (scene, sink) = (Scene::new(), Listener::start().await);
    let (mut emulator, url) = scene.emulator(&["--rate", "500"]).await;
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\""),
        streams: NFT_TOKENS,
        more: "",
        sinks: &[("sink", sink.url(), "")],
    });
    for life in 1..=3 {
        let mut relay = scene.relay_in_life(&config, life, "");
        until("events arrive", || sink.count(|arrival| arrival.life == life) > 200).await;
        relay.stop().await;
    }
    emulator.stop().await;
    let ids: std::collections::HashSet<Box<str>> = sink.arrivals().into_iter().map(|arrival| arrival.id).collect();
    assert_eq!(ids.len(), sink.arrivals().len(), "a polite stop sends nothing twice");
}
