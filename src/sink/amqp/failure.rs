//! From what a broker or the library says to an [`Outcome`].

use lapin::ErrorKind;
use lapin::message::BasicReturnMessage;
use lapin::protocol::AMQPError;

use super::message::Target;
use crate::sink::{Cause, Failure, Outcome, escape};

/// Codes of AMQP 0.9.1 that say what to do about them.
const CONTENT_TOO_LARGE: u16 = 311;
const CONNECTION_FORCED: u16 = 320;
const INVALID_PATH: u16 = 402;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The outcome of an attempt whose channel or connection broke before the confirm.
pub(super) fn outcome(error: &lapin::Error) -> Outcome {
    let failure = failure(error);
    match failure.cause {
        Cause::Invalid => Outcome::Reject { failure },
        _ => Outcome::Retry { failure, after: None },
    }
}

pub(super) fn failure(error: &lapin::Error) -> Failure {
    let (cause, detail) = match error.kind() {
        ErrorKind::ProtocolError(error) => (cause(error), refusal(error)),
        ErrorKind::IOError(error) => (Cause::Connect, format!("the connection broke: {error}")),
        ErrorKind::MissingHeartbeatError => {
            (Cause::Connect, "the broker sent nothing for two heartbeats: the connection is dead".to_owned())
        }
        ErrorKind::ChannelsLimitReached => {
            (Cause::Server, "the broker allows no more channels: lower `concurrency`".to_owned())
        }
        _ => (Cause::Connect, format!("the connection was lost: {error}")),
    };
    Failure { cause, status: None, detail: escape(detail.as_bytes()) }
}

fn cause(error: &AMQPError) -> Cause {
    match error.get_id() {
        CONTENT_TOO_LARGE => Cause::Invalid,
        // The only thing about a publish that RabbitMQ answers with this code.
        PRECONDITION_FAILED if error.get_message().as_str().contains("larger than") => Cause::Invalid,
        INVALID_PATH | ACCESS_REFUSED | NOT_FOUND | PRECONDITION_FAILED | NOT_ALLOWED => Cause::Denied,
        CONNECTION_FORCED => Cause::Connect,
        _ => Cause::Server,
    }
}

fn refusal(error: &AMQPError) -> String {
    format!("the broker said {} {}", error.get_id(), error.get_message())
}

/// A message that the broker gave back because no queue wants it.
pub(super) fn returned(returned: &BasicReturnMessage, target: &Target<'_>) -> Outcome {
    let (exchange, routing_key) = (exchange(&target.exchange), escape(target.routing_key.as_bytes()));
    let what_to_do = match &*target.exchange {
        "" => "declare a queue of that name".to_owned(),
        _ => format!("bind a queue to it for that key (or give {exchange} an alternate exchange)"),
    };
    let reply = escape(format!("{} {}", returned.reply_code, returned.reply_text).as_bytes());
    let detail = format!(
        "the broker returned it ({reply}): {exchange} has no queue for routing key `{routing_key}`; {what_to_do}"
    );
    Outcome::Retry { failure: Failure { cause: Cause::Refused, status: None, detail }, after: None }
}

/// The broker could not take it: a full queue that rejects, or a queue whose node is in trouble.
pub(super) fn nacked(target: &Target<'_>) -> Outcome {
    let (exchange, routing_key) = (exchange(&target.exchange), escape(target.routing_key.as_bytes()));
    let detail = format!(
        "the broker refused it (nack): a queue behind {exchange} with routing key `{routing_key}` is full or unavailable"
    );
    Outcome::Retry { failure: Failure { cause: Cause::Server, status: None, detail }, after: None }
}

/// What people call an exchange.
pub(super) fn exchange(name: &str) -> String {
    if name.is_empty() { "the default exchange".to_owned() } else { format!("exchange `{}`", escape(name.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

    use super::*;

    #[test]
    fn what_the_broker_says_is_classified() {
        let cases: [(AMQPErrorKind, &str, Cause); 9] = [
            (AMQPSoftError::ACCESSREFUSED.into(), "ACCESS_REFUSED - access to exchange 'x' refused", Cause::Denied),
            (AMQPSoftError::NOTFOUND.into(), "NOT_FOUND - no exchange 'x' in vhost '/'", Cause::Denied),
            (AMQPSoftError::PRECONDITIONFAILED.into(), "PRECONDITION_FAILED - inequivalent arg 'type'", Cause::Denied),
            (
                AMQPSoftError::PRECONDITIONFAILED.into(),
                "PRECONDITION_FAILED - message size 5 is larger than configured max size 4",
                Cause::Invalid,
            ),
            (AMQPSoftError::CONTENTTOOLARGE.into(), "too large", Cause::Invalid),
            (AMQPHardError::NOTALLOWED.into(), "NOT_ALLOWED - vhost nope not found", Cause::Denied),
            (AMQPHardError::CONNECTIONFORCED.into(), "CONNECTION_FORCED - bye", Cause::Connect),
            (AMQPHardError::INTERNALERROR.into(), "INTERNAL_ERROR", Cause::Server),
            (AMQPHardError::RESOURCEERROR.into(), "RESOURCE_ERROR", Cause::Server),
        ];
        for (kind, message, expected) in cases {
            let error: lapin::Error = ErrorKind::ProtocolError(AMQPError::new(kind, message.into())).into();
            let found = failure(&error);
            assert_eq!(found.cause, expected, "{message}");
            assert!(found.detail.contains(message), "{}", found.detail);
            assert_eq!(matches!(outcome(&error), Outcome::Reject { .. }), expected == Cause::Invalid);
        }
        assert_eq!(failure(&ErrorKind::MissingHeartbeatError.into()).cause, Cause::Connect);
        assert_eq!(failure(&std::io::Error::other("gone").into()).cause, Cause::Connect);
        assert_eq!(failure(&ErrorKind::ChannelsLimitReached.into()).cause, Cause::Server);
    }
}
