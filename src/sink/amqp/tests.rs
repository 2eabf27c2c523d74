//! What a delivery looks like as a message. What a broker makes of it is tested against a real one, in `tests/it`.

use lapin::types::AMQPValue;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::config::{AmqpBroker, AmqpLogin, Field, Format, HeaderText, Secret, Template, TemplatePart, TlsConfig};
use crate::sink::tests::delivery;
use crate::sink::wire::Transport;

fn text(text: &str) -> Template {
    Template(vec![TemplatePart::Text(text.to_owned())])
}

fn form(routing_key: Template) -> Form {
    Form {
        encoder: Encoder::new("rabbit", Format::Raw, Transport::Amqp),
        exchange: text("casper.nft"),
        routing_key,
        headers: vec![("x-env".into(), HeaderText::Fixed(Secret::literal("prod")))],
    }
}

#[test]
fn a_message_carries_the_facts_of_its_event() {
    let (form, delivery) = (
        form(Template(vec![TemplatePart::Text("nft.".to_owned()), TemplatePart::Field(Field::Action)])),
        delivery("119"),
    );
    let message = form.message(&delivery).unwrap();
    assert_eq!((&*message.target.exchange, &*message.target.routing_key), ("casper.nft", "nft.created"));
    assert_eq!(message.body, delivery.event.body);
    let properties = &message.properties;
    let short = |text: &Option<lapin::types::ShortString>| text.as_ref().unwrap().to_string();
    assert_eq!(short(properties.message_id()), delivery.event.id.to_string());
    assert_eq!(short(properties.kind()), "nft-tokens.created");
    assert_eq!(short(properties.app_id()), "cspr-relay");
    assert_eq!(short(properties.content_type()), "application/json");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(*properties.timestamp(), Some(1_707_301_289));
    let headers = properties.headers().as_ref().unwrap().inner();
    let header = |name: &str| match &headers[name] {
        AMQPValue::LongString(value) => value.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(header("x-env"), "prod");
    assert_eq!(header("cspr-relay-token-id"), "119");
    assert_eq!(header("cspr-relay-sequence"), "0000000003e8-0000000000000007");
    assert_eq!(header("cspr-relay-attempt"), "2");
}

#[test]
fn what_amqp_cannot_hold_is_left_out_or_refused() {
    let token = form(Template(vec![TemplatePart::Field(Field::TokenId)]));
    let long = delivery(&"ü".repeat(128));
    let failure = token.message(&long).unwrap_err();
    assert_eq!(failure.detail, "the routing key would have 256 bytes; AMQP allows 255");
    assert_eq!(failure.cause, Cause::Invalid);
    assert!(token.message(&delivery(&"k".repeat(255))).is_ok());
    let missing = form(Template(vec![TemplatePart::Field(Field::From)])).message(&delivery("1")).unwrap_err();
    assert_eq!(missing.detail, "the event has no `from`, which a template of this sink names");
    let mut long = delivery("1");
    let mut event = (*long.event).clone();
    event.facts.action = "a".repeat(250).into();
    long.event = event.into();
    let form = form(text("k"));
    assert_eq!(*form.message(&long).unwrap().properties.kind(), None);
}

fn sink(host: &str, port: u16) -> anyhow::Result<Amqp> {
    let broker = AmqpBroker { is_tls: false, host: host.to_owned(), port, vhost: "/".to_owned() };
    let login = AmqpLogin::Password { username: Secret::literal("relay"), password: Secret::literal("hunter2") };
    let config = AmqpConfig {
        brokers: vec![broker],
        login,
        exchange: text("casper.nft"),
        routing_key: text("key"),
        declare: None,
        headers: Vec::new(),
        tls: TlsConfig::default(),
        heartbeat_seconds: 30,
        timeout: Duration::from_millis(500),
    };
    Amqp::new(Encoder::new("rabbit", Format::Raw, Transport::Amqp), &config, &EgressConfig::default())
}

fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Retry { failure, after: None } => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_is_given_up_and_its_socket_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let failure = failed(sink("127.0.0.1", port).unwrap().deliver(&delivery("1")).await);
    assert_eq!(failure.cause, Cause::Timeout);
    assert_eq!(failure.detail, format!("127.0.0.1:{port}: the broker did not answer in time"));
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut said = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut said)).await;
    assert!(closed.is_ok(), "nothing of the attempt goes on");
    assert!(said.starts_with(b"AMQP"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_to_connect_are_told_apart() {
    let unbound = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let refused = failed(sink("127.0.0.1", unbound).unwrap().deliver(&delivery("1")).await);
    assert_eq!(refused.cause, Cause::Connect);
    let unknown = failed(sink("broker.invalid", 5672).unwrap().deliver(&delivery("1")).await);
    assert_eq!(unknown.cause, Cause::Dns);
    let forbidden = sink("169.254.169.254", 5672).err().unwrap().to_string();
    assert!(forbidden.contains("link-local"), "{forbidden}");
}
