//! Producers that are shared, and one that breaks. A broker cannot be made to lose track of a producer, so here
//! librdkafka's own mock of a cluster answers.

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::sink::kafka::context::{Label, Reports};
use crate::sink::tests::delivery;

#[test]
fn sinks_of_one_connection_share_its_producers() {
    let (one, other) = (connection("one:9092"), connection("other:9092"));
    let mut producers = Producers::default();
    let sinks = [&one, &one, &other].map(|connection| sink(connection, &mut producers));
    assert!(Arc::ptr_eq(&sinks[0].producers, &sinks[1].producers));
    assert!(!Arc::ptr_eq(&sinks[0].producers, &sinks[2].producers));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_fatal_error_a_new_producer_delivers() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("nft", 1, 1).unwrap();
    let sink = sink(&connection(&cluster.bootstrap_servers()), &mut Producers::default());
    let delivery = delivery("1");
    assert_eq!(sink.deliver(&delivery).await, Outcome::Delivered { status: None });
    let first = sink.producers.client(Kind::Batched).await.ok().unwrap();
    let lost_track = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[lost_track]);
    let Outcome::Retry { failure, .. } = sink.deliver(&delivery).await else { panic!("not delivered") };
    assert_eq!((failure.cause, failure.detail.contains("is replaced")), (Cause::Server, true), "{failure:?}");
    assert!(first.fatal_error().is_some());
    let second = sink.producers.client(Kind::Batched).await.ok().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(sink.deliver(&delivery).await, Outcome::Delivered { status: None });
}

/// librdkafka tells the same complaint again only after half a minute: attempts that began in between have it too.
#[test]
fn a_complaint_explains_failures_until_a_record_is_confirmed() {
    let (sink, brokers) = (Some("bus".into()), "one:9092".to_owned());
    let label = Arc::new(Label { sink, connection: None, brokers });
    let reports = Reports::new(&connection("one:9092"), label);
    reports.note(RDKafkaErrorCode::BrokerTransportFailure, "Connection refused");
    let began = Instant::now();
    assert_eq!(reports.trouble_of(began).unwrap().reason, "Connection refused");
    reports.confirmed();
    assert!(reports.trouble_of(began).is_none());
    reports.note(RDKafkaErrorCode::BrokerTransportFailure, "Connection refused");
    assert!(reports.trouble_of(began).is_some());
}
