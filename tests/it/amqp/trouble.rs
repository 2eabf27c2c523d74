//! A broker that blocks, closes connections, or is one of several of which some are dead.

use super::{Stage, header, id};
use crate::servers::Kind;
use crate::servers::rabbitmq::Node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_blocks_is_waited_for_without_using_up_attempts() {
    const COUNT: usize = 60;
    let Some(mut stage) = Stage::new("blocked").await else { return };
    let Some(elsewhere) = Node::start() else { return };
    stage.node.ctl("set_vm_memory_high_watermark 0.0001");
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let amqp = stage.declaring().replace("timeout: 5s", "timeout: 1s");
    let config = stage.configure_beside(&url, &amqp, &[("elsewhere", stage.declaring_at(&elsewhere))]);
    let relay = stage.scene.relay_with(&config, &["--log-level", "debug"]);
    relay.logs("the broker takes no messages for now: the deliveries of this sink wait").await;
    relay.logs("took no messages for a while: low on memory").await;
    stage.is_alone_in_trouble().await;
    let others = stage.take_at(&elsewhere, COUNT).await;
    assert_eq!(others.len(), COUNT, "a sink of the same kind at another broker gets each once");
    assert!(others.iter().all(|delivery| header(delivery, "cspr-relay-attempt") == "1"), "and at the first attempt");
    assert!(stage.node.take(&stage.name).await.is_empty(), "the broker still blocks");
    stage.node.ctl("set_vm_memory_high_watermark 0.4");
    let taken = stage.take(COUNT).await;
    assert!(taken.iter().all(|delivery| header(delivery, "cspr-relay-attempt") == "1"), "no attempt was used up");
    assert!(!relay.log().contains("breaker is open"), "{}", relay.log());
    stage.stop(relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_made_anew() {
    // More than come before the node's tool has started and done its work, on a busy machine too.
    const COUNT: usize = 1_500;
    let Some(mut stage) = Stage::new("closed").await else { return };
    let (_emulator, url) = stage.scene.emulator(&["--rate", "100", "--count", &COUNT.to_string()]).await;
    let amqp = stage.declaring();
    let config = stage.configure(&url, &amqp);
    let relay = stage.scene.relay(&config);
    let mut taken = stage.take(100).await;
    stage.node.ctl("close_all_connections --global bye");
    let start = tokio::time::Instant::now();
    let mut ids: std::collections::BTreeSet<String> = taken.iter().map(id).collect();
    while ids.len() < COUNT {
        assert!(start.elapsed() < crate::relay::DEADLINE, "{} came", ids.len());
        taken.extend(stage.take(0).await);
        ids = taken.iter().map(id).collect();
    }
    assert!(taken.len() - ids.len() <= 16, "{} came again", taken.len() - ids.len());
    assert!(relay.log().matches("connected to the broker").count() >= 2);
    stage.stop(relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_broker_is_passed_over_and_a_client_certificate_is_a_login() {
    let Some(mut stage) = Stage::new("several").await else { return };
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--count", "10"]).await;
    let (port, tls, name) = (stage.node.amqps, stage.node.tls.display().to_string(), stage.name.clone());
    let password = fastrand::u64(..);
    // The node knows the user by the name in the certificate; the password is not used.
    if !stage.node.ctl("list_users").contains("client") {
        stage.node.ctl(&format!("add_user client {password}"));
        stage.node.ctl("set_permissions client .* .* .*");
    }
    let amqp = format!(
        "uris: [\"amqp://127.0.0.1:1\", \"amqps://localhost:{port}\"], exchange: {name}, routing_key: key, \
         declare: {{ type: fanout, durable: true, queue: {{ name: {name}, type: quorum }} }}, heartbeat: 1s, \
         tls: {{ ca_file: {tls}/ca.crt, cert_file: {tls}/client.crt, key_file: {tls}/client.key }}"
    );
    let config = stage.configure(&url, &amqp);
    let relay = stage.scene.relay(&config);
    stage.take(10).await;
    relay.logs(&format!("broker=\"localhost:{port}\"")).await;
    stage.stop(relay).await;
}
