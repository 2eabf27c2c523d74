//! The example consumer, fed by the relay through a real broker: a client that shares no code with the relay.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use super::{Stage, stop};
use crate::receivers::{TOOL_MISSING, leave_out};
use crate::relay::message;
use crate::servers::rabbitmq::{PASSWORD, USER};

/// Long enough to fetch a package, once.
const PATIENCE: Duration = Duration::from_secs(120);

async fn decision(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Value> {
    let line = timeout(PATIENCE, lines.next_line()).await.expect("it decides in time").unwrap()?;
    Some(serde_json::from_str(&line).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_consumer_keeps_the_contract() {
    let Some(stage) = Stage::new("tour").await else { return };
    let messages: Vec<String> = (0..6).map(|n| message(["119", "Дім 120"][n as usize % 2], n)).collect();
    let (_emulator, url) = stage.scene.emulator(&["--rate", "0", "--replay", &stage.scene.lines(&messages)]).await;
    let amqp = stage.declaring();
    let relay = stage.scene.relay(&stage.configure(&url, &amqp, ""));
    relay.logs("connected to the broker").await;
    let (name, port) = (stage.name.clone(), stage.node.amqp);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/receiver");
    let mut command = Command::new(script);
    command.args(["python-amqp", &name]).env("AMQP_URL", format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{port}"));
    let mut consumer = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    let mut decisions = Vec::new();
    while decisions.len() < messages.len() {
        let Some(decision) = decision(&mut lines).await else {
            assert_eq!(consumer.wait().await.unwrap().code(), Some(TOOL_MISSING), "the consumer ended");
            return leave_out("the AMQP consumer in Python: it needs Python 3 with venv");
        };
        decisions.push(decision);
    }
    assert!(decisions.iter().all(|decision| decision["verdict"] == "applied"), "{decisions:?}");
    assert_eq!(decisions.iter().filter(|decision| decision["token"] == "Дім 120").count(), 3);

    // The same id again, and an older state under an id of its own.
    let (_connection, channel) = stage.node.channel().await;
    for (id, verdict) in
        [(decisions[0]["id"].as_str().unwrap(), "duplicate"), ("evt_older", "stale"), ("evt_bare", "unusable")]
    {
        let mut headers = lapin::types::FieldTable::default();
        let mut insert = |name: &str, value: &str| {
            headers.insert(name.into(), lapin::types::AMQPValue::LongString(value.into()));
        };
        insert("cspr-relay-stream", "nft-tokens");
        if verdict != "unusable" {
            insert("cspr-relay-token-id", "119");
            insert("cspr-relay-contract-package", "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508");
            insert("cspr-relay-sequence", "000000000000-0000000000000001");
        }
        let properties = lapin::BasicProperties::default().with_message_id(id.into()).with_headers(headers);
        let (exchange, options) = (name.as_str().into(), BasicPublishOptions::default());
        channel.basic_publish(exchange, "nft.again".into(), options, b"{}", properties).await.unwrap().await.unwrap();
        assert_eq!(decision(&mut lines).await.unwrap()["verdict"], verdict);
    }
    stop(relay).await;
}
