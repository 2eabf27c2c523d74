//! A store without room for more: intake waits for everybody, says for what and what to do, and goes on by itself.

use tokio::time::{sleep, timeout};

use super::admin::{TOKEN, Watched};
use super::listener::Listener;
use super::{DEADLINE, NFT_TOKENS, POLL, Scene, Setup, until};

const COUNT: usize = 4_000;

/// One sink is gone and keeps all its events, by which something becomes full; `why` begins what is told about that.
async fn check(max_bytes: &str, backlog: &str, why: &str) {
    let (scene, well, gone) = (Scene::new(), Listener::start().await, Listener::answering(|_| 410).await);
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let (data, admin) = (scene.data(), format!("admin: {{ listen: \"127.0.0.1:0\", token: {TOKEN} }}"));
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\", persistent_session: full"),
        streams: NFT_TOKENS,
        more: &format!("store: {{ path: \"{}\", max_bytes: {max_bytes} }}\n{admin}", data.display()),
        sinks: &[("well", well.url(), ""), ("gone", gone.url(), backlog)],
    });
    let mut watched = Watched::of(scene.relay(&config), config).await;
    watched.relay.logs(&format!("no room for more events, so intake waits: {why}")).await;
    watched.relay.logs("the sink is paused and keeps its events").await;

    let status = watched.json("/api/v1/status").await;
    assert_eq!(status["store"]["intake_waiting"], true);
    assert!(status["store"]["intake_waits_for"].as_str().unwrap().starts_with(why), "{status}");
    let told = watched.command(&["status"]).await;
    assert!(told.contains(&format!("NO ROOM, so no events are taken: {why}")), "{told}");
    let health = watched.json("/healthz/ready").await;
    assert!(health["status"] == "no_room" && health["detail"].as_str().unwrap().starts_with(why), "{health}");
    let told = watched.health().await;
    assert!(told.contains(&format!("is well and takes no events: {why}")), "{told}");
    assert!(watched.text("/metrics").await.contains("\ncspr_relay_store_intake_waiting 1\n"));
    let accepted = status["events"]["accepted"].as_u64().unwrap() as usize;
    until("what was accepted is delivered", || well.received() >= accepted).await;
    assert!((100..COUNT).contains(&well.received()), "intake waits: {accepted}");

    gone.answer(|_| 204);
    watched.command(&["sinks", "resume", "gone"]).await;
    watched.relay.logs("there is room for more events again: intake goes on").await;
    until("everything arrives", || well.received() >= COUNT && gone.received() >= COUNT).await;
    // The store has let go of what was delivered within a second or so.
    let in_time = timeout(DEADLINE, async {
        while watched.text("/healthz/ready").await != r#"{"status":"ok"}"# {
            sleep(POLL).await;
        }
    });
    in_time.await.expect("it is well again");
    assert!(watched.text("/metrics").await.contains("\ncspr_relay_store_intake_waiting 0\n"));
    watched.relay.stop().await;
    assert_eq!((well.received(), gone.received()), (COUNT, COUNT), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_has_intake_wait_and_says_what_to_do() {
    check("3MiB", "", "the store is full (store.max_bytes)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backlog_that_waits_has_intake_wait_and_says_what_to_do() {
    let backlog = "    backlog: { max_bytes: 1MiB, on_full: wait }\n";
    check("1GiB", backlog, "the backlog of sink `gone` is full (backlog.max_bytes), and its on_full is wait").await;
}
