//! The example consumers of Kafka and RabbitMQ, fed by the relay through real brokers: clients that share no code with
//! the relay, which our users copy.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::receivers::{TOOL_MISSING, leave_out};
use crate::relay::{Scene, message};
use crate::servers::{kafka, rabbitmq};

/// Long enough to fetch packages, once.
const START_TIMEOUT: Duration = Duration::from_secs(240);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const PACKAGE: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

/// An example consumer that runs; it ends when this is dropped.
pub(crate) struct Consumer {
    name: String,
    decisions: Lines<BufReader<ChildStdout>>,
    process: Child,
    patience: Duration,
}

impl Consumer {
    /// Starts `scripts/receiver` with this name, what it reads from, and where the broker is.
    pub(crate) fn start(name: &str, from: &str, broker: (&str, &str)) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/receiver");
        let mut command = Command::new(script);
        command.args([name, from]).env(broker.0, broker.1).env("KAFKA_GROUP", format!("{name}-{from}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let decisions = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { name: name.to_owned(), decisions, process, patience: START_TIMEOUT }
    }

    /// The next decision it prints. `None`: a tool is not there, which was said.
    pub(crate) async fn decision(&mut self) -> Option<Value> {
        let line = timeout(self.patience, self.decisions.next_line()).await.expect("it decides in time").unwrap();
        self.patience = ANSWER_TIMEOUT;
        if let Some(line) = line {
            return Some(serde_json::from_str(&line).unwrap());
        }
        let code = self.process.wait().await.unwrap().code();
        assert_eq!(code, Some(TOOL_MISSING), "the consumer {} ended", self.name);
        leave_out(&format!("the consumer {}: a tool is missing", self.name));
        None
    }
}

impl Consumer {
    /// The ids of all that it reads until it has read so many different ones. `None`: as above.
    pub(crate) async fn read(mut self, count: usize) -> Option<Vec<String>> {
        let (mut ids, mut different) = (Vec::new(), HashSet::new());
        while different.len() < count {
            let decision = self.decision().await?;
            let id = decision["id"].as_str().unwrap().to_owned();
            assert_eq!(decision["verdict"] == "duplicate", !different.insert(id.clone()), "{decision}");
            ids.push(id);
        }
        Some(ids)
    }
}

/// A message that no relay sends, and what has to be decided about it.
struct Further {
    id: String,
    headers: Vec<(&'static str, &'static str)>,
    verdict: &'static str,
}

/// The id of something that was handled, an older state under an id of its own, and one without the facts it needs.
fn further(handled: &Value) -> [Further; 3] {
    let older = vec![
        ("cspr-relay-stream", "nft-tokens"),
        ("cspr-relay-token-id", "119"),
        ("cspr-relay-contract-package", PACKAGE),
        ("cspr-relay-sequence", "000000000000-0000000000000001"),
    ];
    let bare = vec![("cspr-relay-stream", "nft-tokens")];
    [
        Further { id: handled["id"].as_str().unwrap().to_owned(), headers: older.clone(), verdict: "duplicate" },
        Further { id: "evt_older".to_owned(), headers: older, verdict: "stale" },
        Further { id: "evt_bare".to_owned(), headers: bare, verdict: "unusable" },
    ]
}

/// Lets a relay send six events of two tokens to `sink`, and gives what the consumer makes of them.
async fn fed(scene: &Scene, sink: &str, mut consumer: Consumer) -> Option<(Consumer, Vec<Value>)> {
    let messages: Vec<String> = (0..6).map(|n| message(["119", "Дім 120"][n as usize % 2], n)).collect();
    let (_emulator, url) = scene.emulator(&["--rate", "0", "--replay", &scene.lines(&messages)]).await;
    let mut relay = scene.relay(&configure(scene, &url, sink));
    let mut decisions = Vec::new();
    while decisions.len() < messages.len() {
        decisions.push(consumer.decision().await?);
    }
    relay.stop().await;
    assert!(decisions.iter().all(|decision| decision["verdict"] == "applied"), "{decisions:?}");
    assert_eq!(decisions.iter().filter(|decision| decision["token"] == "Дім 120").count(), 3);
    Some((consumer, decisions))
}

fn configure(scene: &Scene, source: &str, sink: &str) -> PathBuf {
    let text = format!(
        "source: {{ network: testnet, api_key: emulator-key, url: \"{source}\" }}\nstore: {{ path: \"{}\" }}\n\
         admin: {{ listen: \"127.0.0.1:0\" }}\n\
         sinks: {{ bus: {{ {sink} }} }}\nroutes: {{ all: {{ match: all, sinks: [bus] }} }}\n",
        scene.data().display(),
    );
    let path = scene.path("relay.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

async fn check_kafka(name: &str) {
    let Some(cluster) = kafka::cluster().await else { return };
    let (scene, broker) = (Scene::new(), cluster.address("plaintext"));
    cluster.create_topic(name, 2, 1, &[]).await;
    let consumer = Consumer::start(name, name, ("KAFKA_BROKERS", &broker));
    let sink = format!("kafka: {{ brokers: [\"{broker}\"], topic: {name} }}");
    let Some((mut consumer, decisions)) = fed(&scene, &sink, consumer).await else { return };
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &broker).create().unwrap();
    for further in further(&decisions[0]) {
        let header = |headers: OwnedHeaders, key, value| headers.insert(Header { key, value: Some(value) });
        let headers = header(OwnedHeaders::new(), "cspr-relay-id", further.id.as_str());
        let headers = further.headers.iter().fold(headers, |headers, (key, value)| header(headers, key, *value));
        let record = FutureRecord::<[u8], _>::to(name).payload("{}").headers(headers).partition(0);
        producer.send(record, ANSWER_TIMEOUT).await.unwrap();
        assert_eq!(consumer.decision().await.unwrap()["verdict"], further.verdict, "{name}");
    }
}

async fn check_amqp(name: &str) {
    let Some(node) = rabbitmq::node().await else { return };
    let (scene, port) = (Scene::new(), node.amqp);
    let url = format!("amqp://{}:{}@127.0.0.1:{port}", rabbitmq::USER, rabbitmq::PASSWORD);
    let (_connection, channel) = node.channel().await;
    node.bind_queue(&channel, name, name).await;
    let consumer = Consumer::start(name, name, ("AMQP_URL", &url));
    let sink = format!(
        "amqp: {{ uri: \"amqp://127.0.0.1:{port}\", username: {}, password: \"${{PASSWORD:-{}}}\", exchange: {name}, \
         routing_key: \"nft.{{{{ action }}}}\" }}",
        rabbitmq::USER,
        rabbitmq::PASSWORD
    );
    let Some((mut consumer, decisions)) = fed(&scene, &sink, consumer).await else { return };
    for further in further(&decisions[0]) {
        let mut headers = FieldTable::default();
        for (name, value) in further.headers {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = lapin::BasicProperties::default().with_message_id(further.id.into()).with_headers(headers);
        let (exchange, options) = (name.into(), BasicPublishOptions::default());
        channel.basic_publish(exchange, "nft.again".into(), options, b"{}", properties).await.unwrap().await.unwrap();
        assert_eq!(consumer.decision().await.unwrap()["verdict"], further.verdict, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_reads_kafka() {
    check_kafka("python-kafka").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_reads_kafka() {
    check_kafka("node-kafka").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_reads_kafka() {
    check_kafka("java-kafka").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_reads_rabbitmq() {
    check_amqp("python-amqp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_reads_rabbitmq() {
    check_amqp("node-amqp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_reads_rabbitmq() {
    check_amqp("java-amqp").await;
}
