//! What a code of librdkafka or of a broker means for a delivery: a pure decision, told so that an operator can act.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;

use super::context::Trouble;
use crate::sink::{Cause, Failure, Outcome};

/// The queue of the producer is full: it empties in milliseconds, or the cluster is away.
const QUEUE_PAUSE: Duration = Duration::from_millis(200);
/// Of what a broker or librdkafka says.
const REASON_CHARS_MAX: usize = 300;

/// What a failure is about.
pub(super) struct Subject<'a> {
    pub(super) topic: &'a str,
    pub(super) brokers: &'a str,
    pub(super) bytes: usize,
    pub(super) timeout: Duration,
    /// What the client complained of during the attempt.
    pub(super) trouble: Option<Trouble>,
    /// What the cluster says about the topic.
    pub(super) finding: Option<String>,
}

/// Whether a broker says this about one record, though it says it of the whole batch.
pub(super) fn is_about_a_record(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::PolicyViolation
    )
}

pub(super) fn judge(code: RDKafkaErrorCode, subject: &Subject<'_>) -> Outcome {
    use RDKafkaErrorCode as Code;
    let Subject { topic, brokers, bytes, .. } = subject;
    let reject = |cause, detail| Outcome::Reject { failure: Failure { cause, status: None, detail } };
    let denied = |detail| retry(Cause::Denied, detail);
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => reject(
            Cause::Refused,
            format!(
                "the topic {topic} at {brokers} takes no record of {bytes} bytes and its headers: raise its \
                 max.message.bytes, then replay"
            ),
        ),
        Code::InvalidTimestamp => reject(
            Cause::Refused,
            format!("the topic {topic} at {brokers} refuses the time of the event: see message.timestamp.*.max.ms"),
        ),
        Code::InvalidRecord | Code::PolicyViolation => {
            reject(Cause::Refused, format!("the topic {topic} at {brokers} refuses the record: {code}"))
        }
        Code::InvalidTopic => reject(Cause::Invalid, format!("{topic} cannot be the name of a topic at {brokers}")),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            denied(format!(
                "there is no topic {topic} at {brokers}, or this user may not see it: create it, or correct `topic`"
            ))
        }
        Code::TopicAuthorizationFailed => {
            denied(format!("this user may not write to the topic {topic} at {brokers}: grant it Write and Describe"))
        }
        Code::ClusterAuthorizationFailed => {
            denied(format!("this user may not write idempotently at {brokers}: grant it IdempotentWrite or Write"))
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            denied(format!("{brokers} refuse the credentials: correct the sasl properties or `oauth`"))
        }
        Code::UnsupportedCompressionType => {
            denied(format!("the topic {topic} at {brokers} does not take this `compression`: choose another one"))
        }
        Code::QueueFull => Outcome::Retry {
            failure: failure(Cause::Throttled, format!("the queue of the producer for {brokers} is full")),
            after: Some(QUEUE_PAUSE),
        },
        Code::MessageTimedOut | Code::OperationTimedOut => unconfirmed(subject),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => retry(
            Cause::Server,
            format!("the topic {topic} at {brokers} has fewer replicas in sync than min.insync.replicas"),
        ),
        Code::BrokerTransportFailure | Code::AllBrokersDown => {
            retry(Cause::Connect, format!("no connection to {brokers}: {code}"))
        }
        Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId
        | Code::InvalidProducerEpoch
        | Code::ProducerFenced
        | Code::Fatal
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::DestroyBroker => retry(Cause::Server, format!("the producer for {brokers} broke down and is replaced")),
        _ => retry(Cause::Server, format!("the topic {topic} at {brokers}: {code}")),
    }
}

/// Nothing was heard: the client's own complaints and the state of the topic say why.
fn unconfirmed(subject: &Subject<'_>) -> Outcome {
    use RDKafkaErrorCode as Code;
    let Subject { topic, brokers, timeout, .. } = subject;
    let what = format!("not confirmed by the topic {topic} at {brokers} within {timeout:?}");
    if let Some(finding) = &subject.finding {
        return retry(Cause::Server, format!("{what}: {finding}"));
    }
    let Some(trouble) = &subject.trouble else { return retry(Cause::Timeout, what) };
    let (cause, advice) = match trouble.code {
        Code::Resolve => (Cause::Dns, "; correct the host or the name service"),
        Code::SSL => (Cause::Tls, "; correct the ssl properties, or the broker's certificate"),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            (Cause::Denied, "; correct the sasl properties or `oauth`")
        }
        Code::BrokerTransportFailure | Code::AllBrokersDown => (Cause::Connect, ""),
        _ => (Cause::Server, ""),
    };
    let reason: String = trouble.reason.chars().take(REASON_CHARS_MAX).collect();
    retry(cause, format!("{what}: {}{advice}", reason.escape_debug()))
}

fn failure(cause: Cause, detail: String) -> Failure {
    Failure { cause, status: None, detail }
}

fn retry(cause: Cause, detail: String) -> Outcome {
    Outcome::Retry { failure: failure(cause, detail), after: None }
}
