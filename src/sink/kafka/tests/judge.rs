//! Each code has its meaning, and its message names the topic, the brokers and a way out.

use super::*;
use crate::sink::kafka::context::Trouble;

fn subject<'a>(trouble: Option<Trouble>, finding: Option<&str>) -> Subject<'a> {
    let timeout = Duration::from_secs(5);
    Subject { topic: "nft", brokers: "kafka:9092", bytes: 5000, timeout, trouble, finding: finding.map(str::to_owned) }
}

#[test]
fn codes_are_judged_by_the_table() {
    use Cause::{Connect, Denied, Invalid, Refused, Server, Timeout};
    use RDKafkaErrorCode as Code;
    for (code, is_reject, cause, said) in [
        (Code::MessageSizeTooLarge, true, Refused, "takes no record of 5000 bytes"),
        (Code::MessageBatchTooLarge, true, Refused, "raise its max.message.bytes"),
        (Code::InvalidTimestamp, true, Refused, "message.timestamp"),
        (Code::InvalidRecord, true, Refused, "refuses the record"),
        (Code::PolicyViolation, true, Refused, "refuses the record"),
        (Code::InvalidTopic, true, Invalid, "cannot be the name"),
        (Code::UnknownTopicOrPartition, false, Denied, "create it"),
        (Code::UnknownTopic, false, Denied, "create it"),
        (Code::TopicAuthorizationFailed, false, Denied, "grant it Write"),
        (Code::ClusterAuthorizationFailed, false, Denied, "IdempotentWrite"),
        (Code::SaslAuthenticationFailed, false, Denied, "sasl properties"),
        (Code::UnsupportedCompressionType, false, Denied, "choose another one"),
        (Code::NotEnoughReplicas, false, Server, "min.insync.replicas"),
        (Code::NotEnoughReplicasAfterAppend, false, Server, "min.insync.replicas"),
        (Code::LeaderNotAvailable, false, Server, "Leader not available"),
        (Code::InvalidDifferentRecord, false, Server, "nft"),
        (Code::AllBrokersDown, false, Connect, "no connection"),
        (Code::MessageTimedOut, false, Timeout, "not confirmed by the topic nft"),
        (Code::Fatal, false, Server, "is replaced"),
        (Code::PurgeInflight, false, Server, "is replaced"),
    ] {
        let outcome = judge(code, &subject(None, None));
        let (failure, was_rejected) = match outcome {
            Outcome::Reject { failure } => (failure, true),
            Outcome::Retry { failure, after: None } => (failure, false),
            other => panic!("{code:?}: {other:?}"),
        };
        assert_eq!((failure.cause, was_rejected), (cause, is_reject), "{code:?}");
        assert!(failure.detail.contains(said) && failure.detail.contains("kafka:9092"), "{code:?}: {failure:?}");
    }
}

#[test]
fn a_full_queue_costs_no_attempt() {
    let Outcome::Retry { failure, after } = judge(RDKafkaErrorCode::QueueFull, &subject(None, None)) else {
        panic!("a retry")
    };
    assert_eq!((failure.cause, after.is_some()), (Cause::Throttled, true));
}

#[test]
fn what_the_client_complained_of_explains_a_silence() {
    use RDKafkaErrorCode as Code;
    let at = Instant::now();
    for (code, cause, said) in [
        (Code::Resolve, Cause::Dns, "correct the host"),
        (Code::SSL, Cause::Tls, "ssl properties"),
        (Code::Authentication, Cause::Denied, "sasl properties"),
        (Code::BrokerTransportFailure, Cause::Connect, "it\\nsays so"),
    ] {
        let trouble = Trouble { at, code, reason: "it\nsays so".to_owned() };
        let Outcome::Retry { failure, .. } = judge(Code::MessageTimedOut, &subject(Some(trouble), None)) else {
            panic!("a retry")
        };
        assert_eq!(failure.cause, cause);
        assert!(failure.detail.contains(said) && failure.detail.contains("within 5s"), "{failure:?}");
    }
    let finding = "partition 0 has no leader";
    let Outcome::Retry { failure, .. } = judge(Code::MessageTimedOut, &subject(None, Some(finding))) else {
        panic!("a retry")
    };
    assert_eq!(failure.cause, Cause::Server);
    assert!(failure.detail.ends_with(finding), "{failure:?}");
}
