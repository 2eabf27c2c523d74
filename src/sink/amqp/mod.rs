//! AMQP 0.9.1: one message for each event, delivered when the broker has confirmed it.
//!
//! - Published as `mandatory` and persistent. The broker's confirm is success and nothing else: a message that comes
//!   back because no queue wants it was not delivered.
//! - Confirms are pipelined: what is under way shares a channel ([`common`]), but for what may break one ([`live`]).
//! - A channel that breaks fails its own delivery: others that were on it are sent again on channels of their own, in
//!   the same attempt. A connection that breaks fails those under way on it, and the next attempt makes a new one
//!   ([`link`]).
//! - A broker that blocks publishers (low on memory or disk) is waited for; that costs no attempt.
//! - `timeout` bounds the whole attempt, from name resolution to the confirm.
//! - Passwords and TLS files are read anew for each connection.

mod common;
mod ends;
mod failure;
mod link;
mod live;
mod message;
mod socket;
#[cfg(test)]
mod tests;
mod topology;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use lapin::Confirmation;
use tokio::time::{Instant, sleep, timeout_at};

use self::link::Link;
use self::live::Live;
use self::message::{Form, Message, Target};
pub(super) use self::message::{exchange, routing_key};
use super::egress::Guard;
use super::wire::Encoder;
use super::{Cause, Failure, Outcome, Sink, tls};
use crate::config::{AmqpConfig, EgressConfig};
use crate::event::Delivery;

/// What is larger may be more than the broker takes, which closes its channel.
const SHARED_BYTES_MAX: usize = 64 * 1024;
/// How often a delivery that waits for a blocked broker looks again.
const BLOCK_LOOK: Duration = Duration::from_millis(100);
/// The pause of a sink whose broker still blocks at the end of an attempt.
const BLOCK_PAUSE: Duration = Duration::from_secs(1);

/// An exchange of a broker, ready to publish to. Building it opens no connection.
pub(super) struct Amqp {
    form: Form,
    timeout: Duration,
    link: Link,
}

impl Amqp {
    /// Fails if a broker's address must not be dialled or a TLS file is missing or broken.
    pub(super) fn new(encoder: Encoder, config: &AmqpConfig, egress: &EgressConfig) -> anyhow::Result<Self> {
        let name = encoder.sink.clone();
        let guard = Guard::new(egress);
        // An address that stands in the URI itself is known now.
        for address in config.brokers.iter().filter_map(|broker| broker.host.parse::<IpAddr>().ok()) {
            guard.check(address)?;
        }
        if config.brokers.iter().any(|broker| broker.is_tls) {
            tls::client_config(&config.tls).context("setting up TLS")?;
            if config.tls.dangerous_accept_any_certificate {
                tracing::warn!(
                    sink = &*name,
                    "certificates of this sink are not verified: anybody may read and forge its events"
                );
            }
        }
        let headers = config.headers.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect();
        let (exchange, routing_key) = (config.exchange.clone(), config.routing_key.clone());
        Ok(Self {
            link: Link::new(&name, config, guard),
            form: Form { encoder, exchange, routing_key, headers },
            timeout: config.timeout,
        })
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let message = match self.form.message(delivery) {
            Ok(message) => message,
            Err(failure) => return Outcome::Reject { failure },
        };
        let start = Instant::now();
        let deadline = start + self.timeout;
        let live = match self.link.live(deadline).await {
            Ok(live) => live,
            Err(failure) => return Outcome::Retry { failure, after: None },
        };
        if let Err(reason) = unblocked(&live, deadline).await {
            return blocked(&live, &reason);
        }
        match timeout_at(deadline, self.publish(&live, message, delivery)).await {
            Ok(outcome) => outcome,
            Err(_) => self.unconfirmed(&live, start),
        }
    }

    /// A message that was on the common channel when that broke goes once more by itself: the broker may have it twice.
    async fn publish(&self, live: &Live, message: Message<'_>, delivery: &Delivery) -> Outcome {
        let target = message.target.clone();
        if !self.may_share(&message, delivery) {
            return judge(live.publish_alone(message).await, &target);
        }
        let sent = live.publish_with_others(message).await;
        if sent.is_ok() || !live.is_connected() {
            return judge(sent, &target);
        }
        match self.form.message(delivery) {
            Ok(message) => judge(live.publish_alone(message).await, &target),
            Err(failure) => Outcome::Reject { failure },
        }
    }

    /// Whether the message is unlikely to break its channel: by what is too large, by an exchange that is not there
    /// while those of others are, or by whatever it was that has failed before.
    fn may_share(&self, message: &Message<'_>, delivery: &Delivery) -> bool {
        delivery.attempt == 1 && self.form.exchange.literal().is_some() && message.body.len() <= SHARED_BYTES_MAX
    }

    /// A block may have eaten up the time of an attempt that began before it or ended after it.
    fn unconfirmed(&self, live: &Live, start: Instant) -> Outcome {
        if let Some(reason) = live.blocked_since(start) {
            return blocked(live, &reason);
        }
        let detail = format!("{} did not confirm it within {:?}", live.address(), self.timeout);
        Outcome::Retry { failure: Failure { cause: Cause::Timeout, status: None, detail }, after: None }
    }
}

impl Sink for Amqp {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(self.attempt(delivery))
    }
}

/// Waits until the broker takes messages; the error is why it still does not at the deadline.
async fn unblocked(live: &Live, deadline: Instant) -> Result<(), String> {
    while let Some(reason) = live.blocked() {
        if Instant::now() + BLOCK_LOOK >= deadline {
            return Err(reason);
        }
        sleep(BLOCK_LOOK).await;
    }
    Ok(())
}

fn judge(sent: lapin::Result<Confirmation>, target: &Target<'_>) -> Outcome {
    match sent {
        Ok(Confirmation::Ack(None)) => Outcome::Delivered { status: None },
        Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) => {
            failure::returned(&returned, target)
        }
        // A channel in confirm mode gives no `NotRequested`; if it did, nothing would be known to be delivered.
        Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => failure::nacked(target),
        Err(error) => failure::outcome(&error),
    }
}

/// Not the sink's fault and no attempt of the delivery's: the sink pauses for a moment.
fn blocked(live: &Live, reason: &str) -> Outcome {
    let detail = format!("{} took no messages for a while: {reason}", live.address());
    let failure = Failure { cause: Cause::Throttled, status: None, detail };
    Outcome::Retry { failure, after: Some(BLOCK_PAUSE) }
}
