//! The wire table, as an independent look at real messages shows it.

use sha2::{Digest, Sha256};

use super::{Stage, header};
use crate::relay::oracle::Sent;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_persistent_and_carry_what_the_contract_says() {
    const COUNT: usize = 25;
    let Some(stage) = Stage::new("contract").await else { return };
    let (mut emulator, url) = stage.scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let amqp = stage.declaring() + ", headers: { x-env: prod, x-what: \"{{ network }}/{{ action }}\" }";
    let config = stage.configure(&url, &amqp);
    let relay = stage.scene.relay(&config);
    let taken = stage.take(COUNT).await;
    stage.stop(relay).await;
    emulator.stop().await;

    let sent = Sent::read(&stage.scene.path("sent.jsonl"));
    for delivery in &taken {
        let properties = &delivery.properties;
        let short = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        assert!(sent.has(&Sha256::digest(&delivery.data).into()), "byte for byte as it was sent");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(short(properties.app_id()).as_deref(), Some("cspr-relay"));
        assert_eq!(short(properties.content_type()).as_deref(), Some("application/json"));
        assert!(short(properties.message_id()).unwrap().starts_with("evt_"));
        let header = |name| header(delivery, name);
        let action = header("cspr-relay-action");
        assert_eq!(short(properties.kind()), Some(format!("nft-tokens.{action}")));
        assert_eq!(delivery.routing_key.as_str(), format!("nft.{action}"));
        assert_eq!((header("x-env"), header("x-what")), ("prod".to_owned(), format!("testnet/{action}")));
        assert_eq!(header("cspr-relay-routes"), "all");
        let accepted: jiff::Timestamp = header("cspr-relay-accepted-at").parse().unwrap();
        assert_eq!(i64::try_from(properties.timestamp().unwrap()).unwrap(), accepted.as_second());
    }
}
