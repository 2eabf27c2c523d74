//! What a record is made of where the real cluster does not show it.

use super::*;
use crate::event::{Event, Facts};
use crate::sink::tests::delivery;

fn with_facts(change: impl FnOnce(&mut Facts)) -> Delivery {
    let mut delivery = delivery("119");
    let mut facts = delivery.event.facts.clone();
    change(&mut facts);
    delivery.event = Arc::new(Event { facts, ..(*delivery.event).clone() });
    delivery
}

#[test]
fn without_a_key_of_its_own_a_record_has_its_lane() {
    let sink = sink(&connection("kafka:9092"), &mut Producers::default());
    let package = "53".repeat(32);
    for (delivery, key) in [
        (with_facts(|_| {}), Some(format!("{package}:119"))),
        (with_facts(|facts| facts.token_id = None), Some(package.clone())),
        (with_facts(|facts| facts.contract_package = None), None),
    ] {
        let record = Record::new(&sink, &delivery).unwrap();
        assert_eq!(record.to_future().key, key.as_deref());
        assert!(record.to_future().payload.is_some_and(|payload| payload == &delivery.event.body[..]));
    }
}

#[test]
fn a_record_has_the_time_of_its_event_or_of_its_acceptance() {
    let sink = sink(&connection("kafka:9092"), &mut Producers::default());
    for (said, timestamp) in [
        (Some("2024-02-07T10:21:29.557345Z"), 1_707_301_289_557),
        (Some("1969-12-31T23:59:59Z"), 0),
        (Some("yesterday"), 1_707_301_289_557),
        (None, 1_707_301_289_557),
    ] {
        let delivery = with_facts(|facts| facts.timestamp = said.map(Into::into));
        assert_eq!(Record::new(&sink, &delivery).unwrap().to_future().timestamp, Some(timestamp), "{said:?}");
    }
}

#[tokio::test]
async fn an_event_that_makes_an_illegal_topic_is_rejected() {
    let mut sink = sink(&connection("kafka:9092"), &mut Producers::default());
    sink.topic = Template(vec![TemplatePart::Field(crate::config::Field::Action)]);
    for action in ["a b", "дія", "..", &"a".repeat(250)] {
        let delivery = with_facts(|facts| facts.action = action.into());
        let Outcome::Reject { failure } = sink.deliver(&delivery).await else { panic!("{action} is no topic") };
        assert_eq!(failure.cause, Cause::Invalid);
    }
}
