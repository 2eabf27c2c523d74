//! What a broker does not take: counted as not delivered, explained, tried again, and nothing else is disturbed.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::{Stage, id};
use crate::relay::message;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_message_is_counted_against_exactly_its_delivery() {
    // Every other one, of far more than are under way at once.
    const COUNT: usize = 600;
    let Some(stage) = Stage::new("returned").await else { return };
    let messages: Vec<String> = (0..COUNT as u32)
        .map(|n| message(&format!("token-{n}"), n).replace("updated", ["updated", "created"][n as usize % 2]))
        .collect();
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--replay", &stage.scene.lines(&messages)]).await;
    let name = stage.name.clone();
    let (_connection, channel) = stage.node.channel().await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let table = FieldTable::default;
    channel.exchange_declare(name.as_str().into(), ExchangeKind::Topic, durable, table()).await.unwrap();
    let queue = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.as_str().into(), queue, table()).await.unwrap();
    let bind = |key: &'static str| {
        let (channel, name) = (channel.clone(), name.clone());
        async move {
            let options = QueueBindOptions::default();
            channel.queue_bind(name.as_str().into(), name.as_str().into(), key.into(), options, table()).await.unwrap();
        }
    };
    bind("nft.updated").await;

    let amqp = format!("{}, exchange: {name}, routing_key: \"nft.{{{{ action }}}}\"", stage.login());
    let config = stage.configure(&url, &amqp);
    let relay = stage.scene.relay_with(&config, &["--log-level", "debug"]);
    let mut taken = stage.take(COUNT / 2).await;
    relay.logs(&format!("exchange `{name}` has no queue for routing key `nft.created`; bind a queue to it")).await;
    stage.is_alone_in_trouble().await;
    assert!(taken.iter().all(|delivery| delivery.routing_key.as_str() == "nft.updated"));
    assert_eq!(taken.len(), COUNT / 2, "what was confirmed did not go again");

    bind("nft.created").await;
    taken.extend(stage.take(COUNT / 2).await);
    let mut ids: Vec<String> = taken.iter().map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), taken.len()), (COUNT, COUNT), "each once");
    assert!(!relay.log().contains("onchain_metadata"), "no payload in the log");
    stage.stop(relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_exchange_is_named_and_waited_for() {
    let Some(stage) = Stage::new("missing").await else { return };
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--count", "20"]).await;
    let (login, name) = (stage.login(), stage.name.clone());
    let config = stage.configure(&url, &format!("{login}, exchange: {name}, routing_key: key"));
    let relay = stage.scene.relay_with(&config, &["--log-level", "debug"]);
    relay
        .logs(&format!("exchange `{name}` is not in virtual host `/`; create it, or let the relay with `declare`"))
        .await;
    stage.is_alone_in_trouble().await;
    let (_connection, channel) = stage.node.channel().await;
    let table = FieldTable::default;
    let options = ExchangeDeclareOptions::default();
    channel.exchange_declare(name.as_str().into(), ExchangeKind::Fanout, options, table()).await.unwrap();
    channel.queue_declare(name.as_str().into(), QueueDeclareOptions::default(), table()).await.unwrap();
    let options = QueueBindOptions::default();
    channel.queue_bind(name.as_str().into(), name.as_str().into(), "".into(), options, table()).await.unwrap();
    stage.take(20).await;
    stage.stop(relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_deleted_is_named_and_waited_for() {
    const COUNT: usize = 300;
    let Some(stage) = Stage::new("deleted").await else { return };
    let (_emulator, url) = stage.scene.emulator(&["--rate", "20", "--count", &COUNT.to_string()]).await;
    let (login, name) = (stage.login(), stage.name.clone());
    let (_connection, channel) = stage.node.channel().await;
    stage.node.bind_queue(&channel, &name, &name).await;
    let config = stage.configure(&url, &format!("{login}, exchange: {name}, routing_key: \"nft.{{{{ action }}}}\""));
    let relay = stage.scene.relay_with(&config, &["--log-level", "debug"]);
    let mut taken = stage.take(10).await;
    channel.exchange_delete(name.as_str().into(), Default::default()).await.unwrap();
    relay.logs(&format!("404 NOT_FOUND - no exchange '{name}'")).await;
    stage.is_alone_in_trouble().await;
    taken.extend(stage.take(0).await);
    stage.node.bind_queue(&channel, &name, &name).await;
    let left = COUNT - taken.len();
    taken.extend(stage.take(left).await);
    assert_eq!(taken.len(), COUNT, "each once");
    stage.stop(relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_breaks_fails_only_its_own_delivery() {
    const COUNT: usize = 40;
    let Some(stage) = Stage::new("channels").await else { return };
    let name = stage.name.clone();
    // The exchange of `created` is not there: each publish to it closes its channel.
    let messages: Vec<String> = (0..COUNT as u32)
        .map(|n| message(&format!("token-{n}"), n).replace("updated", ["updated", "created"][n as usize % 2]))
        .collect();
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--replay", &stage.scene.lines(&messages)]).await;
    let (_connection, channel) = stage.node.channel().await;
    let table = FieldTable::default;
    let fanout = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for exchange in [format!("{name}-updated"), format!("{name}-created")] {
        channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Fanout, fanout, table()).await.unwrap();
        let queue = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.as_str().into(), queue, table()).await.unwrap();
        let options = QueueBindOptions::default();
        channel.queue_bind(name.as_str().into(), exchange.as_str().into(), "".into(), options, table()).await.unwrap();
    }
    channel.exchange_delete(format!("{name}-created").as_str().into(), Default::default()).await.unwrap();

    let login = stage.login();
    let exchange = format!("{login}, exchange: \"{name}-{{{{ action }}}}\", routing_key: \"\"");
    let config = stage.configure(&url, &exchange);
    let relay = stage.scene.relay_with(&config, &["--log-level", "debug"]);
    let mut taken = stage.take(COUNT / 2).await;
    relay.logs(&format!("404 NOT_FOUND - no exchange '{name}-created'")).await;
    stage.is_alone_in_trouble().await;
    assert_eq!(taken.len(), COUNT / 2, "no other delivery was disturbed");

    let created = format!("{name}-created");
    channel.exchange_declare(created.as_str().into(), ExchangeKind::Fanout, fanout, table()).await.unwrap();
    let options = QueueBindOptions::default();
    channel.queue_bind(name.as_str().into(), created.as_str().into(), "".into(), options, table()).await.unwrap();
    taken.extend(stage.take(COUNT / 2).await);
    assert_eq!(taken.len(), COUNT);
    assert_eq!(relay.log().matches("connected to the broker").count(), 1, "the connection lived on");
    stage.stop(relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_that_rejects_is_tried_again() {
    const COUNT: usize = 30;
    let Some(mut stage) = Stage::new("full").await else { return };
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--count", &COUNT.to_string()]).await;
    let (amqp, name) = (stage.declaring(), stage.name.clone());
    stage.node.ctl(&format!("set_policy full ^{name}$ {{\"max-length\":3,\"overflow\":\"reject-publish\"}}"));
    let config = stage.configure(&url, &amqp);
    let relay = stage.scene.relay_with(&config, &["--log-level", "debug"]);
    relay.logs(&format!("a queue behind exchange `{name}` with routing key `nft.")).await;
    stage.is_alone_in_trouble().await;
    stage.node.ctl("clear_policy full");
    let taken = stage.take(COUNT).await;
    assert_eq!(taken.len(), COUNT, "a nack is not a delivery, and what was confirmed did not go again");
    stage.stop(relay).await;
}
